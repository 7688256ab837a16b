import type { CircuitRecord } from "../circuit-storage.js";
import type { Row } from "./database.js";
import { isDataError, isReadOnly, PostgresStorageError } from "./errors.js";
import { toRecord } from "./record.js";
import { LOAD, READ } from "./statements.js";

/** The record, or the error, of each requested name. */
export type Answers = ReadonlyMap<string, CircuitRecord | Error>;

export interface LoaderOptions {
  readonly query: (statement: string, values: unknown[]) => Promise<Row[]>;
  readonly namespace: string;
  readonly lockTimeout: string;
}

interface Batch {
  readonly names: Set<string>;
  readonly answers: Promise<Answers>;
}

/**
 * Loads circuits, any number with one statement. A name that the database rejects, and a malformed row, fail that
 * circuit alone.
 */
export class CircuitLoader {
  readonly #options: LoaderOptions;
  /** Names that the database rejected: each is loaded by a statement of its own, so that the others need one. */
  readonly #rejected = new Set<string>();
  #batch: Batch | undefined = undefined;
  #schema: string | undefined = undefined;
  /** The server rejected the last statement that creates rows. */
  #isReadOnly = false;

  constructor(options: LoaderOptions) {
    this.#options = options;
  }

  /** Where the queries find the table; unknown until one has found it. */
  get schema(): string | undefined {
    return this.#schema;
  }

  /** The table may be in another schema from now on. */
  forgetSchema(): void {
    this.#schema = undefined;
  }

  /** Loads a circuit, with all that are requested in the same tick: a service creates its bulkheads together. */
  async load(name: string): Promise<CircuitRecord> {
    this.#batch ??= this.#newBatch();
    this.#batch.names.add(name);
    const answer = (await this.#batch.answers).get(name);
    if (answer === undefined || answer instanceof Error) throw answer ?? notCreatedError();
    return answer;
  }

  /** Rejects when the database answered for none of them. */
  async loadAll(names: readonly string[]): Promise<Answers> {
    const answers = new Map<string, CircuitRecord | Error>();
    const groups: string[][] = [];
    const good: string[] = [];
    for (const name of names) {
      const error = unstorable(name);
      if (error !== undefined) answers.set(name, error);
      else if (this.#rejected.has(name)) groups.push([name]);
      else good.push(name);
    }
    if (good.length > 0) groups.push(good);
    await Promise.all(groups.map((group) => this.#loadGroup(group, answers)));
    return answers;
  }

  #newBatch(): Batch {
    const names = new Set<string>();
    const answers = Promise.resolve().then(() => {
      this.#batch = undefined;
      return this.loadAll([...names]);
    });
    return { names, answers };
  }

  /** Loads and creates; a server that accepts no writes, such as a standby, has its rows read, with the reason for the missing ones. */
  async #loadRows(names: string[]): Promise<{ rows: Row[]; missing: Error }> {
    const { query, namespace, lockTimeout } = this.#options;
    const read = () => query(READ, [namespace, names]);
    if (this.#isReadOnly) {
      // A rejected statement costs its connection, so creating is tried only when a row is missing.
      const rows = await read();
      if (rows.length >= names.length) return { rows, missing: notCreatedError() };
    }
    try {
      const rows = await query(LOAD, [namespace, names, lockTimeout]);
      this.#isReadOnly = false;
      return { rows, missing: notCreatedError() };
    } catch (error) {
      if (!isReadOnly(error)) throw error;
      this.#isReadOnly = true;
      return { rows: await read(), missing: error };
    }
  }

  /** Loads by one statement, which fails when one name is rejected: halves find out which one. */
  async #loadGroup(names: string[], answers: Map<string, CircuitRecord | Error>): Promise<void> {
    const [first = "", ...others] = names;
    try {
      const { rows, missing } = await this.#loadRows(names);
      this.#schema = rows[0]?.[2] ?? this.#schema;
      const found = new Map(rows.map(([name, json]) => [name, json]));
      for (const name of names) {
        this.#rejected.delete(name);
        const json = found.get(name);
        answers.set(name, json === undefined ? missing : readRow(json));
      }
    } catch (error) {
      if (!isDataError(error)) throw error;
      if (others.length === 0) {
        this.#rejected.add(first);
        answers.set(first, error);
        return;
      }
      const half = Math.ceil(names.length / 2);
      await this.#loadGroup(names.slice(0, half), answers);
      await this.#loadGroup(names.slice(half), answers);
    }
  }
}

function readRow(json: string | null): CircuitRecord | Error {
  try {
    return toRecord(JSON.parse(json ?? ""));
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The error of a name that Postgres cannot store, or would return changed. */
function unstorable(name: string): Error | undefined {
  const reason = name.includes("\0")
    ? "the character NUL"
    : /\p{Surrogate}/u.test(name)
      ? "half a surrogate pair"
      : undefined;
  if (reason === undefined) return undefined;
  return new PostgresStorageError(
    `Postgres cannot store the circuit's name: it contains ${reason}`,
    "22021",
  );
}

function notCreatedError(): Error {
  return new PostgresStorageError("The database did not create the circuit");
}
