import { now } from "../../common/clock.js";
import type { Database, Row } from "./database.js";
import { Schema } from "./ensure-schema.js";
import { closedError, isConnectionError, isSchemaError } from "./errors.js";

export interface QueriesOptions {
  readonly queryTimeoutSeconds: number;
  readonly ensureSchema: boolean;
  /** The database answered. */
  readonly onAnswer: () => void;
  /** The database did not answer: the listening connection may be lost, too. */
  readonly onNoAnswer: () => void;
}

/** Queries of a storage: each has a time limit, and finds the table in place when `ensureSchema` is set. */
export class Queries {
  readonly #database: Database;
  readonly #options: QueriesOptions;
  readonly #limitMs: number;
  readonly #schema: Schema | undefined;

  constructor(database: Database, options: QueriesOptions) {
    this.#database = database;
    this.#options = options;
    this.#limitMs = options.queryTimeoutSeconds * 1000;
    this.#schema = options.ensureSchema ? new Schema(database, this.#limitMs) : undefined;
  }

  /** For SQL: how long a statement waits for a lock. */
  get lockTimeout(): string {
    return `${Math.max(1, Math.floor(this.#limitMs))}ms`;
  }

  /** When a query that begins now has to be answered, by the monotonic clock. */
  deadline(): number {
    return now() + this.#limitMs;
  }

  /** Creates or migrates the table, unless it is in place. */
  async ensureSchema(): Promise<void> {
    await this.#schema?.ready(this.#limitMs);
  }

  /** It may be another database when the connection is back. */
  forgetSchema(): void {
    this.#schema?.forget();
  }

  /** @throws {PostgresStorageError} for every failure */
  async query(statement: string, values: unknown[], deadline = this.deadline()): Promise<Row[]> {
    if (this.#database.isClosed) throw closedError();
    try {
      const rows = await this.#queryWithSchema(statement, values, deadline);
      this.#options.onAnswer();
      return rows;
    } catch (error) {
      if (isConnectionError(error)) this.#options.onNoAnswer();
      throw error;
    }
  }

  async #queryWithSchema(statement: string, values: unknown[], deadline: number): Promise<Row[]> {
    const schema = this.#schema;
    const run = () => this.#database.query(statement, values, deadline - now());
    if (schema === undefined) return run();
    await schema.ready(deadline - now());
    try {
      return await run();
    } catch (error) {
      if (!isSchemaError(error)) throw error;
      // Dropped or replaced since it was checked.
      schema.forget();
      await schema.ready(deadline - now());
      return run();
    }
  }
}
