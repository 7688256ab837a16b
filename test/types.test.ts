import type CircuitBreaker from "opossum";
import { describe, expect, expectTypeOf, it } from "vitest";
import {
  Bulkhead,
  BulkheadCircuitOpenError,
  type BulkheadConfig,
  BulkheadError,
  type BulkheadEvents,
  BulkheadFullError,
  BulkheadIsolationError,
  BulkheadManager,
  type BulkheadManagerEvents,
  type BulkheadOptions,
  BulkheadShutdownError,
  BulkheadState,
  type BulkheadStats,
  BulkheadTimeoutError,
  type CircuitRecord,
  type CircuitStatus,
  type CircuitStorage,
  type ExecutionContext,
  type ExecutionResult,
  type InMemoryStorage,
  type LastFailure,
  type RejectionReason,
  type RunOptions,
  type StateChangeEvent,
  withBulkhead,
} from "../src/index.js";

// The types are checked by `tsc`; vitest only compiles what stands here. Functions whose calls would
// do something are never called.

const bulkhead = new Bulkhead({ name: "api" });
const manager = new BulkheadManager();
declare function query(sql: string, limit?: number): Promise<string[]>;
declare function load(this: { base: string }, id: string): Promise<Date>;

describe("execute", () => {
  it("takes the function's arguments, and no others", () => {
    const calls = () => {
      bulkhead.execute(query, "select 1");
      bulkhead.execute(query, "select 1", 5);
      bulkhead.execute(() => 1);
      bulkhead.execute((...ids: number[]) => ids, 1, 2, 3);
      // @ts-expect-error the argument is missing
      bulkhead.execute(query);
      // @ts-expect-error the argument is no string
      bulkhead.execute(query, 1);
      // @ts-expect-error the second argument is no number
      bulkhead.execute(query, "select 1", "5");
      // @ts-expect-error one argument too many
      bulkhead.execute(query, "select 1", 5, 6);
      // @ts-expect-error one argument too many
      bulkhead.execute(() => 1, 2);
      // @ts-expect-error not a function
      bulkhead.execute("select 1");
      // @ts-expect-error a promise is no function
      bulkhead.execute(query("select 1"));
    };
    expect(calls).toBeTypeOf("function");
  });

  it("resolves with the value that the function's promise resolves with", () => {
    const calls = () => ({
      async: bulkhead.execute(query, "select 1"),
      sync: bulkhead.execute((n: number) => n, 1),
      nothing: bulkhead.execute(() => {}),
      never: bulkhead.execute((): never => {
        throw new Error("down");
      }),
      thenable: bulkhead.execute((): PromiseLike<number> => Promise.resolve(1)),
      nested: bulkhead.execute(async () => Promise.resolve(Promise.resolve(1))),
      generic: bulkhead.execute(<T>(value: T) => value, "x" as const),
    });
    expect(calls).toBeTypeOf("function");
    type Calls = ReturnType<typeof calls>;
    expectTypeOf<Calls["async"]>().toEqualTypeOf<Promise<ExecutionResult<string[]>>>();
    expectTypeOf<Calls["sync"]>().toEqualTypeOf<Promise<ExecutionResult<number>>>();
    expectTypeOf<Calls["nothing"]>().toEqualTypeOf<Promise<ExecutionResult<void>>>();
    expectTypeOf<Calls["never"]>().toEqualTypeOf<Promise<ExecutionResult<never>>>();
    expectTypeOf<Calls["thenable"]>().toEqualTypeOf<Promise<ExecutionResult<number>>>();
    expectTypeOf<Calls["nested"]>().toEqualTypeOf<Promise<ExecutionResult<number>>>();
    expectTypeOf<Calls["generic"]>().toEqualTypeOf<Promise<ExecutionResult<"x">>>();
  });
});

