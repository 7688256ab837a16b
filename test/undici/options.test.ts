import { describe, expect, it, vi } from "vitest";
import { BulkheadManager, InMemoryStorage } from "../../src/index.js";
import { guardDispatcher, guardInterceptor } from "../../src/undici/index.js";
import { FakeBase } from "./fake-base.js";

const dispatcher = new FakeBase("new");

describe.each([
  ["guardDispatcher", (options: object) => guardDispatcher({ dispatcher, ...options })],
  ["guardInterceptor", (options: object) => guardInterceptor(options)],
])("%s", (_name, make) => {
  it("warns of no missing storage when its manager has one", () => {
    const warn = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const manager = new BulkheadManager({ circuitStorage: new InMemoryStorage() });
    make({
      manager,
      defaults: { fleetMaxConcurrentCalls: 5 },
      origins: { "https://a.example.com": { fleetMaxConcurrentCalls: 3 } },
    });
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it.each<[object, string]>([
    [{ manager: {} }, "manager must be a BulkheadManager; got {}"],
    [{ defaults: 1 }, "defaults must be an object; got 1"],
    [{ origins: [] }, "origins must be an object; got []"],
    [{ key: "origin" }, "key must be a function; got 'origin'"],
    [{ isFailure: true }, "isFailure must be a function; got true"],
    [{ releaseAt: 1 }, 'releaseAt must be "end" or "headers"; got 1'],
    [{ bodyIdleSeconds: "1" }, "bodyIdleSeconds must be a number of seconds"],
    [{ retryAfterMaxSeconds: null }, "retryAfterMaxSeconds must be a number of seconds"],
    [{ maxOrigins: "1" }, "maxOrigins must be an integer of at least 1; got '1'"],
    [{ maxOrigin: 1 }, 'options has no field "maxOrigin"; did you mean "maxOrigins"?'],
    [
      { bodyIdle: 1 },
      'options has no field "bodyIdle"; did you mean "bodyIdleSeconds", in seconds?',
    ],
    [{ defaults: { name: "a" } }, "defaults must have no name: each origin has its own"],
    [
      { defaults: { maxQueue: 1 } },
      'defaults: config has no field "maxQueue"; did you mean "maxQueueSize"?',
    ],
    [
      { defaults: { classify: () => undefined } },
      "defaults must have no classify: the guard's isFailure judges responses",
    ],
    [
      { origins: { "https://a.example.com": 1 } },
      "origins['https://a.example.com'] must be an object; got 1",
    ],
    [
      { origins: { "https://a.example.com": { errorFilter: () => true } } },
      "origins['https://a.example.com'] must have no errorFilter",
    ],
    [
      { origins: { "https://a.example.com": { name: 1 } } },
      "origins['https://a.example.com']: name must be a string of 1 to 255 characters; got 1",
    ],
    [
      { origins: { "api.example.com": {} } },
      "origins must have origins as keys, such as \"https://api.example.com\"; got 'api.example.com'",
    ],
    [{ origins: { "https://a.example.com/v1": {} } }, "did you mean 'https://a.example.com'?"],
    [
      {
        origins: { "https://a.example.com": { name: "a" }, "https://b.example.com": { name: "a" } },
      },
      "origins['https://b.example.com'] must have a name of its own; 'a' is that of origins['https://a.example.com'], too",
    ],
    [{ defaults: { enforce: 1 } }, "defaults: enforce must be true or false; got 1"],
  ])("throws a TypeError for %j", (options, message) => {
    expect(() => make(options)).toThrow(TypeError);
    expect(() => make(options)).toThrow(message);
  });

  it.each<[object, string]>([
    [{ releaseAt: "body" }, 'releaseAt must be "end" or "headers"; got \'body\''],
    [{ bodyIdleSeconds: 0 }, "bodyIdleSeconds must be a number of seconds over 0"],
    [{ bodyIdleSeconds: Number.NaN }, "bodyIdleSeconds must be"],
    [{ bodyIdleSeconds: 1e10 }, "bodyIdleSeconds must be"],
    [{ retryAfterMaxSeconds: -1 }, "retryAfterMaxSeconds must be a number of seconds from 0"],
    [{ maxOrigins: 0 }, "maxOrigins must be an integer of at least 1; got 0"],
    [{ maxOrigins: 1.5 }, "maxOrigins must be"],
    [
      { defaults: { maxConcurrentCalls: 0 } },
      "defaults: maxConcurrentCalls must be an integer of at least 1; got 0",
    ],
    [
      { origins: { "https://a.example.com": { timeoutSeconds: -1 } } },
      "origins['https://a.example.com']: timeoutSeconds must be",
    ],
    [
      { origins: { "https://a.example.com": { name: "" } } },
      "origins['https://a.example.com']: name must be",
    ],
  ])("throws a RangeError for %j", (options, message) => {
    expect(() => make(options)).toThrow(RangeError);
    expect(() => make(options)).toThrow(message);
  });

  it("accepts everything that is valid", () => {
    const options = {
      manager: new BulkheadManager(),
      defaults: { maxConcurrentCalls: 20, timeoutSeconds: 10 },
      origins: { "https://payments.internal": { name: "payments", maxConcurrentCalls: 8 } },
      key: ({ origin }: { origin: string }) => origin,
      isFailure: ({ statusCode }: { statusCode: number }) => statusCode >= 500,
      releaseAt: "end",
      bodyIdleSeconds: null,
      retryAfterMaxSeconds: 0,
      maxOrigins: 1,
    };
    expect(() => make(options)).not.toThrow();
    expect(() => make({ ...options, bodyIdleSeconds: undefined })).not.toThrow();
    expect(() => make({})).not.toThrow();
  });

  it("reads the options of an origin whose keys are those of a key function as they are", () => {
    expect(() => make({ key: () => "reads", origins: { reads: {} } })).not.toThrow();
  });
});

it.each([1, {}, { dispatch: 1 }, null])(
  "guardDispatcher throws a TypeError for the dispatcher %j",
  (given) => {
    expect(() => guardDispatcher({ dispatcher: given as never })).toThrow(
      "dispatcher must be a dispatcher, with the method dispatch",
    );
  },
);

it("guardInterceptor has no option dispatcher", () => {
  expect(() => guardInterceptor({ dispatcher } as never)).toThrow(
    'options has no field "dispatcher"',
  );
});
