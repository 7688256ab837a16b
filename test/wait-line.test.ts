import { describe, expect, it } from "vitest";
import { ListNode } from "../src/linked-list.js";
import { WaitLine } from "../src/wait-line.js";

class Waiter extends ListNode<Waiter> {
  constructor(readonly name: string) {
    super();
  }
}

function lineOf(maxSize: number, ...names: string[]): WaitLine<Waiter> {
  const line = new WaitLine<Waiter>(maxSize);
  for (const name of names) line.push(new Waiter(name));
  return line;
}

describe("WaitLine", () => {
  it.each([
    { maxSize: 0, waiting: 0, freePermits: 0, hasRoom: false },
    { maxSize: 0, waiting: 0, freePermits: 1, hasRoom: true },
    { maxSize: 0, waiting: 1, freePermits: 1, hasRoom: false },
    { maxSize: 1, waiting: 0, freePermits: 0, hasRoom: true },
    { maxSize: 1, waiting: 1, freePermits: 0, hasRoom: false },
    { maxSize: 1, waiting: 1, freePermits: 2, hasRoom: true },
    { maxSize: 2, waiting: 3, freePermits: 1, hasRoom: false },
    { maxSize: 2, waiting: 2, freePermits: 1, hasRoom: true },
  ])(
    "with $maxSize places, $waiting waiting and $freePermits free permits: room is $hasRoom",
    ({ maxSize, waiting, freePermits, hasRoom }) => {
      const line = lineOf(maxSize, ...Array.from({ length: waiting }, (_, n) => `${n}`));
      expect(line.hasRoom(freePermits)).toBe(hasRoom);
    },
  );

  it("has room again when somebody leaves, from the front or from within", () => {
    const line = lineOf(2, "a", "b");
    expect(line.hasRoom(0)).toBe(false);
    line.shift();
    expect(line.hasRoom(0)).toBe(true);
    const late = new Waiter("c");
    line.push(late);
    expect(line.hasRoom(0)).toBe(false);
    line.remove(late);
    expect(line.hasRoom(0)).toBe(true);
  });

  it("is first in, first out", () => {
    const line = lineOf(3, "a", "b", "c");
    expect([line.shift(), line.shift(), line.shift()].map((waiter) => waiter?.name)).toEqual([
      "a",
      "b",
      "c",
    ]);
    expect(line.shift()).toBeUndefined();
  });

  it("leaves it to the caller to ask: a push beyond the size is kept in order", () => {
    const line = lineOf(1, "a", "b");
    expect(line.size).toBe(2);
    expect(line.first?.name).toBe("a");
  });
});