describe("a function whose type is a union", () => {
  type Find = ((id: string) => Promise<string>) | ((id: string) => string);
  type Task =
    | ((context: ExecutionContext) => Promise<string>)
    | ((context: ExecutionContext) => number)
    | (() => Date);

  it("is taken with the arguments that suit each of its functions, and gives what any of them gives", () => {
    const calls = (
      find: Find,
      one: ((id: string, limit?: number) => Promise<string>) | ((id: string) => number),
      none: (() => Promise<string>) | ((...ids: string[]) => number),
      fewer: (() => Promise<string>) | ((id: string) => Date) | ((id: string, n: number) => number),
      task: Task,
    ) => ({
      find: bulkhead.execute(find, "7"),
      one: bulkhead.execute(one, "7"),
      none: bulkhead.execute(none),
      fewer: bulkhead.execute(fewer, "7", 8),
      run: bulkhead.run(task),
      timed: bulkhead.run(task, { timeoutSeconds: 1 }),
      executed: manager.executeInBulkhead("api", find, "7"),
      ran: manager.runInBulkhead("api", task),
    });
    expect(calls).toBeTypeOf("function");
    type Calls = ReturnType<typeof calls>;
    expectTypeOf<Calls>().toEqualTypeOf<{
      find: Promise<ExecutionResult<string>>;
      one: Promise<ExecutionResult<string | number>>;
      none: Promise<ExecutionResult<string | number>>;
      fewer: Promise<ExecutionResult<string | Date | number>>;
      run: Promise<ExecutionResult<string | number | Date>>;
      timed: Promise<ExecutionResult<string | number | Date>>;
      executed: Promise<ExecutionResult<string>>;
      ran: Promise<ExecutionResult<string | number | Date>>;
    }>();
  });

  it("is taken with no other arguments", () => {
    const calls = (
      find: Find,
      differ: ((id: string) => Promise<string>) | ((id: number) => number),
      one: ((id: string, limit?: number) => Promise<string>) | ((id: string) => number),
      fewer: (() => Promise<string>) | ((id: string) => Date),
      tasks: ((context: ExecutionContext, more: string) => string) | (() => number),
    ) => {
      // @ts-expect-error the argument is missing
      bulkhead.execute(find);
      // @ts-expect-error the argument is no string
      bulkhead.execute(find, 7);
      // @ts-expect-error one argument too many
      bulkhead.execute(find, "7", "8");
      // @ts-expect-error one of them wants a number
      bulkhead.execute(differ, "7");
      // @ts-expect-error one of them wants a string
      bulkhead.execute(differ, 7);
      // @ts-expect-error one of them takes one argument only
      bulkhead.execute(one, "7", 8);
      // @ts-expect-error one of them wants a string
      bulkhead.execute(fewer);
      // @ts-expect-error one of them wants a string
      bulkhead.execute(fewer, 7);
      // @ts-expect-error none of them takes two arguments
      bulkhead.execute(fewer, "7", "8");
      // @ts-expect-error one of them wants more than the context
      bulkhead.run(tasks);
      // @ts-expect-error unknown option
      bulkhead.run(() => 1, { timeout: 1 });
      // @ts-expect-error the argument is no string
      manager.executeInBulkhead("api", find, 7);
    };
    expect(calls).toBeTypeOf("function");
  });

  it("can be wrapped, with the `this` that suits each of its functions", () => {
    const wrapped = (
      find: Find,
      method:
        | ((this: { a: string }, n: number) => Promise<string>)
        | ((this: { b: string }) => number),
    ) => ({
      find: withBulkhead(bulkhead)(find),
      method: withBulkhead(bulkhead)(method),
    });
    type Wrapped = ReturnType<typeof wrapped>;
    expectTypeOf<Parameters<Wrapped["find"]>>().toEqualTypeOf<[id: string]>();
    expectTypeOf<ReturnType<Wrapped["find"]>>().toEqualTypeOf<Promise<string>>();
    expectTypeOf<ReturnType<Wrapped["method"]>>().toEqualTypeOf<Promise<string | number>>();
    const calls = ({ find, method }: Wrapped) => {
      // @ts-expect-error the argument is no string
      find(7);
      method.call({ a: "", b: "" }, 1);
      // @ts-expect-error one of them wants b
      method.call({ a: "" }, 1);
    };
    expect([wrapped, calls]).toHaveLength(2);
  });

  it("may as well return one or the other: the result is exact", () => {
    const calls = (flag: boolean) => {
      const either = () => (flag ? 1 : Promise.resolve("x"));
      return {
        inline: bulkhead.execute(() => (flag ? 1 : Promise.resolve("x"))),
        named: bulkhead.execute(either),
        run: bulkhead.run(() => (flag ? 1 : Promise.resolve("x"))),
        wrapped: withBulkhead(bulkhead)(either),
      };
    };
    expect(calls).toBeTypeOf("function");
    expectTypeOf<ReturnType<typeof calls>>().toEqualTypeOf<{
      inline: Promise<ExecutionResult<string | 1>>;
      named: Promise<ExecutionResult<string | 1>>;
      run: Promise<ExecutionResult<string | 1>>;
      wrapped: (this: unknown) => Promise<string | 1>;
    }>();
  });
});

