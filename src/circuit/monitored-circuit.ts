import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { resultError } from "../rejections.js";
import type { Circuit } from "./circuit.js";
import { FAILURE, Judge, type Verdict } from "./judge.js";
import type { NewestFailure } from "./newest-failure.js";
import { OpossumBreaker, type OpossumBreakerHooks } from "./opossum-breaker.js";
import type { RollingWindow } from "./rolling-window.js";
import type { RunningCall, SlowCalls } from "./slow-calls.js";

/** A call as a circuit sees it. */
export interface CircuitCall {
  /** What the function is called with. */
  readonly args: readonly unknown[];
  readonly startedAt: number;
  /** The circuit's generation when it admitted the call. */
  generation: number;
  /** Its entry among the running calls, when slow calls are looked for. */
  running: RunningCall | undefined;
}

/** Admits calls, and records how each of them ends. */
export interface CallCircuit {
  tryAcquire(call: CircuitCall): boolean;
  recordStart(call: CircuitCall): void;
  /** What the error of a call says of the dependency. */
  judge(call: CircuitCall, error: unknown): Verdict;
  recordResult(call: CircuitCall, result: unknown, time: number): void;
  recordError(call: CircuitCall, verdict: Verdict, error: unknown, time: number): void;
  recordTimeout(call: CircuitCall, error: unknown, time: number): void;
  /** The call ends without a verdict on the dependency. */
  drop(call: CircuitCall): void;
}

/** The circuit is switched off: every call is admitted, and nothing is recorded. */
export const NO_CIRCUIT: CallCircuit = {
  tryAcquire: () => true,
  recordStart: ignore,
  judge: () => FAILURE,
  recordResult: ignore,
  recordError: ignore,
  recordTimeout: ignore,
  drop: ignore,
};

/** What sees each call besides the circuit. */
interface CallObservers {
  readonly window: RollingWindow;
  readonly slowCalls: SlowCalls | undefined;
  readonly lastFailure: NewestFailure;
}

