// @ts-check
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";

/**
 * @typedef {object} WorkerSettings
 * @property {string} log the file of what ran
 * @property {import("bulkman").PostgresStorageOptions} storage
 * @property {import("bulkman").BulkheadConfig} config
 * @property {number} callMs how long a call takes
 *
 * @typedef {object} Entry
 * @property {number} at milliseconds
 * @property {string} what
 * @property {number} value
 * @property {number} who
 */

const now = () => Number(process.hrtime.bigint()) / 1e6;

/** A process of the fleet, as its parent sees it. */
export class Worker {
  /** @type {number | undefined} */
  #killedAt = undefined;

  /**
   * @param {number} who
   * @param {Omit<WorkerSettings, "log">} settings
   * @param {string} folder for its log
   * @param {readonly string[]} [prefix] a command that runs it, such as one that enters a network namespace
   */
  constructor(who, settings, folder, prefix = []) {
    this.who = who;
    this.log = join(folder, `${who}.log`);
    const [command = process.execPath, ...args] = prefix;
    this.process = fork(join(import.meta.dirname, "worker.mjs"), {
      env: { ...process.env, BULKMAN_FLEET: JSON.stringify({ ...settings, log: this.log }) },
      execPath: command,
      execArgv: prefix.length === 0 ? [] : [...args, process.execPath],
    });
    this.ready = once(this.process, "message");
  }

  /** @param {number} perSecond calls that it makes from now on */
  load(perSecond) {
    if (this.process.connected) this.process.send({ perSecond });
  }

  /** @param {NodeJS.Signals} signal */
  signal(signal) {
    this.process.kill(signal);
  }

  async kill() {
    const ended = once(this.process, "exit");
    this.process.kill("SIGKILL");
    await ended;
    // Its functions ended with it.
    this.#killedAt = now();
  }

  async end() {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const ended = once(this.process, "exit");
    this.process.send({ end: true });
    await ended;
  }

  /** @returns {Entry[]} what ran, in its order */
  read() {
    const lines = readFileSync(this.log, "utf8").trimEnd().split("\n");
    const entries = lines.filter(Boolean).map((line) => {
      const [what = "", at, value] = line.split(" ");
      return { what, at: Number(at) / 1e6, value: Number(value), who: this.who };
    });
    if (this.#killedAt === undefined) return entries;
    const open = entries.reduce(
      (sum, { what }) => sum + Number(what === "start") - Number(what === "end"),
      0,
    );
    const ends = Array.from({ length: open }, () => ({
      ...{ what: "end", at: this.#killedAt ?? 0, value: 0, who: this.who },
    }));
    return [...entries, ...ends];
  }
}

/**
 * What ran at once in all processes together, by the clock that they share.
 * @param {readonly Worker[]} workers
 * @param {{ from?: number, to?: number }} [range] milliseconds of that clock
 */
export function measure(workers, { from = -Infinity, to = Infinity } = {}) {
  const all = workers.flatMap((worker) => worker.read());
  // Of the same moment, an end comes first: the permit was free.
  all.sort(
    (one, other) =>
      one.at - other.at || Number(one.what === "start") - Number(other.what === "start"),
  );
  let running = 0;
  let most = 0;
  const waits = [];
  const served = workers.map(() => 0);
  let questions = 0;
  let troubles = 0;
  for (const { what, at, value, who } of all) {
    if (what === "start") running++;
    if (what === "end") running--;
    if (at < from || at > to) continue;
    if (what === "start") {
      most = Math.max(most, running);
      waits.push(value);
      served[who] = (served[who] ?? 0) + 1;
    }
    if (what === "question") questions++;
    if (what === "trouble") troubles++;
  }
  waits.sort((one, other) => one - other);
  const quantile = (/** @type {number} */ q) =>
    waits[Math.floor(q * (waits.length - 1))] ?? Number.NaN;
  return { most, served, questions, troubles, waits: { p50: quantile(0.5), p99: quantile(0.99) } };
}

export { now };
