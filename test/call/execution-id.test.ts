import { expect, it } from "vitest";
import { newExecutionId } from "../../src/call/execution-id.js";

it("gives each of 200,000 calls a UUID of its own", () => {
  const ids = Array.from({ length: 200_000 }, newExecutionId);
  expect(new Set(ids).size).toBe(ids.length);
  const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  expect(ids.filter((id) => !uuid.test(id))).toEqual([]);
});

it("draws one of 65,536 ids at random, and counts on from it", () => {
  const ids = Array.from({ length: 4 * 65_536 }, newExecutionId);
  const drawn = new Set(ids.map((id) => id.slice(0, -4)));
  // Other calls of this process may have begun the first of them.
  expect([4, 5]).toContain(drawn.size);
  const [first = ""] = drawn;
  const ofFirst = ids.filter((id) => id.startsWith(first));
  expect(ofFirst).toEqual(ofFirst.toSorted());
});
