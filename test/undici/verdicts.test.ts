import { AsyncLocalStorage } from "node:async_hooks";
import { once } from "node:events";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Bulkhead, BulkheadFullError } from "../../src/index.js";
import type { ResponseHead } from "../../src/undici/index.js";
import type { FakeCaller, FakeRequest } from "./fake-base.js";
import { fakeGuard, ledger, PAIRS, turn } from "./fakes.js";

/** One failure opens the circuit, so that a verdict shows. */
const STRICT = { failureThreshold: 1 };

type Act = (request: FakeRequest, client: FakeCaller) => unknown;

describe.each(PAIRS)("a %s caller over a %s base", (caller, base) => {
  /** What a request leaves in a strict circuit and in the ledger. */
  async function judge(act: Act, options: object = {}, request: object = {}) {
    const guard = fakeGuard(base, { defaults: STRICT, ...options });
    const client = await guard.dispatch(caller, request);
    await act(guard.base.at(0), client);
    await turn();
    const { circuitStatus } = guard.bulkhead.getStats();
    return { circuitStatus, ...ledger(guard.bulkhead) };
  }

  const respond =
    (statusCode: number, headers: Record<string, string> = {}): Act =>
    (request) => {
      request.start();
      request.headers(statusCode, headers);
      request.end();
    };
  const success = { circuitStatus: "CLOSED", total: 1, successful: 1 };
  const failure = { circuitStatus: "OPEN", total: 1, failed: 1 };
  const neutral = { circuitStatus: "CLOSED", total: 1, failed: 1, ignored: 1 };
  const aborted = { circuitStatus: "CLOSED", total: 1, failed: 1, aborted: 1 };

  it.each([200, 204, 304, 400, 404, 429, 499])(
    "takes status %i for a success",
    async (statusCode) => {
      expect(await judge(respond(statusCode))).toEqual(success);
    },
  );

  it.each([500, 502, 503, 504, 599])("takes status %i for a failure", async (statusCode) => {
    expect(await judge(respond(statusCode))).toEqual(failure);
  });

  it("judges a bad status at the headers, while the body is still read", async () => {
    const guard = fakeGuard(base, { defaults: STRICT });
    await guard.dispatch(caller);
    const request = guard.base.at(0);
    request.start();
    request.headers(503);
    expect(guard.bulkhead.getStats().circuitStatus).toBe("OPEN");
    expect(ledger(guard.bulkhead)).toEqual({ active: 1, total: 1 });
    request.end();
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
  });

  it.each([
    [undefined, "https://api.example.com responded with status 503"],
    [() => "a\nb", "a b responded with status 503"],
  ])(
    "names the status in the cause of the circuit's error, with the key %s",
    async (key, message) => {
      const guard = fakeGuard(base, { defaults: STRICT, key });
      await guard.dispatch(caller);
      respond(503)(guard.base.at(0), undefined as never);
      const client = await guard.dispatch(caller);
      expect(client.told[1]?.[1]).toMatchObject({
        code: "ERR_BULKHEAD_CIRCUIT_OPEN",
        cause: { name: "ResponseStatusError", statusCode: 503, message },
      });
    },
  );

  it.each<[string, Act]>([
    ["an abort", (_request, client) => client.abort(new Error("gone"))],
    ["a deadline", (_request, client) => client.abort(new DOMException("late", "TimeoutError"))],
    ["a cut body", (request) => request.error(new Error("other side closed"))],
    ["a clean end", (request) => request.end()],
  ])("keeps the verdict of a bad status in spite of %s", async (_name, act) => {
    const verdict = await judge((request, client) => {
      request.start();
      request.headers(500);
      request.data("a");
      act(request, client);
    });
    expect(verdict).toEqual(failure);
  });

  it("takes a body that is cut short for a failure", async () => {
    const verdict = await judge((request) => {
      request.start();
      request.headers(200);
      request.data("a");
      request.error(Object.assign(new Error("other side closed"), { code: "UND_ERR_SOCKET" }));
    });
    expect(verdict).toEqual(failure);
  });

  it.each([undefined, new Error("gone"), new DOMException("gone", "AbortError")])(
    "takes an abort of the body with %s for neutral",
    async (reason) => {
      const verdict = await judge((request, client) => {
        request.start();
        request.headers(200);
        client.abort(reason);
      });
      expect(verdict).toEqual(aborted);
    },
  );

  it.each<[string, Act]>([
    ["before the request has started", () => {}],
    ["before the headers", (request) => request.start()],
    [
      "in the body",
      (request) => {
        request.start();
        request.headers(200);
      },
    ],
  ])("takes an abort by a TimeoutError %s for a timeout", async (_name, act) => {
    const verdict = await judge((request, client) => {
      act(request, client);
      client.abort(new DOMException("The operation was aborted due to timeout", "TimeoutError"));
    });
    expect(verdict).toEqual(failure);
  });

  it("finds the TimeoutError of a request's signal when its body is destroyed without a reason", async () => {
    const signal = AbortSignal.timeout(1);
    await once(signal, "abort");
    const act: Act = (request, client) => {
      request.start();
      request.headers(200);
      client.abort();
    };
    expect(await judge(act, {}, { signal })).toEqual(failure);
  });

  it.each([
    "ECONNREFUSED",
    "ECONNRESET",
    "ENOTFOUND",
    "UND_ERR_CONNECT_TIMEOUT",
    "UND_ERR_HEADERS_TIMEOUT",
    "UND_ERR_BODY_TIMEOUT",
    "UND_ERR_SOCKET",
    "CERT_HAS_EXPIRED",
    "HPE_INVALID_CONSTANT",
  ])("takes the error %s for a failure", async (code) => {
    expect(
      await judge((request) => request.error(Object.assign(new Error(code), { code }))),
    ).toEqual(failure);
  });

  it.each([
    "UND_ERR_INVALID_ARG",
    "UND_ERR_NOT_SUPPORTED",
    "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH",
    "UND_ERR_DESTROYED",
    "UND_ERR_CLOSED",
    "UND_ERR_ABORTED",
  ])("takes the caller's own error %s for neutral", async (code) => {
    expect(
      await judge((request) => request.error(Object.assign(new Error(code), { code }))),
    ).toEqual(neutral);
  });

  it("takes the rejection of another bulkhead for neutral", async () => {
    expect(await judge((request) => request.error(new BulkheadFullError("full")))).toEqual(neutral);
  });

  it("takes an error that the base throws from dispatch for one of the request", async () => {
    const guard = fakeGuard(base, { defaults: STRICT });
    const error = Object.assign(new Error("bad"), { code: "UND_ERR_INVALID_ARG" });
    guard.base.onDispatch = () => {
      throw error;
    };
    const client = await guard.dispatch(caller);
    expect(client.told).toEqual([["start"], ["error", error]]);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1, ignored: 1 });
  });

  it("takes an error of a request's stream for neutral", async () => {
    const error = new Error("disk");
    const body = new Readable({ read() {} }).on("error", () => {});
    const act: Act = async (request) => {
      expect(request.options["body"]).toBe(body);
      body.destroy(error);
      request.error(error);
    };
    expect(await judge(act, {}, { method: "POST", body })).toEqual(neutral);
  });

  it.each<[string, () => unknown]>([
    [
      "async iterable",
      async function* () {
        yield "a";
        throw BODY_ERROR;
      },
    ],
    [
      "iterable",
      function* () {
        yield "a";
        throw BODY_ERROR;
      },
    ],
    [
      "web stream",
      () =>
        new ReadableStream({
          pull(controller) {
            controller.error(BODY_ERROR);
          },
        }),
    ],
  ])("takes an error of a request's %s for neutral", async (_name, makeBody) => {
    const act: Act = async (request) => {
      request.start();
      const sent = request.options["body"] as AsyncIterable<unknown>;
      await expect(drain(sent)).rejects.toBe(BODY_ERROR);
      request.error(BODY_ERROR);
    };
    expect(await judge(act, {}, { method: "POST", body: makeBody() })).toEqual(neutral);
  });

  it.each(["text", new Uint8Array([1]), null, undefined, new FormData(), new Blob(["a"])])(
    "sends the body %s as it is",
    async (body) => {
      const guard = fakeGuard(base);
      await guard.dispatch(caller, { method: "POST", body });
      expect(guard.base.at(0).options["body"]).toBe(body);
    },
  );

  it("takes an error that its caller threw for neutral", async () => {
    const thrown = new Error("bug of the handler");
    const verdict = await judge((request, client) => {
      client.on.data = () => {
        throw thrown;
      };
      request.start();
      request.headers(200);
      expect(() => request.data("a")).toThrow(thrown);
      request.error(thrown);
    });
    expect(verdict).toEqual(neutral);
  });

  it("has the verdict before its caller has the error", async () => {
    const guard = fakeGuard(base, { defaults: STRICT });
    const client = await guard.dispatch(caller);
    const seen: unknown[] = [];
    client.on.error = () => {
      // As fetch does it.
      client.abort(new Error("terminated"));
      seen.push(guard.bulkhead.getStats().circuitStatus);
    };
    guard.base.at(0).start();
    guard.base.at(0).error(Object.assign(new Error("reset"), { code: "ECONNRESET" }));
    expect(seen).toEqual(["OPEN"]);
    expect(ledger(guard.bulkhead)).toEqual({ total: 1, failed: 1 });
    expect(client.told.map(([word]) => word)).toEqual(["start", "error"]);
  });

  it("judges no informational response", async () => {
    const guard = fakeGuard(base, { isFailure: () => true, defaults: STRICT });
    await guard.dispatch(caller);
    guard.base.at(0).start();
    guard.base.at(0).headers(103, {});
    expect(guard.bulkhead.getStats().circuitStatus).toBe("CLOSED");
  });

  it("takes an upgrade for a success, and a refused CONNECT by its status", async () => {
    const upgrade = (statusCode: number) => (request: FakeRequest) => {
      request.start();
      request.upgrade(statusCode, {});
    };
    expect(await judge(upgrade(101))).toEqual(success);
    expect(await judge(upgrade(200))).toEqual(success);
    expect(await judge(upgrade(503))).toEqual(failure);
  });

  describe("isFailure", () => {
    it("judges the final response by its status and its headers", async () => {
      const seen: ResponseHead[] = [];
      const isFailure = (response: ResponseHead) => {
        seen.push(response);
        return response.statusCode === 404;
      };
      expect(await judge(respond(404, { "X-Reason": "none" }), { isFailure })).toEqual(failure);
      expect(await judge(respond(500), { isFailure })).toEqual(success);
      expect(seen[0]).toEqual({ statusCode: 404, headers: { "x-reason": "none" } });
    });

    it("is given each header once, in lower case, and a list of those that came more than once", async () => {
      let seen: unknown;
      const isFailure = ({ headers }: ResponseHead) => {
        seen = headers;
        return false;
      };
      const act: Act = (request) => {
        request.start();
        request.headers(200, { link: ["a", "b"], "content-type": "text/plain" });
        request.end();
      };
      expect(await judge(act, { isFailure })).toEqual(success);
      expect(seen).toEqual({ link: ["a", "b"], "content-type": "text/plain" });
    });

    describe("that fails", () => {
      const warnings: string[] = [];
      beforeEach(() => {
        warnings.length = 0;
        vi.spyOn(process, "emitWarning").mockImplementation(
          (text) => void warnings.push(String(text)),
        );
      });
      afterEach(() => vi.restoreAllMocks());

      it.each<[string, () => never]>([
        [
          "throws",
          () => {
            throw new Error("bug");
          },
        ],
        ["returns a promise", () => Promise.resolve(true) as never],
      ])("and %s is reported once, and leaves it to the plain rule", async (_name, isFailure) => {
        const guard = fakeGuard(base, { isFailure, defaults: { failureThreshold: 2 } });
        for (const [i, statusCode] of [200, 500, 500].entries()) {
          await guard.dispatch(caller);
          await respond(statusCode)(guard.base.at(i), undefined as never);
        }
        expect(guard.bulkhead.getStats()).toMatchObject({
          successfulExecutions: 1,
          failedExecutions: 2,
          circuitStatus: "OPEN",
        });
        expect(warnings).toHaveLength(1);
        expect(warnings[0]).toContain("isFailure of a guard threw");
      });
    });

    it("runs in the AsyncLocalStorage context of its caller", async () => {
      const storage = new AsyncLocalStorage<string>();
      const seen: unknown[] = [];
      const isFailure = () => {
        seen.push(storage.getStore());
        return false;
      };
      const guard = fakeGuard(base, { isFailure });
      await storage.run("mine", () => guard.dispatch(caller));
      await respond(200)(guard.base.at(0), undefined as never);
      expect(seen).toEqual(["mine"]);
    });
  });

  it("dispatches in the AsyncLocalStorage context of its caller, also out of the queue", async () => {
    const storage = new AsyncLocalStorage<string>();
    const guard = fakeGuard(base, { defaults: { maxConcurrentCalls: 1 } });
    const seen: unknown[] = [];
    guard.base.onDispatch = () => seen.push(storage.getStore());
    await storage.run("first", () => guard.dispatch(caller));
    await storage.run("second", () => guard.dispatch(caller));
    await respond(200)(guard.base.at(0), undefined as never);
    await turn();
    expect(seen).toEqual(["first", "second"]);
  });

  describe("Retry-After", () => {
    const at = new Date("2026-11-26T12:00:00Z");
    beforeEach(() => vi.useFakeTimers({ toFake: ["Date"], now: at }));
    afterEach(() => vi.useRealTimers());

    const inSeconds = (seconds: number) => new Date(at.getTime() + seconds * 1000).toUTCString();
    /** Seconds for which the circuit is open after the header. */
    async function openFor(statusCode: number, value: string | string[], options: object = {}) {
      const guard = fakeGuard(base, { defaults: { isolationDuration: 7 }, ...options });
      await guard.dispatch(caller);
      const request = guard.base.at(0);
      request.start();
      request.headers(statusCode, { "retry-after": value });
      request.end();
      await guard.dispatch(caller);
      const error = await guard.bulkhead.call(() => 0).catch((thrown: unknown) => thrown);
      return error === 0
        ? 0
        : Math.round((error as { retryAfterSeconds: number }).retryAfterSeconds);
    }

    it.each<[number, string | string[], number]>([
      [503, "5", 5],
      [429, "5", 5],
      [503, "60", 60],
      [503, "61", 60],
      [503, "99999999999", 60],
      [503, ["5", "9"], 5],
      [503, "5, 9", 5],
      [429, inSeconds(20), 20],
      [503, inSeconds(3000), 60],
      [503, "0", 0],
      [503, "-5", 0],
      [503, "1.5", 0],
      [503, "soon", 0],
      [503, "", 0],
      [503, inSeconds(-5), 0],
      [500, "5", 0],
      [200, "5", 0],
      [301, "5", 0],
    ])("on status %i, %j, opens the circuit for %i s", async (statusCode, value, seconds) => {
      expect(await openFor(statusCode, value)).toBe(seconds);
    });

    it("is limited by retryAfterMaxSeconds, and ignored when that is 0", async () => {
      expect(await openFor(503, "50", { retryAfterMaxSeconds: 20 })).toBe(20);
      expect(await openFor(503, "50", { retryAfterMaxSeconds: 0 })).toBe(0);
    });

    it("opens the circuit whatever isFailure says", async () => {
      expect(await openFor(429, "5", { isFailure: () => false })).toBe(5);
    });
  });
});

const BODY_ERROR = new Error("of the body");

async function drain(chunks: AsyncIterable<unknown>): Promise<void> {
  for await (const chunk of chunks) void chunk;
}

it("has one Bulkhead class in its own manager and in the library", async () => {
  const guard = fakeGuard("new");
  await guard.dispatch("new");
  expect(guard.bulkhead).toBeInstanceOf(Bulkhead);
});