describe("a function of another kind", () => {
  interface Overloaded {
    (id: string): Promise<string>;
    (id: number): Promise<number>;
  }

  it("keeps its types: generic, overloaded, with optional and rest parameters, without annotations", () => {
    const calls = (overloaded: Overloaded) => {
      const generic = withBulkhead(bulkhead)(<T>(value: T) => [value]);
      return {
        generic: generic("x"),
        overloaded: bulkhead.execute(overloaded, 7),
        optional: bulkhead.execute((id: string, limit?: number) => id.length + (limit ?? 0), "7"),
        rest: bulkhead.execute(
          (first: string, ...others: number[]) => [first, ...others],
          "7",
          8,
          9,
        ),
        inferred: bulkhead.execute((n) => n + 1, 7),
        given: bulkhead.run<string>(() => "x"),
      };
    };
    expect(calls).toBeTypeOf("function");
    expectTypeOf<ReturnType<typeof calls>>().toEqualTypeOf<{
      generic: Promise<string[]>;
      overloaded: Promise<ExecutionResult<number>>;
      optional: Promise<ExecutionResult<number>>;
      rest: Promise<ExecutionResult<Array<string | number>>>;
      inferred: Promise<ExecutionResult<number>>;
      given: Promise<ExecutionResult<string>>;
    }>();
  });
});

describe("ExecutionResult", () => {
  it("narrows on success, in both directions", () => {
    const read = (result: ExecutionResult<Date>) => {
      if (result.success) {
        expectTypeOf(result.result).toEqualTypeOf<Date>();
        expectTypeOf(result.error).toEqualTypeOf<null>();
      } else {
        expectTypeOf(result.result).toEqualTypeOf<null>();
        expectTypeOf(result.error).toEqualTypeOf<BulkheadError>();
      }
      if (result.error === null) expectTypeOf(result.result).toEqualTypeOf<Date>();
      // @ts-expect-error it may be null
      result.result.getTime();
    };
    expect(read).toBeTypeOf("function");
  });

  it("has the same report on both sides", () => {
    type Report = Pick<
      ExecutionResult<1>,
      "executionTime" | "queuedTime" | "bulkheadName" | "executionId"
    >;
    expectTypeOf<Report>().toEqualTypeOf<{
      readonly executionTime: number;
      readonly queuedTime: number;
      readonly bulkheadName: string;
      readonly executionId: string;
    }>();
  });

  it("cannot be changed", () => {
    const change = (result: ExecutionResult<number>) => {
      // @ts-expect-error read-only
      result.success = true;
      // @ts-expect-error read-only
      result.executionTime = 0;
    };
    expect(change).toBeTypeOf("function");
  });
});

