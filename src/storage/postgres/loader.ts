import type { CircuitRecord } from "../circuit-storage.js";
import type { Row } from "./database.js";
import { isReadOnly, isRefusedValue, PostgresStorageError } from "./errors.js";
import { toRecord } from "./record.js";
import { LOAD, READ } from "./statements.js";

/** What became of each name that was asked for. */
export type Answers = ReadonlyMap<string, CircuitRecord | Error>;

export interface LoaderOptions {
  readonly ask: (statement: string, values: unknown[]) => Promise<Row[]>;
  readonly namespace: string;
  readonly lockTimeout: string;
}

interface Batch {
  readonly names: Set<string>;
  readonly answers: Promise<Answers>;
}

/**
 * Loads circuits, any number with one statement. A name that the database does not take, and a row
 * that cannot be read, are the trouble of that circuit alone.
 */
export class CircuitLoader {
  readonly #options: LoaderOptions;
  /** What the database did not take: asked for apart from now on, so that others need one statement. */
  readonly #refused = new Set<string>();
  #batch: Batch | undefined = undefined;
  #schema: string | undefined = undefined;
  /** The server refused to create rows when it was asked last. */
  #isReadOnly = false;

  constructor(options: LoaderOptions) {
    this.#options = options;
  }

  /** Where the queries find the table; unknown until one has found it. */
  get schema(): string | undefined {
    return this.#schema;
  }

  /** The table may be another one from now on. */
  forgetSchema(): void {
    this.#schema = undefined;
  }

  /** Whoever asks in the same tick, as a service does that makes its bulkheads, asks in one statement. */
  async load(name: string): Promise<CircuitRecord> {
    this.#batch ??= this.#newBatch();
    this.#batch.names.add(name);
    const answer = (await this.#batch.answers).get(name);
    if (answer === undefined || answer instanceof Error) throw answer ?? notCreated();
    return answer;
  }

  /** Rejects when nothing is known of any of them. */
  async loadAll(names: readonly string[]): Promise<Answers> {
    const answers = new Map<string, CircuitRecord | Error>();
    const groups: string[][] = [];
    const good: string[] = [];
    for (const name of names) {
      const error = unstorable(name);
      if (error !== undefined) answers.set(name, error);
      else if (this.#refused.has(name)) groups.push([name]);
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

  /** From a server that accepts no writes, such as a standby, at least what is there; and why not more. */
  async #ask(names: string[]): Promise<{ rows: Row[]; missing: Error }> {
    const { ask, namespace, lockTimeout } = this.#options;
    const read = () => ask(READ, [namespace, names]);
    if (this.#isReadOnly) {
      // A refused statement costs its connection. Creating is tried again as soon as a row is missing.
      const rows = await read();
      if (rows.length >= names.length) return { rows, missing: notCreated() };
    }
    try {
      const rows = await ask(LOAD, [namespace, names, lockTimeout]);
      this.#isReadOnly = false;
      return { rows, missing: notCreated() };
    } catch (error) {
      if (!isReadOnly(error)) throw error;
      this.#isReadOnly = true;
      return { rows: await read(), missing: error };
    }
  }

  /** The statement fails as a whole when one name is not taken: halves find out which it is. */
  async #loadGroup(names: string[], answers: Map<string, CircuitRecord | Error>): Promise<void> {
    const [first = "", ...others] = names;
    try {
      const { rows, missing } = await this.#ask(names);
      this.#schema = rows[0]?.[2] ?? this.#schema;
      const found = new Map(rows.map(([name, json]) => [name, json]));
      for (const name of names) {
        this.#refused.delete(name);
        const json = found.get(name);
        answers.set(name, json === undefined ? missing : readRow(json));
      }
    } catch (error) {
      if (!isRefusedValue(error)) throw error;
      if (others.length === 0) {
        this.#refused.add(first);
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

/** What no database of Postgres can hold, and what would come back as another name. */
function unstorable(name: string): Error | undefined {
  const reason = name.includes("\0")
    ? "the character NUL"
    : /\p{Surrogate}/u.test(name)
      ? "half a surrogate pair"
      : undefined;
  if (reason === undefined) return undefined;
  return new PostgresStorageError(
    `The circuit cannot be kept in Postgres: its name has ${reason}`,
    "22021",
  );
}

function notCreated(): Error {
  return new PostgresStorageError("The database did not create the circuit");
}
