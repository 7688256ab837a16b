// A custom storage: circuits in a directory, shared by the processes of one machine. applyChange() has the
// rules, so that a storage only reads and writes. file-storage.test.mjs runs the contract of all storages.
import { createHash, randomUUID } from "node:crypto";
import { link, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { applyChange } from "bulkman";

const CLOSED = {
  state: "CLOSED",
  failureCount: 0,
  openUntil: null,
  openedBy: null,
  reason: null,
  probeOwner: null,
  probeUntil: null,
  probeSuccesses: 0,
  openings: 0,
};

export class FileStorage {
  /** A bulkhead probes for this long on its own when no file can be read. */
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
    return this.#inTurn(() => this.#read(name));
  }

  load(name) {
    return this.#inTurn(() => this.#readOrCreate(name));
  }

  change(name, change) {
    return this.#inTurn(async () => {
      const before = await this.#readOrCreate(name);
      const leaseSeconds = this.probeLeaseSeconds;
      const result = applyChange(before, change, new Date(), { leaseSeconds });
      if (!result.changed || (await this.#write(name, result.record))) return result;
      return { changed: false, record: await this.#readOrCreate(name) };
    });
  }

  subscribe(name, subscriber) {
    let seen;
    let hasFailed = false;
    const look = async () => {
      try {
        const record = await this.#read(name);
        hasFailed = false;
        if (!this.#subscriptions.has(timer) || record === null) return;
        if (record.version !== seen) subscriber.onRecord(record);
        seen = record.version;
      } catch (error) {
        // Once, until it can be read again.
        if (!hasFailed) subscriber.onError(error);
        hasFailed = true;
      }
    };
    const timer = setInterval(look, this.#pollMs).unref();
    this.#subscriptions.add(timer);
    return () => this.#unsubscribe(timer);
  }

  async close() {
    for (const timer of this.#subscriptions) this.#unsubscribe(timer);
  }

  /** One after the other: a read sees every change that was asked for before it. */
  #inTurn(work) {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  #unsubscribe(timer) {
    clearInterval(timer);
    this.#subscriptions.delete(timer);
  }

  /** A name can be longer than a file's, and contain any character. */
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
    const text = await readFile(join(folder, String(Math.max(...versions))), "utf8");
    return { ...JSON.parse(text, toDate), readAt: new Date() };
  }

  /** The compare-and-set: of all processes that link one version, one succeeds. */
  async #write(name, record) {
    const folder = this.#folder(name);
    await mkdir(folder, { recursive: true });
    const draft = join(folder, `draft-${randomUUID()}`);
    await writeFile(draft, JSON.stringify(record));
    try {
      await link(draft, join(folder, String(record.version)));
      return true;
    } catch (error) {
      if (error.code === "EEXIST") return false;
      throw error;
    } finally {
      await rm(draft);
    }
  }

  async #readOrCreate(name) {
    const found = await this.#read(name);
    if (found !== null) return found;
    const updatedAt = new Date();
    // From the time on, so that versions still rise after the directory was emptied.
    await this.#write(name, { ...CLOSED, updatedAt, version: updatedAt.getTime() });
    return this.#readOrCreate(name);
  }
}

function toDate(field, value) {
  return /^(openUntil|probeUntil|updatedAt|until)$/.test(field) && value !== null
    ? new Date(value)
    : value;
}