describe("run", () => {
  it("gives its task a context and resolves with the task's value", () => {
    const calls = () => ({
      value: bulkhead.run(async ({ signal, executionId, bulkheadName }) => {
        expectTypeOf(signal).toEqualTypeOf<AbortSignal>();
        expectTypeOf(executionId).toEqualTypeOf<string>();
        expectTypeOf(bulkheadName).toEqualTypeOf<string>();
        return 1;
      }),
      withoutContext: bulkhead.run(() => "x"),
    });
    expect(calls).toBeTypeOf("function");
    type Calls = ReturnType<typeof calls>;
    expectTypeOf<Calls["value"]>().toEqualTypeOf<Promise<ExecutionResult<number>>>();
    expectTypeOf<Calls["withoutContext"]>().toEqualTypeOf<Promise<ExecutionResult<string>>>();
    expectTypeOf<keyof ExecutionContext>().toEqualTypeOf<
      "signal" | "executionId" | "bulkheadName"
    >();
  });

  it("takes a signal and a time limit, and nothing else", () => {
    const calls = (signal: AbortSignal | undefined, seconds: number | null | undefined) => {
      bulkhead.run(() => 1, { signal, timeoutSeconds: seconds });
      bulkhead.run(() => 1, {});
      // @ts-expect-error unknown option
      bulkhead.run(() => 1, { timeout: 1 });
      // @ts-expect-error a controller is no signal
      bulkhead.run(() => 1, { signal: new AbortController() });
      // @ts-expect-error a task that wants more than the context
      bulkhead.run((_context: ExecutionContext, more: string) => more);
    };
    expect(calls).toBeTypeOf("function");
    expectTypeOf<keyof RunOptions>().toEqualTypeOf<"signal" | "timeoutSeconds">();
  });
});

describe("the configuration", () => {
  it("needs a name, and knows its fields", () => {
    expectTypeOf<{ name: string }>().toExtend<BulkheadConfig>();
    // @ts-expect-error the name is missing
    const nameless: BulkheadConfig = {};
    // @ts-expect-error unknown field
    const unknown: BulkheadConfig = { name: "api", max_concurrent_calls: 1 };
    // @ts-expect-error wrong type
    const wrong: BulkheadConfig = { name: "api", maxQueueSize: "1" };
    // @ts-expect-error only some fields can be null
    const nothing: BulkheadConfig = { name: "api", maxQueueSize: null };
    expect([nameless, unknown, wrong, nothing]).toHaveLength(4);
  });

  it("takes undefined in every field but the name, and null where it means something", () => {
    type Optional = Required<Omit<BulkheadConfig, "name">>;
    expectTypeOf<{ [Field in keyof Optional]: undefined }>().toExtend<
      Omit<BulkheadConfig, "name">
    >();
    type Nullable = {
      [Field in keyof Optional]: null extends Optional[Field] ? Field : never;
    }[keyof Optional];
    expectTypeOf<Nullable>().toEqualTypeOf<
      | "timeoutSeconds"
      | "maxWaitSeconds"
      | "queueTargetSeconds"
      | "failureThreshold"
      | "failureWindowSeconds"
      | "reclaimAfterSeconds"
      | "failureRateThreshold"
      | "slowCallSeconds"
      | "fleetMaxConcurrentCalls"
    >();
  });

  it("takes an errorFilter with parameters of the user's own types", () => {
    class HttpError extends Error {
      readonly status = 404;
    }
    const config: BulkheadConfig = {
      name: "api",
      errorFilter: (error: HttpError, path: string) => error.status === 404 && path !== "/",
    };
    expect(new Bulkhead(config).config.errorFilter).toBe(config.errorFilter);
  });

  it("takes a health check with or without its context, sync or async", () => {
    const checks: Array<BulkheadConfig["healthCheck"]> = [
      () => true,
      async () => {},
      ({ signal }) => expectTypeOf(signal).toEqualTypeOf<AbortSignal>(),
    ];
    expect(checks).toHaveLength(3);
  });

  it("of a bulkhead has every field, and cannot be changed", () => {
    expectTypeOf(bulkhead.config.maxQueueSize).toEqualTypeOf<number>();
    expectTypeOf(bulkhead.config.timeoutSeconds).toEqualTypeOf<number | null>();
    expectTypeOf(bulkhead.name).toEqualTypeOf<string>();
    const change = () => {
      // @ts-expect-error read-only
      bulkhead.config.maxQueueSize = 1;
      // @ts-expect-error read-only
      bulkhead.name = "other";
    };
    expect(change).toThrow(TypeError);
  });

  it("of the storage is optional", () => {
    expectTypeOf<BulkheadOptions["circuitStorage"]>().toEqualTypeOf<CircuitStorage | undefined>();
    expectTypeOf<InMemoryStorage>().toExtend<CircuitStorage>();
    expectTypeOf<
      CircuitStorage["getState"]
    >().returns.resolves.toEqualTypeOf<CircuitRecord | null>();
  });
});

