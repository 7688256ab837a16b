import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { COLUMNS } from "./drawing.mjs";

/** @typedef {import("./member.mjs").Change} Change */

/** What was seen of the fleet. */
export class FleetRecording {
  /** The upstream's modes, in their order, and the column in which each began. */
  modes = [];
  /** When each request arrived at the upstream, and its path: the name of the process that sent it. */
  arrivals = [];
  startedAt = performance.now();

  /**
   * @param {ReturnType<import("./plan.mjs").makePlan>["fleet"]} plan
   * @param {string[]} names of the processes
   */
  constructor(plan, names) {
    this.plan = plan;
    this.members = names.map((name) => ({
      name,
      stats: undefined,
      sent: 0,
      /** @type {Change[]} */
      changes: [],
      columns: Array.from({ length: COLUMNS }, () => ({ circuit: null, sent: 0 })),
    }));
  }

  /** Seconds since the start, up to the end of the plan. */
  get elapsed() {
    return Math.min((performance.now() - this.startedAt) / 1000, this.plan.seconds);
  }

  /** The index of the present column. */
  get column() {
    return Math.min(COLUMNS - 1, Math.floor((this.elapsed / this.plan.seconds) * COLUMNS));
  }

  /** The upstream has entered a mode. */
  enterMode(mode) {
    this.modes.push({ mode, column: this.column });
  }

  /** A report of a process. */
  see(name, { stats, sent, changes }) {
    const member = this.members.find((one) => one.name === name);
    const column = member.columns[this.column];
    // The probing is over before a column is: it would not be seen.
    if (column.circuit !== "HALF_OPEN") column.circuit = stats.circuitStatus;
    column.sent += sent - member.sent;
    // Columns without a report: a change is reported at once, so there was none.
    const before = member.stats?.circuitStatus ?? column.circuit;
    for (const missed of member.columns.slice(0, this.column)) missed.circuit ??= before;
    Object.assign(member, { stats, sent, changes });
  }

  /** Resolves when the circuit of every process has come into this state. */
  async waitFor(status, signal) {
    while (this.members.some(({ changes }) => !changes.some(({ to }) => to === status))) {
      await sleep(10, undefined, { signal });
    }
  }

  /**
   * How the fleet's circuit first opened, or closed: the process that decided it, and when each refused
   * a call or let it through, in milliseconds after the settlement of the call that was decided by.
   * @param {"OPEN" | "CLOSED"} to
   */
  change(to) {
    const all = this.members.map(({ changes }) => changes.find((change) => change.to === to));
    const first = all.toSorted((a, b) => a.at - b.at)[0];
    return {
      at: first.at,
      decider: this.members[all.indexOf(first)].name,
      refusals: all.map(({ refusedAt }) => refusedAt && refusedAt - first.settledAt),
      admissions: all.map(({ letThroughAt }) => letThroughAt && letThroughAt - first.settledAt),
    };
  }

  /** How many requests each process sent to the upstream after the circuit opened, until it closed. */
  get probes() {
    const [from, to] = [this.change("OPEN").at, this.change("CLOSED").at];
    const probes = this.arrivals.filter(({ at }) => at > from && at < to);
    return this.members.map(({ name }) => probes.filter(({ path }) => path === `/${name}`).length);
  }
}