/** Reports each call to the circuit and to opossum. */
export class MonitoredCircuit implements CallCircuit {
  /** In use while the user has disabled opossum's breaker. As with opossum, a call is only fired. */
  readonly bypass: CallCircuit = { ...NO_CIRCUIT, recordStart: (call) => this.#countStart(call) };
  readonly #config: ResolvedBulkheadConfig;
  readonly #judge: Judge;
  readonly #circuit: Circuit;
  readonly #window: RollingWindow;
  /** Set while slow calls are looked for. */
  slowCalls: SlowCalls | undefined;
  readonly #hooks: OpossumBreakerHooks;
  readonly #lastFailure: NewestFailure;
  /** Created when the user first asks for it: before that it can have no listeners. */
  #breaker: OpossumBreaker | undefined = undefined;

  constructor(
    config: ResolvedBulkheadConfig,
    circuit: Circuit,
    { window, slowCalls, lastFailure }: CallObservers,
    hooks: OpossumBreakerHooks,
  ) {
    this.slowCalls = slowCalls;
    this.#config = config;
    this.#judge = new Judge(config);
    this.#circuit = circuit;
    this.#window = window;
    this.#lastFailure = lastFailure;
    this.#hooks = hooks;
  }

  get breaker(): OpossumBreaker {
    this.#breaker ??= new OpossumBreaker(this.#config, this.#circuit, this.#window, this.#hooks);
    return this.#breaker;
  }

  /** The breaker, if the user has asked for it. */
  get createdBreaker(): OpossumBreaker | undefined {
    return this.#breaker;
  }

  tryAcquire(call: CircuitCall): boolean {
    return this.#circuit.tryAcquire(call);
  }

  drop(call: CircuitCall): void {
    if (call.running !== undefined) this.#endRunning(call, call.running, now(), false);
    this.#circuit.drop(call.generation);
  }

  #endRunning(call: CircuitCall, running: RunningCall, time: number, hasVerdict: boolean): void {
    call.running = undefined;
    this.slowCalls?.end(this.#circuit, running, { time, hasVerdict });
  }

  recordStart(call: CircuitCall): void {
    this.#countStart(call);
    if (this.slowCalls !== undefined && this.#circuit.isCurrent(call.generation, call.startedAt)) {
      call.running = this.slowCalls.start(call.startedAt, call.generation);
    }
  }

  #countStart(call: CircuitCall): void {
    const window = this.#window;
    if (call.startedAt >= window.dueAt) window.advance(call.startedAt);
    window.newest.fires++;
    if (this.#breaker !== undefined) this.#breaker.emit("fire", call.args);
  }

  judge(call: CircuitCall, error: unknown): Verdict {
    return this.#judge.judgeError(error, call.args);
  }

  recordResult(call: CircuitCall, result: unknown, time: number): void {
    if (this.#config.classify !== undefined) {
      const verdict = this.#judge.judgeResult(result, call.args);
      if (verdict.outcome === "failure") {
        this.recordError(call, verdict, resultError(this.#config.name, result), time);
        return;
      }
      if (verdict.outcome === "ignore") {
        this.drop(call);
        return;
      }
    }
    this.#feedSuccess(call, result, time);
    if (call.running !== undefined) this.#endRunning(call, call.running, time, true);
    if (this.#circuit.isCurrent(call.generation, time)) this.#circuit.recordSuccess();
  }

  recordError(call: CircuitCall, verdict: Verdict, error: unknown, time: number): void {
    if (verdict.outcome === "ignore") {
      this.drop(call);
      return;
    }
    const isExcused = verdict.outcome === "success";
    if (isExcused) this.#feedSuccess(call, error, time);
    else {
      this.#lastFailure.record(error);
      this.#feedFailure(call, error, time);
    }
    // First the failure: it can say for how long to open.
    if (this.#circuit.isCurrent(call.generation, time)) {
      if (isExcused) this.#circuit.recordSuccess();
      else this.#circuit.recordFailure(error, verdict.retryAfterSeconds);
    }
    if (call.running !== undefined) this.#endRunning(call, call.running, time, true);
  }

  recordTimeout(call: CircuitCall, error: unknown, time: number): void {
    this.#window.advance(time);
    this.#window.newest.timeouts++;
    if (this.#breaker !== undefined)
      this.#breaker.emit("timeout", error, time - call.startedAt, call.args);
    // It runs on: whether it would have been slow is not known.
    if (call.running !== undefined) this.#endRunning(call, call.running, time, false);
    this.recordError(call, this.judge(call, error), error, time);
  }

  /** The circuit has rejected the call. */
  recordRejection(call: CircuitCall, error: Error): void {
    this.#window.advance(now());
    this.#window.newest.fires++;
    this.#window.newest.rejects++;
    if (this.#breaker === undefined) return;
    this.#breaker.emit("fire", call.args);
    this.#breaker.emit("reject", error);
  }

  /** The bulkhead has rejected the call because it is full: to opossum, its semaphore is locked. */
  recordFull(call: CircuitCall, error: Error): void {
    this.#window.advance(now());
    this.#window.newest.fires++;
    this.#window.newest.semaphoreRejections++;
    if (this.#breaker === undefined) return;
    this.#breaker.emit("fire", call.args);
    this.#breaker.emit("semaphoreLocked", error, 0);
  }

  #feedSuccess(call: CircuitCall, result: unknown, time: number): void {
    const window = this.#window;
    if (time >= window.dueAt) window.advance(time);
    window.newest.successes++;
    if (this.#breaker !== undefined) this.#breaker.emit("success", result, time - call.startedAt);
  }

  #feedFailure(call: CircuitCall, error: unknown, time: number): void {
    this.#window.advance(time);
    this.#window.newest.failures++;
    if (this.#breaker !== undefined)
      this.#breaker.emit("failure", error, time - call.startedAt, call.args);
  }
}

function ignore(): void {}