describe("withBulkhead", () => {
  it("keeps the parameters and makes the result a promise", () => {
    const wrap = withBulkhead(bulkhead);
    const wrapped = () => ({
      query: wrap(query),
      sync: wrap((n: number, text?: string) => `${text}${n}`),
    });
    type Wrapped = ReturnType<typeof wrapped>;
    expectTypeOf<Parameters<Wrapped["query"]>>().toEqualTypeOf<Parameters<typeof query>>();
    expectTypeOf<ReturnType<Wrapped["query"]>>().toEqualTypeOf<Promise<string[]>>();
    expectTypeOf<Parameters<Wrapped["sync"]>>().toEqualTypeOf<
      [n: number, text?: string | undefined]
    >();
    expectTypeOf<ReturnType<Wrapped["sync"]>>().toEqualTypeOf<Promise<string>>();
    const calls = () => {
      // @ts-expect-error the argument is missing
      wrapped().query();
      // @ts-expect-error the argument is no string
      wrapped().query(1);
      // @ts-expect-error not a function
      wrap("select 1");
      // @ts-expect-error not a bulkhead
      withBulkhead({ name: "api" });
    };
    expect(calls).toBeTypeOf("function");
  });

  it("keeps `this`", () => {
    const wrapped = () => withBulkhead(bulkhead)(load);
    type Wrapped = ReturnType<typeof wrapped>;
    expectTypeOf<ThisParameterType<Wrapped>>().toEqualTypeOf<{ base: string }>();
    const calls = () => {
      const folder = { base: "/", load: wrapped() };
      folder.load("7");
      wrapped().call({ base: "/" }, "7");
      const baseless = { load: wrapped() };
      // @ts-expect-error an object without base
      baseless.load("7");
    };
    expect(calls).toBeTypeOf("function");
  });

  it("decorates async methods, not sync ones, whose type would become another", () => {
    class Users {
      @withBulkhead(bulkhead)
      async get(id: string) {
        return new Date(id);
      }

      // @ts-expect-error the decorated method returns a promise
      @withBulkhead(bulkhead)
      count() {
        return 1;
      }
    }
    expectTypeOf<Users["get"]>().toEqualTypeOf<(id: string) => Promise<Date>>();
    expect(Users).toBeTypeOf("function");
  });
});

