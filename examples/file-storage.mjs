// A storage of one's own: circuits in a directory, shared by the processes of one machine. The rules
// are the same for any store; file-storage.test.mjs tests them.
import { createHash, randomUUID } from "node:crypto";
import { link, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

const CLOSED = {
  state: "CLOSED",
  failureCount: 0,
  openUntil: 0,
  openedBy: null,
  reason: null,
  probeOwner: null,
  probeUntil: 0,
  probeSuccesses: 0,
};

export class FileStorage {
  /** A bulkhead probes for as long by itself when no file can be read. */
  probeLeaseSeconds;
  #directory;
  #pollMs;
  #subscriptions = new Set();
  #turn = Promise.resolve();

  constructor(directory, { probeLeaseSeconds = 30, pollSeconds = 0.2 } = {}) {
    this.#directory = directory;
    this.probeLeaseSeconds = probeLeaseSeconds;
    this.#pollMs = pollSeconds * 1000;
  }

  getState(name) {
    return this.#inTurn(async () => {
      const circuit = await this.#read(name);
      return circuit === null ? null : toRecord(circuit);
    });
  }

  load(name) {
    return this.#inTurn(async () => toRecord(await this.#readOrMake(name)));
  }

  change(name, change) {
    return this.#inTurn(() => this.#change(name, change));
  }

  async #change(name, change) {
    const before = await this.#readOrMake(name);
    const now = Date.now();
    const isWanted = change.version === before.version && isAllowed(before, change, now);
    if (!isWanted) return { changed: false, record: toRecord(before) };
    const after = { ...this.#apply(before, change, now), version: before.version + 1 };
    const changed = await this.#write(name, after);
    return { changed, record: toRecord(changed ? after : await this.#readOrMake(name)) };
  }

  subscribe(name, subscriber) {
    let seen;
    let isTold = false;
    const look = async () => {
      try {
        const circuit = await this.#read(name);
        isTold = false;
        if (!this.#subscriptions.has(timer) || circuit === null) return;
        if (circuit.version !== seen) subscriber.onRecord(toRecord(circuit));
        seen = circuit.version;
      } catch (error) {
        // Once, until it could be read again.
        if (!isTold) subscriber.onError(error);
        isTold = true;
      }
    };
    const timer = setInterval(look, this.#pollMs).unref();
    this.#subscriptions.add(timer);
    return () => this.#unsubscribe(timer);
  }

  async close() {
    for (const timer of this.#subscriptions) this.#unsubscribe(timer);
  }

  /** One after the other: what is read has what was asked for before. */
  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  #unsubscribe(timer) {
    clearInterval(timer);
    this.#subscriptions.delete(timer);
  }

  /** A name can be longer than a file's, and contain anything. */
  #folder(name) {
    return join(this.#directory, createHash("sha256").update(name).digest("hex"));
  }

  /** Each version is a file; the highest is the circuit, the others are its history. */
  async #read(name) {
    const folder = this.#folder(name);
    const files = await readdir(folder).catch((error) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    const versions = files.map(Number).filter(Number.isSafeInteger);
    if (versions.length === 0) return null;
    return JSON.parse(await readFile(join(folder, String(Math.max(...versions))), "utf8"));
  }

  /** The compare-and-set: of all who link one version, one succeeds. */
  async #write(name, circuit) {
    const folder = this.#folder(name);
    await mkdir(folder, { recursive: true });
    const draft = join(folder, `draft-${randomUUID()}`);
    await writeFile(draft, JSON.stringify(circuit));
    try {
      await link(draft, join(folder, String(circuit.version)));
      return true;
    } catch (error) {
      if (error.code === "EEXIST") return false;
      throw error;
    } finally {
      await rm(draft);
    }
  }

  async #readOrMake(name) {
    const found = await this.#read(name);
    if (found !== null) return found;
    const updatedAt = Date.now();
    // From the time on, so that versions still rise after the directory was emptied.
    await this.#write(name, { ...CLOSED, updatedAt, version: updatedAt });
    return this.#readOrMake(name);
  }

  #apply(before, change, updatedAt) {
    const { to: state, owner } = change;
    const { failureCount, openedBy } = before;
    if (state === "CLOSED") return { ...CLOSED, openedBy, updatedAt };
    if (state === "OPEN") {
      const { failureCount, openSeconds, opening = owner } = change;
      const openUntil = updatedAt + openSeconds * 1000;
      const reason = change.reason === undefined ? null : [...change.reason].slice(0, 255).join("");
      return { ...CLOSED, state, failureCount, openUntil, openedBy: opening, reason, updatedAt };
    }
    const probeSuccesses = change.successes ?? before.probeSuccesses;
    const lease = { probeOwner: owner, probeUntil: updatedAt + this.probeLeaseSeconds * 1000 };
    const common = { ...CLOSED, state, failureCount, openedBy, probeSuccesses, updatedAt };
    return change.early ? common : { ...common, ...lease };
  }
}

function isAllowed({ state, reason, openUntil, probeOwner, probeUntil }, change, now) {
  if (change.byHand) return true;
  const isProber = probeOwner === change.owner && probeUntil > now;
  const isFree = (state === "OPEN" ? openUntil : probeUntil) <= now;
  if (change.to === "CLOSED") return isProber;
  if (change.to === "OPEN") return state === "CLOSED" || isProber || isFree;
  if (state === "CLOSED") return false;
  if (change.early) return isProber || isFree || (state === "OPEN" && reason === null);
  return isProber || isFree;
}

function toRecord({ openUntil, probeUntil, updatedAt, ...circuit }) {
  const toDate = (ms) => (ms === 0 ? null : new Date(ms));
  return {
    ...circuit,
    openUntil: toDate(openUntil),
    probeUntil: toDate(probeUntil),
    updatedAt: new Date(updatedAt),
    readAt: new Date(),
  };
}
