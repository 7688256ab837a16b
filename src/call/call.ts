import { AsyncResource } from "node:async_hooks";
import type { GatedCall } from "../circuit/gate.js";
import type { Verdict } from "../circuit/judge.js";
import { type CallCircuit, NO_CIRCUIT } from "../circuit/monitored-circuit.js";
import type { RunningCall } from "../circuit/slow-calls.js";
import type { Deadline } from "../common/deadline.js";
import type { AnyFunction } from "../common/function-types.js";
import { keepShapeAlive } from "../common/keep-shape-alive.js";
import { ListNode } from "../common/linked-list.js";
import { unwatchSignal, watchSignal } from "../common/signal-watch.js";
import { abortReason } from "../rejections.js";
import type { ExecutionContext, ExecutionResult } from "../result.js";
import { newExecutionId } from "./execution-id.js";
import type { Lane } from "./lanes.js";

/**
 * - `waiting`: in the queue
 * - `running`: its function runs, its caller waits
 * - `abandoned`: its caller has its answer, its function runs on and holds the permit
 * - `over`: it holds nothing any more
 */
type Phase = "waiting" | "running" | "abandoned" | "over";

/** By which method of the bulkhead it came. */
type CallKind = "call" | "execute" | "run" | "acquire";

export const NO_ARGS: readonly unknown[] = [];
const NO_DESTROY = { requireManualDestroy: true };

/** One call on its way through a bulkhead. */
export class Call extends ListNode<Call> implements GatedCall {
  static {
    const times = { enteredAt: 0.5, startedAt: 0.5, endedAt: 0.5 };
    keepShapeAlive(Object.assign(new Call(ignore, NO_ARGS, "execute"), times));
  }

  phase: Phase = "waiting";
  /** No permit was free when it came, or when the storage answered. */
  hasWaited = false;
  /** It waits for an answer of the circuit's storage, whether or not a permit is free. */
  isHeld = false;
  /** Since when it waits for a permit. */
  waitsSince = 0;
  /** Its time was over before its lane was open. */
  isOverdue = false;
  circuit: CallCircuit = NO_CIRCUIT;
  generation = 0;
  enteredAt = 0;
  startedAt = 0;
  /** With an {@link ExecutionResult}, or with the value when the caller {@link wantsValue}. */
  resolve: (result: unknown) => void = ignore;
  reject: (reason: unknown) => void = ignore;
  /** Milliseconds for waiting and running together; `undefined` for no limit. */
  limitMs: number | undefined = undefined;
  /** The end of the call's time, or of its wait, and then of its function's right to the permit. */
  deadline: Deadline<Call> | undefined = undefined;
  /** It came while `enforce` was `false`, and would have been admitted or refused. Its time limit cuts nothing. */
  watched: "admitted" | "refused" | undefined = undefined;
  /** What the holder of its permit has judged, instead of `classify` or `errorFilter`. */
  verdict: Verdict | undefined = undefined;
  /** Set by the circuit while it looks for slow calls. */
  running: RunningCall | undefined = undefined;
  /** The permit, from the start on. */
  lane: Lane<Call> | undefined = undefined;
  /** When its function settled, while its caller waited. */
  endedAt = 0;
  #id: string | undefined = undefined;
  #context: AsyncResource | undefined = undefined;
  readonly #fn: AnyFunction;
  /** What the function is called with. */
  args: readonly unknown[];
  /** The caller's own. */
  readonly signal: AbortSignal | undefined;
  /** Whether {@link prepare} has something to do. */
  readonly isTask: boolean;
  /** Whether the caller gets the function's value, or what it threw, instead of an {@link ExecutionResult}. */
  readonly wantsValue: boolean;

  constructor(
    fn: AnyFunction,
    args: readonly unknown[],
    kind: CallKind,
    signal: AbortSignal | undefined = undefined,
  ) {
    super();
    this.#fn = fn;
    this.args = args;
    this.signal = signal;
    this.isTask = kind === "run";
    this.wantsValue = kind === "call" || kind === "acquire";
  }

  get id(): string {
    this.#id ??= newExecutionId();
    return this.#id;
  }

  /** The call is admitted at `time`, in its caller's `AsyncLocalStorage` context. */
  enter(time: number): void {
    this.enteredAt = time;
    this.waitsSince = time;
    this.#context = new AsyncResource("BulkheadCall", NO_DESTROY);
  }

  /**
   * Runs what the user's code sees of this call in its caller's context: otherwise logs, traces and
   * transactions would be those of whichever call freed the permit, or armed the timer.
   */
  inContext<A extends unknown[], T>(work: (...args: A) => T, self: unknown, ...args: A): T {
    if (this.#context === undefined) return Reflect.apply(work, self, args);
    return this.#context.runInAsyncScope(work, self, ...args);
  }

  /** Makes what the task is given, when it starts: a waiting call has no use for it. */
  prepare(): void {}

  /** Runs the function. */
  invoke(): unknown {
    // Called through the field, it would have this call as its `this`.
    const fn = this.#fn;
    return fn(...this.args);
  }

  /** Seconds that the function has run at `time`. */
  executionTime(time = this.endedAt): number {
    return (time - this.startedAt) / 1000;
  }

  /** Whether it waited before it started: for a permit, or for the storage. */
  get spentTimeBefore(): boolean {
    return this.hasWaited || this.waitsSince > this.enteredAt;
  }

  /** Seconds that the call waited for a permit, or for the storage; 0 when one was free. */
  get queuedTime(): number {
    return this.spentTimeBefore ? (this.startedAt - this.enteredAt) / 1000 : 0;
  }

  /** The fields of events for a call that ends at `time`. */
  times(time: number) {
    return {
      executionId: this.id,
      executionTime: this.executionTime(time),
      queuedTime: this.queuedTime,
    };
  }

  /** Calls back when the caller aborts, until `unwatch()`. */
  watch(onAbort: (call: Call, reason: unknown) => void): void {
    const { signal } = this;
    if (signal !== undefined) watchSignal(signal, this, () => onAbort(this, abortReason(signal)));
  }

  unwatch(): void {
    if (this.signal !== undefined) unwatchSignal(this.signal, this);
  }

  /** Asks the function to stop. */
  abort(_reason: unknown): void {}
}

/** A call that was started with `run`: its function is given a signal, its caller may have one too. */
export class TaskCall extends Call {
  readonly #bulkheadName: string;
  #controller: AbortController | undefined = undefined;

  constructor(task: AnyFunction, signal: AbortSignal | undefined, bulkheadName: string) {
    super(task, NO_ARGS, "run", signal);
    this.#bulkheadName = bulkheadName;
  }

  override prepare(): void {
    this.#controller = new AbortController();
    const { signal } = this.#controller;
    const context: ExecutionContext = {
      signal,
      executionId: this.id,
      bulkheadName: this.#bulkheadName,
    };
    this.args = [context];
  }

  override abort(reason: unknown): void {
    this.#controller?.abort(reason);
  }
}

function ignore(): void {}
