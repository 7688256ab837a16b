import type { EventEmitter } from "node:events";
import CircuitBreaker from "opossum";
import { now } from "../common/clock.js";
import type { ResolvedBulkheadConfig } from "../config.js";
import { safeEmit } from "../events.js";
import type { CircuitStatus } from "../storage/circuit-storage.js";
import type { Circuit } from "./circuit.js";
import { isolationMs } from "./isolation.js";
import type { RollingWindow } from "./rolling-window.js";

/**
 * The part of opossum's class that this library uses, as opossum's code has it. The published types
 * declare the accessors as fields, and TypeScript does not let an accessor override a field.
 */
declare class Breaker extends EventEmitter {
  constructor(action: (...args: unknown[]) => unknown, options: CircuitBreaker.Options<unknown[]>);
  get closed(): boolean;
  get opened(): boolean;
  get halfOpen(): boolean;
  get isShutdown(): boolean;
  get enabled(): boolean;
  get status(): CircuitBreaker.Status;
  get stats(): CircuitBreaker.Stats;
  readonly options: CircuitBreaker.Options<unknown[]>;
  fire(...args: unknown[]): Promise<unknown>;
  call(context: unknown, ...args: unknown[]): Promise<unknown>;
  open(): void;
  close(): void;
  enable(): void;
  disable(): void;
  shutdown(): void;
  toJSON(): { state: object; status: CircuitBreaker.Stats };
}

const BreakerBase = CircuitBreaker as unknown as typeof Breaker;

export interface OpossumBreakerHooks {
  /** `enable()` or `disable()` was called. */
  readonly onSwitched: (enabled: boolean) => void;
  /** `shutdown()` was called. */
  readonly onShutdown: () => void;
}

const NOT_CALLABLE =
  "This breaker belongs to a bulkhead: call the bulkhead's execute() or run() instead of fire()";

/** Emitted without a listener of opossum's own, so opossum's `eventNames()` leaves them out. */
const MORE_EVENTS = ["halfOpen", "healthCheckFailed"];

/**
 * The bulkhead's circuit as opossum's users know it. It runs no calls and owns no timer: its state is the
 * state of {@link Circuit}, and `MonitoredCircuit` counts its figures and emits its events.
 */
export class OpossumBreaker extends BreakerBase {
  readonly #circuit: Circuit;
  readonly #window: RollingWindow;
  readonly #hooks: OpossumBreakerHooks;
  readonly #eventNames: ReadonlyArray<string | symbol>;

  constructor(
    config: ResolvedBulkheadConfig,
    rules: Circuit,
    window: RollingWindow,
    hooks: OpossumBreakerHooks,
  ) {
    super(() => Promise.reject(new TypeError(NOT_CALLABLE)), {
      name: config.name,
      // opossum makes no timer of its own: the bulkhead has the time limits.
      timeout: false,
      resetTimeout: isolationMs(config.isolationDuration, 1),
      rollingCountTimeout: config.windowSeconds * 1000,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      status: window.status,
    });
    // opossum reacts to its own events: it counts, closes on the first success of a half-open circuit, and
    // starts the timer of the isolation. Each would happen a second time here.
    this.#eventNames = [...super.eventNames(), ...MORE_EVENTS];
    this.removeAllListeners();
    this.#circuit = rules;
    this.#window = window;
    this.#hooks = hooks;
  }

  /** For those who read opossum's options: no timer of opossum's depends on them. */
  reconfigure({ isolationDuration, windowSeconds }: ResolvedBulkheadConfig): void {
    this.options.resetTimeout = isolationMs(isolationDuration, 1);
    this.options.rollingCountTimeout = windowSeconds * 1000;
  }

  /** This object with the type that opossum publishes. */
  get published(): CircuitBreaker {
    return this as unknown as CircuitBreaker;
  }

  override get closed(): boolean {
    return this.#circuit.status === "CLOSED";
  }

  override get opened(): boolean {
    return this.#circuit.status === "OPEN";
  }

  override get halfOpen(): boolean {
    return this.#circuit.status === "HALF_OPEN";
  }

  override get status(): CircuitBreaker.Status {
    this.#window.advance(now());
    return super.status;
  }

  override get stats(): CircuitBreaker.Stats {
    return this.status.stats;
  }

  /** With the time at which the circuit opened: an opossum breaker made from it ends the isolation in time. */
  override toJSON(): { state: object; status: CircuitBreaker.Stats } {
    const { state, status } = super.toJSON();
    return { state: { ...state, lastTimerAt: this.#circuit.openedAt }, status };
  }

  /** Also the events without a listener: opossum-prometheus counts the events that it finds here. */
  override eventNames(): Array<string | symbol> {
    return [...new Set([...this.#eventNames, ...super.eventNames()])];
  }

  /** A listener that throws changes no call's outcome. */
  override emit(event: string | symbol, ...args: unknown[]): boolean {
    return safeEmit(this, event, args);
  }

  /** Opens the circuit, by hand. Does nothing when it is open. */
  override open(): void {
    this.#circuit.open("opened by hand", "manual");
  }

  /** Closes the circuit, by hand. Does nothing when it is closed. */
  override close(): void {
    this.#circuit.close("closed by hand", "manual");
  }

  override enable(): void {
    super.enable();
    this.#hooks.onSwitched(true);
  }

  override disable(): void {
    super.disable();
    this.#hooks.onSwitched(false);
  }

  /** Shuts the bulkhead down. */
  override shutdown(): void {
    this.#hooks.onShutdown();
  }

  /** No call of the bulkhead is left that could emit an event. */
  end(): void {
    super.shutdown();
  }

  override call(): Promise<never> {
    return Promise.reject(new TypeError(NOT_CALLABLE));
  }

  /** Emits opossum's event of a change. */
  emitTransition(to: CircuitStatus): void {
    if (to === "CLOSED") this.emit("close");
    else if (to === "OPEN") this.emit("open");
    else this.emit("halfOpen", this.options.resetTimeout);
  }
}
