import { LinkedList, ListNode } from "../common/linked-list.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { type OpeningRule, Rate } from "./opening-rules.js";
import type { RollingWindow } from "./rolling-window.js";

/** A call that runs, and that is not slow yet. */
export class RunningCall extends ListNode<RunningCall> {
  constructor(
    readonly startedAt: number,
    readonly generation: number,
  ) {
    super();
  }
}

/** What {@link SlowCalls} asks of the circuit. */
export interface SlowCallsCircuit {
  readonly status: string;
  isCurrent(generation: number, time: number): boolean;
  open(reason: string, origin: "verdict"): void;
}

/**
 * Opens at `slowCallRateThreshold` percent of slow calls. A call is slow when it has run for `slowCallSeconds`, also
 * while it runs on: a dependency that hangs is seen before its calls end. The calls run in the order of their starts,
 * so the next slow one is always the first, and no timer is needed.
 */
export class SlowCalls implements OpeningRule {
  readonly #config: ResolvedBulkheadConfig;
  readonly #window: RollingWindow;
  readonly #rate: Rate;
  #running = new LinkedList<RunningCall>();

  constructor(window: RollingWindow, config: ResolvedBulkheadConfig) {
    this.#config = config;
    this.#window = window;
    this.#rate = new Rate(window, config);
  }

  get #slowMs(): number {
    return (this.#config.slowCallSeconds ?? Number.POSITIVE_INFINITY) * 1000;
  }

  /** A call of the circuit's present generation starts. */
  start(startedAt: number, generation: number): RunningCall {
    const call = new RunningCall(startedAt, generation);
    this.#running.push(call);
    return call;
  }

  /** Counts the calls that have become slow by `time`; that can open the circuit. */
  detect(circuit: SlowCallsCircuit, time: number): void {
    if (this.#running.size === 0) return;
    const slowMs = this.#slowMs;
    for (let call = this.#running.first; call !== undefined; call = this.#running.first) {
      if (time - call.startedAt < slowMs) return;
      this.#running.remove(call);
      this.#count(circuit, call, true, time);
    }
  }

  /**
   * A call ends at `time`.
   * @param hasVerdict whether it counts when it was not slow
   */
  end(
    circuit: SlowCallsCircuit,
    call: RunningCall,
    { time, hasVerdict }: { readonly time: number; readonly hasVerdict: boolean },
  ): void {
    this.detect(circuit, time);
    // It was slow, or the circuit has changed since its start.
    if (call.list !== this.#running) return;
    this.#running.remove(call);
    if (hasVerdict) this.#count(circuit, call, false, time);
  }

  /** Calls are counted when they become slow or end, and not with their verdicts. */
  recordSuccess(): undefined {}

  recordFailure(): undefined {}

  /** The calls that run now are of an earlier generation of the circuit. */
  reset(): void {
    this.#running = new LinkedList();
    this.#rate.reset();
  }

  #count(circuit: SlowCallsCircuit, call: RunningCall, isSlow: boolean, time: number): void {
    // When it became slow, its probe's lease was perhaps not over yet.
    const judgedAt = isSlow ? Math.min(time, call.startedAt + this.#slowMs) : time;
    if (!circuit.isCurrent(call.generation, judgedAt)) return;
    if (circuit.status === "HALF_OPEN") {
      if (isSlow) circuit.open("a probe was slow", "verdict");
      return;
    }
    this.#window.advance(time);
    const { slowCallSeconds, slowCallRateThreshold, windowSeconds } = this.#config;
    const tally = this.#rate.record(isSlow, slowCallRateThreshold);
    if (tally === undefined) return;
    circuit.open(
      `${tally.hits} of ${tally.calls} calls ran for ${slowCallSeconds} s or longer within ${windowSeconds} s`,
      "verdict",
    );
  }
}