describe("events", () => {
  it("have payloads of their own types", () => {
    const listen = () => {
      bulkhead.on("stateChange", (event) => {
        expectTypeOf(event).toEqualTypeOf<StateChangeEvent>();
        expectTypeOf(event).toEqualTypeOf<{
          from: CircuitStatus;
          to: CircuitStatus;
          reason: string;
          cause?: unknown;
        }>();
      });
      bulkhead.on("rejected", ({ reason, error }) => {
        expectTypeOf(reason).toEqualTypeOf<keyof BulkheadStats["rejections"]>();
        expectTypeOf(error).toBeUnknown();
      });
      bulkhead.on("success", ({ executionId, executionTime, queuedTime }) => {
        expectTypeOf(executionId).toBeString();
        expectTypeOf(executionTime).toBeNumber();
        expectTypeOf(queuedTime).toBeNumber();
      });
      bulkhead.once("failure", ({ executionId, error }) => {
        expectTypeOf(executionId).toBeString();
        expectTypeOf(error).toBeUnknown();
      });
      bulkhead.on("timeout", ({ executionId, phase }) => {
        expectTypeOf(executionId).toBeString();
        expectTypeOf(phase).toEqualTypeOf<"waiting" | "running">();
      });
      bulkhead.on("abandoned", (event) => {
        expectTypeOf(event).toEqualTypeOf<{ executionId: string }>();
      });
      bulkhead.on("reclaimed", (event) => {
        expectTypeOf(event).toEqualTypeOf<{ executionId: string; settled: boolean }>();
      });
      bulkhead.on("healthCheck", (event) => {
        expectTypeOf(event).toEqualTypeOf<{ healthy: boolean; error: unknown }>();
      });
      bulkhead.on("isolated", ({ reason }) => {
        expectTypeOf(reason).toEqualTypeOf<string | null>();
      });
      bulkhead.on("released", (...nothing) => {
        expectTypeOf(nothing).toEqualTypeOf<[]>();
      });
      bulkhead.on("storageError", (error) => {
        expectTypeOf(error).toBeUnknown();
      });
      bulkhead.on("shutdown", (event) => {
        expectTypeOf(event).toEqualTypeOf<{ drained: boolean }>();
      });
    };
    expect(listen).toBeTypeOf("function");
  });

  it("are these", () => {
    expectTypeOf<keyof BulkheadEvents>().toEqualTypeOf<
      | "stateChange"
      | "rejected"
      | "success"
      | "failure"
      | "timeout"
      | "abandoned"
      | "reclaimed"
      | "healthCheck"
      | "isolated"
      | "released"
      | "configured"
      | "permits"
      | "storageError"
      | "shutdown"
    >();
  });

  it("of a manager give the bulkhead", () => {
    const listen = () => {
      manager.on("created", (created) => expectTypeOf(created).toEqualTypeOf<Bulkhead>());
      manager.once("removed", (removed) => expectTypeOf(removed).toEqualTypeOf<Bulkhead>());
      // @ts-expect-error no such event
      manager.on("success", () => {});
    };
    expect(listen).toBeTypeOf("function");
    expectTypeOf<keyof BulkheadManagerEvents>().toEqualTypeOf<"created" | "removed">();
  });

  it("reject a listener with other parameters", () => {
    const listen = () => {
      // @ts-expect-error the payload is an object
      bulkhead.on("success", (id: string) => id);
      // @ts-expect-error no such field
      bulkhead.on("success", ({ name }) => name);
    };
    expect(listen).toBeTypeOf("function");
  });
});

describe("BulkheadState", () => {
  it("is a value with the four states", () => {
    expect(BulkheadState).toEqual({
      HEALTHY: "healthy",
      DEGRADED: "degraded",
      ISOLATED: "isolated",
      FAILED: "failed",
    });
  });

  it("is a type, the one of getState()", () => {
    expectTypeOf<BulkheadState>().toEqualTypeOf<"healthy" | "degraded" | "isolated" | "failed">();
    expectTypeOf(bulkhead.getState()).toEqualTypeOf<BulkheadState>();
    const state: BulkheadState = BulkheadState.HEALTHY;
    expect(bulkhead.getState()).toBe(state);
  });

  it("lets a switch over its values be exhaustive", () => {
    const words = (state: BulkheadState): string => {
      switch (state) {
        case BulkheadState.HEALTHY:
        case BulkheadState.DEGRADED:
          return "up";
        case BulkheadState.ISOLATED:
        case BulkheadState.FAILED:
          return "down";
      }
    };
    expect(Object.values(BulkheadState).map(words)).toEqual(["up", "up", "down", "down"]);
  });
});

