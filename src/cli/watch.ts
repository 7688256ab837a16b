import type { CircuitRecord } from "../storage/circuit-storage.js";
import { PostgresListener } from "../storage/postgres/listener.js";
import { toRecord } from "../storage/postgres/record.js";
import { type Circuits, list, QUERY_LIMIT_MS, schemaOf } from "./circuits.js";

export type Records = ReadonlyMap<string, CircuitRecord>;

/** Who is told of what is seen. */
export interface Viewer {
  /** The circuits as they stand, and which of them have changed or are gone: at first, all. */
  show(records: Records, changed: readonly string[]): void;
  /** Changes cannot be heard for that reason; `undefined` when they can again. */
  trouble(reason: string | undefined): void;
  /** Nothing more is told. */
  close(): void;
}

/** Exit statuses as of a shell, for a program that such a signal ended. */
const STATUS_OF_SIGNAL = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;
type Signal = keyof typeof STATUS_OF_SIGNAL;

/**
 * Tells of the circuits and of every change, until a signal ends it.
 * @returns the exit status
 * @throws {Error} when they cannot be read at first; later troubles are told, and it goes on trying
 */
export async function watch(circuits: Circuits, makeViewer: () => Viewer): Promise<number> {
  const first = await list(circuits);
  const viewer = makeViewer();
  const watching = new Watching(circuits, viewer, first);
  try {
    return STATUS_OF_SIGNAL[await signal()];
  } finally {
    watching.stop();
    viewer.close();
  }
}

/** Waits for a signal. The listening connection alone would not keep the process alive. */
async function signal(): Promise<Signal> {
  const alive = setInterval(() => {}, 2 ** 30);
  try {
    return await new Promise<Signal>((resolve) => {
      // Once: whoever presses Ctrl-C again is in a hurry.
      for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(name, resolve);
    });
  } finally {
    clearInterval(alive);
  }
}

class Watching {
  readonly #circuits: Circuits;
  readonly #viewer: Viewer;
  readonly #listener: PostgresListener;
  #known: Records;
  #schema: string | undefined = undefined;
  /** What was heard while the circuits are read: it is newer than what will be read. */
  #heard = new Map<string, CircuitRecord>();

  constructor(circuits: Circuits, viewer: Viewer, first: Records) {
    const { database, namespace } = circuits;
    this.#circuits = circuits;
    this.#viewer = viewer;
    this.#known = first;
    viewer.show(first, [...first.keys()]);
    this.#listener = new PostgresListener(
      { connect: () => database.client(), namespace, queryTimeoutMs: QUERY_LIMIT_MS },
      {
        prepare: async () => {},
        onChange: (name, row) => this.#hear(name, toRecord(row)),
        reread: async () => {
          await this.#reread();
          return true;
        },
        schema: () => this.#schema,
        onInterrupted: (error) => viewer.trouble(database.toStorageError(error).message),
        onSynced: () => viewer.trouble(undefined),
      },
    );
    this.#listener.start();
  }

  stop(): void {
    this.#listener.stop();
  }

  #hear(name: string, record: CircuitRecord): void {
    this.#heard.set(name, record);
    this.#take(new Map(this.#known).set(name, record));
  }

  async #reread(): Promise<void> {
    this.#heard = new Map();
    const read = await list(this.#circuits);
    this.#schema = await schemaOf(this.#circuits);
    for (const [name, record] of this.#heard) {
      if (!isKnown(read, name, record)) read.set(name, record);
    }
    this.#take(read);
  }

  #take(records: Records): void {
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
