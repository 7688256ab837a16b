import * as fc from "fast-check";
import { expect, it } from "vitest";
import { nameFailure } from "../../src/common/name-failure.js";
import { runs, SEED } from "../fuzz.js";

it.each([
  [undefined, null, null],
  [new TypeError("secret"), "TypeError", null],
  [Object.assign(new Error("secret"), { code: "ECONNREFUSED" }), "Error", "ECONNREFUSED"],
  [Object.assign(new Error("secret"), { code: 1205 }), "Error", "1205"],
  [
    new TypeError("fetch failed", {
      cause: new Error("connect", { cause: Object.assign(new Error("x"), { code: "ETIMEDOUT" }) }),
    }),
    "TypeError",
    "ETIMEDOUT",
  ],
  ["secret", "string", null],
  [null, "object", null],
  [{ status: 503 }, "Error", null],
  [{ name: "", code: "" }, "Error", null],
  [{ name: "Two\n\u001b[31mlines\0", code: "\u2028A\u202eB" }, "Two [31mlines", "A B"],
])("names %s by its name and its code", (thrown, failure, code) => {
  expect(nameFailure(thrown)).toEqual({ failure, code });
});

it("cuts both to 255 characters", () => {
  const { failure, code } = nameFailure({
    name: "\u{1f600}".repeat(300),
    code: "x".repeat(10_000_000),
  });
  expect(failure).toBe("\u{1f600}".repeat(255));
  expect(code).toBe("x".repeat(255));
});

it("names what has no readable name, and what is caused by itself", () => {
  const hostile = new Proxy(new Error("secret"), {
    get: () => {
      throw new Error("no");
    },
  });
  expect(nameFailure(hostile)).toEqual({ failure: "Error", code: null });
  const own: { cause?: unknown } = {};
  own.cause = own;
  expect(nameFailure(own)).toEqual({ failure: "Error", code: null });
});

it("is one line of up to 255 characters without a message, whatever is thrown", () => {
  const line = /^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}]*$/u;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.anything(),
        fc.record({ name: fc.anything(), code: fc.anything(), cause: fc.anything() }),
        fc.record({ name: fc.string({ unit: "binary" }), code: fc.string({ unit: "binary" }) }),
      ),
      (thrown) => {
        for (const text of Object.values(nameFailure(thrown))) {
          if (text === null) continue;
          expect(text).toMatch(line);
          expect([...text].length).toBeLessThanOrEqual(255);
        }
      },
    ),
    { seed: SEED, numRuns: runs(100) },
  );
});