describe("the rest", () => {
  it("figures have the design's names and types", () => {
    expectTypeOf<Required<BulkheadStats>>().toEqualTypeOf<{
      name: string;
      state: BulkheadState;
      totalExecutions: number;
      successfulExecutions: number;
      failedExecutions: number;
      rejectedExecutions: number;
      activeTasks: number;
      queuedTasks: number;
      abandonedTasks: number;
      maxConcurrentCalls: number;
      maxQueueSize: number;
      circuitBreakerEnabled: boolean;
      circuitStatus: CircuitStatus;
      fleet: {
        limit: number;
        permits: number;
        fair: number;
        processes: number;
        leased: boolean;
      };
      rejections: Record<RejectionReason, number>;
      timedOutExecutions: number;
      abortedExecutions: number;
      ignoredExecutions: number;
      wouldReject: Record<RejectionReason, number>;
      retryAfterSeconds: number;
      consecutiveFailures: number;
      openedAt: Date | null;
      openings: number;
      lastFailure: LastFailure | null;
    }>();
    expectTypeOf<BulkheadStats["circuitStatus"]>().toEqualTypeOf<CircuitStatus | undefined>();
    expectTypeOf<RejectionReason>().toEqualTypeOf<
      "full" | "circuitOpen" | "timeout" | "aborted" | "isolated" | "shutdown"
    >();
    const keys = Object.keys(bulkhead.getStats().rejections);
    expect(keys).toEqual(["full", "circuitOpen", "timeout", "aborted", "isolated", "shutdown"]);
  });

  it("the breaker is opossum's, or undefined", () => {
    expectTypeOf(bulkhead.breaker).toEqualTypeOf<CircuitBreaker | undefined>();
    expect(new Bulkhead({ name: "api", circuitBreakerEnabled: false }).breaker).toBeUndefined();
  });

  it("errors extend BulkheadError, and one has retryAfterSeconds", () => {
    for (const ErrorClass of [
      BulkheadIsolationError,
      BulkheadTimeoutError,
      BulkheadFullError,
      BulkheadCircuitOpenError,
      BulkheadShutdownError,
    ]) {
      expectTypeOf<InstanceType<typeof ErrorClass>>().toExtend<BulkheadError>();
      expect(new ErrorClass("why")).toBeInstanceOf(BulkheadError);
    }
    expectTypeOf<BulkheadError["code"]>().toEqualTypeOf<string>();
    expectTypeOf<BulkheadError["bulkheadName"]>().toEqualTypeOf<string>();
    expectTypeOf<BulkheadCircuitOpenError["retryAfterSeconds"]>().toEqualTypeOf<number>();
  });

  it("contexts return what their body returns", () => {
    const calls = () => ({
      bulkhead: bulkhead.context(async (given) => given.name.length),
      manager: manager.context((given) => given.size),
    });
    expect(calls).toBeTypeOf("function");
    expectTypeOf<ReturnType<typeof calls>>().toEqualTypeOf<{
      bulkhead: Promise<number>;
      manager: Promise<number>;
    }>();
  });

  it("a manager's methods have the types of the bulkhead's", () => {
    const calls = () => {
      // @ts-expect-error the argument is no string
      void manager.executeInBulkhead("api", query, 1);
      // @ts-expect-error unknown option
      void manager.runInBulkhead("api", () => 1, { timeout: 1 });
      return {
        found: manager.getBulkhead("api"),
        executed: manager.executeInBulkhead("api", query, "select 1"),
        run: manager.runInBulkhead("api", ({ signal }) => signal.aborted),
        stats: manager.getAllStats(),
        health: manager.getHealthStatus(),
        all: [...manager],
      };
    };
    expect(calls).toBeTypeOf("function");
    expectTypeOf<ReturnType<typeof calls>>().toEqualTypeOf<{
      found: Bulkhead | undefined;
      executed: Promise<ExecutionResult<string[]>>;
      run: Promise<ExecutionResult<boolean>>;
      stats: Record<string, BulkheadStats>;
      health: Record<string, boolean>;
      all: Bulkhead[];
    }>();
  });

  it("bulkhead and manager can be disposed of with `await using`", () => {
    expectTypeOf<Bulkhead>().toExtend<AsyncDisposable>();
    expectTypeOf<BulkheadManager>().toExtend<AsyncDisposable>();
    expect(bulkhead[Symbol.asyncDispose]).toBeTypeOf("function");
  });
});
