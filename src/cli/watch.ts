import type { CircuitRecord } from "../storage/circuit-storage.js";
import { PostgresListener } from "../storage/postgres/listener.js";
import { toRecord } from "../storage/postgres/record.js";
import { NOTIFY } from "../storage/postgres/statements.js";
import { type Circuits, list, QUERY_LIMIT_MS, schemaOf } from "./circuits.js";
import { type FleetPermits, readPermits } from "./permits.js";

export type Records = ReadonlyMap<string, CircuitRecord>;

/** Shows the circuits and their changes. */
export interface Viewer {
  /** The current circuits, and the names of the changed and removed ones: at first, all. */
  show(records: Records, changed: readonly string[]): void;
  /** The permits: before the circuits are shown first, and about once a second. */
  showPermits?: ((permits: readonly FleetPermits[]) => void) | undefined;
  /** Why no changes arrive; `undefined` when they arrive again. */
  trouble(reason: string | undefined): void;
  /** Nothing follows. */
  close(): void;
}

/** The exit statuses of a program that a signal ended, like a shell's. */
const STATUS_OF_SIGNAL = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type Signal = keyof typeof STATUS_OF_SIGNAL;

/** No notice says that permits changed hands. */
const PERMITS_MS = 1000;

interface WatchOptions {
  /** Milliseconds between two reads where no notices arrive. Default: that of a listener. */
  readonly pollMs?: number;
  /** Whether to read the permits, too. Default: no. */
  readonly permits?: boolean;
  /** Ends it with this exit status. Default: never. */
  readonly ended?: Promise<number>;
}

/**
 * Shows the circuits and every change, until a signal ends it.
 * @returns the exit status
 * @throws {Error} when they cannot be read at first; later errors are shown, and it goes on trying
 */
export async function watch(
  circuits: Circuits,
  makeViewer: () => Viewer,
  { pollMs, permits = false, ended = new Promise(() => {}) }: WatchOptions = {},
): Promise<number> {
  const first = await list(circuits);
  const held = permits ? ((await readPermits(circuits)) ?? []) : undefined;
  const viewer = makeViewer();
  if (held !== undefined) viewer.showPermits?.(held);
  const watching = new Watching(circuits, viewer, { first, pollMs, permits });
  try {
    return await Promise.race([ended, signal()]);
  } finally {
    watching.stop();
    viewer.close();
  }
}

/** Resolves to the exit status of the signal that comes. */
function signal(): Promise<number> {
  return new Promise((resolve) => {
    // Once: a second Ctrl-C ends the process at once.
    const end = (name: Signal) => resolve(STATUS_OF_SIGNAL[name]);
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, end);
  });
}

class Watching {
  readonly #circuits: Circuits;
  readonly #viewer: Viewer;
  readonly #listener: PostgresListener;
  #known: Records;
  #schema: string | undefined = undefined;
  /** Changes that arrived while the circuits are read: they are newer than what will be read. */
  #received = new Map<string, CircuitRecord>();
  /** The listening connection alone would not keep the process alive. */
  readonly #alive: NodeJS.Timeout;
  #isReadingPermits = false;
  #isStopped = false;

  constructor(
    circuits: Circuits,
    viewer: Viewer,
    { first, pollMs, permits }: { first: Records; pollMs: number | undefined; permits: boolean },
  ) {
    const { database, namespace } = circuits;
    this.#circuits = circuits;
    this.#viewer = viewer;
    this.#known = first;
    this.#alive = permits
      ? setInterval(() => void this.#readPermits(), PERMITS_MS)
      : setInterval(() => {}, 2 ** 30);
    viewer.show(first, [...first.keys()]);
    this.#listener = new PostgresListener(
      {
        connect: () => database.client(),
        ...{ namespace, queryTimeoutMs: QUERY_LIMIT_MS },
        ...(pollMs === undefined ? {} : { pollMs }),
      },
      {
        prepare: async () => {},
        onChange: (name, row) => this.#receive(name, toRecord(row)),
        reread: async () => {
          await this.#reread();
          return true;
        },
        schema: () => this.#schema,
        onInterrupted: (error) => viewer.trouble(database.toStorageError(error).message),
        onSynced: () => viewer.trouble(undefined),
        notify: async (channel, payload) => {
          await database.query(NOTIFY, [channel, payload], QUERY_LIMIT_MS);
        },
        // Reads replace the notices that do not arrive.
        onUndelivered: () => {},
      },
    );
    this.#listener.start();
  }

  stop(): void {
    this.#isStopped = true;
    this.#listener.stop();
    clearInterval(this.#alive);
  }

  async #readPermits(): Promise<void> {
    if (this.#isReadingPermits) return;
    this.#isReadingPermits = true;
    try {
      const permits = (await readPermits(this.#circuits)) ?? [];
      if (!this.#isStopped) this.#viewer.showPermits?.(permits);
    } catch {
      // The listening connection notices it, too, and has it shown.
    } finally {
      this.#isReadingPermits = false;
    }
  }

  #receive(name: string, record: CircuitRecord): void {
    this.#received.set(name, record);
    this.#update(new Map(this.#known).set(name, record));
  }

  async #reread(): Promise<void> {
    this.#received = new Map();
    const read = await list(this.#circuits);
    this.#schema = await schemaOf(this.#circuits);
    for (const [name, record] of this.#received) {
      if (!isKnown(read, name, record)) read.set(name, record);
    }
    this.#update(read);
  }

  #update(records: Records): void {
    const before = this.#known;
    const changed = [...records].filter(([name, record]) => !isKnown(before, name, record));
    const gone = [...before.keys()].filter((name) => !records.has(name));
    this.#known = records;
    const names = [...changed.map(([name]) => name), ...gone];
    if (names.length > 0) this.#viewer.show(records, names);
  }
}

function isKnown(records: Records, name: string, { version }: CircuitRecord): boolean {
  return (records.get(name)?.version ?? Number.NEGATIVE_INFINITY) >= version;
}
