import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import axios from "axios";
import { afterEach, describe, expect, it, vi } from "vitest";
import { parseRetryAfter } from "../src/common/retry-after.js";
import { Bulkhead, httpStatus } from "../src/index.js";

afterEach(() => {
  vi.useRealTimers();
});

describe("httpStatus", () => {
  const classify = httpStatus();

  it.each([
    [200, undefined],
    [204, undefined],
    [304, undefined],
    [400, "success"],
    [404, "success"],
    [429, "failure"],
    [499, "success"],
    [500, "failure"],
    [503, "failure"],
    [599, "failure"],
    [600, undefined],
    [0, undefined],
    [500.5, undefined],
    ["500", undefined],
    [Number.NaN, undefined],
  ])("takes status %o for %o", (status, outcome) => {
    expect(classify({ result: { status } })).toBe(outcome);
    expect(classify({ result: { statusCode: status } })).toBe(outcome);
    expect(classify({ error: Object.assign(new Error(), { status }) })).toBe(outcome);
    expect(classify({ error: { response: { status } } })).toBe(outcome);
    expect(classify({ error: { response: { statusCode: status } } })).toBe(outcome);
  });

  it.each([undefined, null, 7, "text", {}, [], new Error("ECONNRESET")])(
    "leaves %o to the plain rule",
    (value) => {
      expect(classify({ result: value })).toBeUndefined();
      expect(classify({ error: value })).toBeUndefined();
    },
  );

  it("leaves a Proxy whose trap throws to the plain rule", () => {
    const value = new Proxy({}, { get: () => expect.fail("the trap") });
    expect(classify({ result: value })).toBeUndefined();
    expect(classify({ error: value })).toBeUndefined();
  });

  it.each<[string, unknown]>([
    ["a Headers object", new Headers({ "Retry-After": "7" })],
    ["a Map", new Map([["retry-after", "7"]])],
    ["a plain object", { "retry-after": "7" }],
    ["a plain object with other case", { "Retry-After": "7" }],
    ["a list of values", { "retry-after": ["7", "9"] }],
    ["a number", { "retry-after": 7 }],
  ])("reads Retry-After from %s", (_, headers) => {
    const pause = { outcome: "failure", retryAfterSeconds: 7 };
    expect(classify({ result: { status: 503, headers } })).toEqual(pause);
    expect(classify({ error: { response: { statusCode: 429, headers } } })).toEqual(pause);
    expect(classify({ error: { status: 500, headers } })).toEqual(pause);
    expect(classify({ result: { status: 404, headers } })).toBe("success");
  });

  it("keeps its verdict when the headers cannot be read", () => {
    const get = () => expect.fail("the headers");
    expect(classify({ result: { status: 503, headers: { get } } })).toBe("failure");
    const headers = new Proxy({}, { ownKeys: get });
    expect(classify({ result: { status: 429, headers } })).toBe("failure");
  });

  it.each([
    ["fetch", fetch],
    ["axios", axios.get],
  ])("opens the circuit of a real %s for as long as the server says", async (_client, get) => {
    const server = createServer((_, response) => {
      response.writeHead(503, { "retry-after": "90" }).end("busy");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    try {
      const bulkhead = new Bulkhead({ name: "api", classify: httpStatus() });
      const { port } = server.address() as AddressInfo;
      const answer: unknown = await bulkhead
        .call(get, `http://127.0.0.1:${port}/`)
        .catch((error) => error.response);
      expect(answer).toMatchObject({ status: 503 });
      const error: unknown = await bulkhead.call(get, "http://127.0.0.1:1/").catch((e) => e);
      expect(error).toMatchObject({ code: "ERR_BULKHEAD_CIRCUIT_OPEN" });
      const { retryAfterSeconds } = error as { retryAfterSeconds: number };
      expect(retryAfterSeconds).toBeGreaterThan(30);
      expect(retryAfterSeconds).toBeLessThanOrEqual(90);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });
});

describe("Retry-After", () => {
  const time = Date.UTC(1994, 10, 6, 8, 49, 0);

  it.each<[unknown, number | undefined]>([
    ["120", 120],
    [" 120 ", 120],
    ["120, 60", 120],
    [["120", "60"], 120],
    [120, 120],
    ["Sun, 06 Nov 1994 08:49:37 GMT", 37],
    ["Sunday, 06-Nov-94 08:49:37 GMT", 37],
    ["Sun Nov  6 08:49:37 1994", 37],
    ["Sun, 06 Nov 1994 08:49:37 GMT, Mon, 07 Nov 1994 08:49:37 GMT", 37],
    ["Sun, 06 Nov 1994 08:48:37 GMT", undefined],
    ["0", undefined],
    ["-1", undefined],
    ["1.5", undefined],
    ["1e3", undefined],
    ["2050", 2050],
    ["2050.5", undefined],
    ["2050-01-01", undefined],
    ["tomorrow", undefined],
    ["Sun, tomorrow", undefined],
    ["", undefined],
    [[], undefined],
    [null, undefined],
    [undefined, undefined],
    [{}, undefined],
    [Number.NaN, undefined],
    ["9".repeat(20), 1e20],
  ])("%o is %o seconds", (value, seconds) => {
    expect(parseRetryAfter(value, time)).toBe(seconds);
  });
});
