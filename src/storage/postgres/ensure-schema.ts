import type { Database, Query } from "./database.js";
import { retryOnConflict, withQueryTimeout } from "./database.js";
import { PostgresStorageError } from "./errors.js";
import { CREATION_SQL, SCHEMA_BEGIN, SCHEMA_CHECK, SCHEMA_STATEMENTS } from "./schema.js";

/** Creating and migrating may take longer than a query: it may wait for other processes that do the same. */
const LIMIT_MS = 10_000;

/** Creates or migrates the table once, and remembers that it is in place. */
export class Schema {
  readonly #database: Database;
  readonly #queryTimeoutMs: number;
  #work: Promise<void> | undefined = undefined;

  constructor(database: Database, queryTimeoutMs: number) {
    this.#database = database;
    this.#queryTimeoutMs = queryTimeoutMs;
  }

  /** Waits for the table, at most `limitMs`; creating it goes on after that. */
  ready(limitMs: number): Promise<void> {
    if (this.#work === undefined) {
      const work = this.#ensure();
      this.#work = work;
      work.catch(() => {
        if (this.#work === work) this.#work = undefined;
      });
    }
    return withQueryTimeout(limitMs, this.#work);
  }

  async #ensure(): Promise<void> {
    // Within the limit of a query: otherwise a connection that hangs would hold up every later query.
    if (await this.#database.session(isInPlace, this.#queryTimeoutMs)) return;
    await this.#database.session(ensureSchema, Math.max(this.#queryTimeoutMs, LIMIT_MS));
  }

  /** The database may be another one, or was emptied: the next {@link ready} checks again. */
  forget(): void {
    this.#work = undefined;
  }
}

/**
 * Creates or migrates the table, unless it is in place. Any number of processes may do so at once, also processes
 * of Python's resilient-circuit, which creates and alters it when it starts.
 * @throws {PostgresStorageError} naming `bulkman pg-setup` when this user may not
 */
async function ensureSchema(query: Query): Promise<void> {
  if (await isInPlace(query)) return;
  try {
    await retryOnCollision(() => retryOnConflict(() => setUp(query)));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const code = codeOf(error);
    const advice = code === NEWER_SCHEMA ? "" : '; run "bulkman pg-setup" as a user who may';
    throw new PostgresStorageError(
      `The table rc_circuit_breakers cannot be created or brought up to date: ${reason}${advice}`,
      code,
      { cause: error },
    );
  }
}

async function setUp(query: Query): Promise<void> {
  await orRollBack(query, () => query(CREATION_SQL));
  await orRollBack(query, async () => {
    await query(SCHEMA_BEGIN);
    if (!(await isInPlace(query))) await query(SCHEMA_STATEMENTS.join("\n"));
    await query("COMMIT");
  });
}

async function orRollBack(query: Query, transaction: () => Promise<unknown>): Promise<void> {
  try {
    await transaction();
  } catch (error) {
    await query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** After a collision the other program's table or column is in place, so the next try finds it. */
const TRIES = 5;

/** SQLSTATEs of a `CREATE` or `ALTER` that another program made at the same time. */
const COLLISION = /^(23505|42P07|42P16|42701|42710)$/;

async function retryOnCollision(task: () => Promise<void>): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await task();
    } catch (error) {
      if (tries === TRIES || !COLLISION.test(codeOf(error) ?? "")) throw error;
    }
  }
}

/** SQLSTATE `object_not_in_prerequisite_state`, which the statements raise for a schema of a newer version. */
const NEWER_SCHEMA = "55000";

function codeOf(error: unknown): string | undefined {
  const code: unknown = error instanceof Error ? Reflect.get(error, "code") : undefined;
  return typeof code === "string" ? code : undefined;
}

async function isInPlace(query: Query): Promise<boolean> {
  const [row] = await query(SCHEMA_CHECK);
  return row?.[0] === "t";
}
