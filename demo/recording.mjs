import { performance } from "node:perf_hooks";
import { COLUMNS } from "./drawing.mjs";
import { HEALTHY, SICK } from "./plan.mjs";

/** What was seen of one run, by one clock: that of the process that also makes the load. */
export class Recording {
  /** Every request, in the order of the answers; times in milliseconds. */
  answers = [];
  /** When the sick upstream confirmed that it entered each phase. */
  phaseBegan = [];
  /** How many requests the sick upstream received in each mode. */
  received = { healthy: 0, hangs: 0, fails: 0 };
  columns = Array.from({ length: COLUMNS }, () => ({
    inFlight: 0,
    waiting: 0,
    circuit: null,
    succeeded: 0,
    refused: 0,
    latency: 0,
  }));
  startedAt = performance.now();
  /** Requests that nobody has answered yet, the oldest first. */
  #pending = new Set();

  /**
   * @param {"bare" | "bulkhead"} style
   * @param {ReturnType<import("./plan.mjs").makePlan>} plan
   * @param {object} snapshot a first report of the service
   */
  constructor(style, plan, snapshot) {
    this.style = style;
    this.plan = plan;
    /** The latest report of the service. */
    this.snapshot = snapshot;
  }

  /** Seconds since the start, up to the end of the plan. */
  get elapsed() {
    return Math.min((performance.now() - this.startedAt) / 1000, this.plan.seconds);
  }

  /** The phase that the sick upstream is in. */
  get phase() {
    return this.plan.phases[Math.max(0, this.phaseBegan.length - 1)];
  }

  /** The index of the present column. */
  get column() {
    return Math.min(COLUMNS - 1, Math.floor((this.elapsed / this.plan.seconds) * COLUMNS));
  }

  enterPhase() {
    this.phaseBegan.push(performance.now());
  }

  /** A report of the service. */
  see(snapshot) {
    this.snapshot = snapshot;
    const column = this.columns[this.column];
    column.inFlight = Math.max(column.inFlight, snapshot.gauges[SICK].inFlight);
    column.waiting = Math.max(column.waiting, snapshot.waiting);
    column.circuit = snapshot.circuit;
    column.latency = Math.max(column.latency, this.#longestWait());
  }

  /** @param {import("./load.mjs").Sent} request */
  sent(request) {
    this.#pending.add(request);
  }

  /**
   * @param {import("./load.mjs").Sent} request
   * @param {import("./load.mjs").Outcome} outcome
   */
  answered(request, outcome) {
    this.#pending.delete(request);
    const { name, dueAt } = request;
    const endedAt = performance.now();
    // From the time that it was due, so that a delay in sending hides nothing.
    const latency = endedAt - dueAt;
    this.answers.push({ name, dueAt, endedAt, latency, outcome });
    const column = this.columns[this.column];
    if (name === HEALTHY) column.latency = Math.max(column.latency, latency);
    else if (outcome === "succeeded") column.succeeded++;
    else if (outcome === "refused") column.refused++;
  }

  /** The latency of the healthy dependency's requests just now, in milliseconds. */
  get latency() {
    const recent = this.columns.slice(Math.max(0, this.column - 1), this.column + 1);
    return Math.max(...recent.map(({ latency }) => latency));
  }

  /** While nothing is answered at all, the latency is that of the request which waits longest. */
  #longestWait() {
    const oldest = [...this.#pending].find(({ name }) => name === HEALTHY);
    return oldest === undefined ? 0 : performance.now() - oldest.dueAt;
  }

  /** How many requests for a dependency ended in one of these ways. */
  count(name, ...outcomes) {
    return this.answersOf(name).filter(({ outcome }) => outcomes.includes(outcome)).length;
  }

  answersOf(name) {
    return this.answers.filter((answer) => answer.name === name);
  }
}
