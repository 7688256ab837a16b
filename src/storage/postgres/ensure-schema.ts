import type { Ask, Database } from "./database.js";
import { untilDecided, within } from "./database.js";
import { PostgresStorageError } from "./errors.js";
import { CREATION_SQL, SCHEMA_BEGIN, SCHEMA_CHECK, SCHEMA_STATEMENTS } from "./schema.js";

/** Creating and migrating may take longer than a query: others may be at it. */
const LIMIT_MS = 10_000;

/** Knows whether the table is there, and makes it when it is not. */
export class Schema {
  readonly #database: Database;
  readonly #queryTimeoutMs: number;
  #work: Promise<void> | undefined = undefined;

  constructor(database: Database, queryTimeoutMs: number) {
    this.#database = database;
    this.#queryTimeoutMs = queryTimeoutMs;
  }

  /** Waits for the table no longer than `limitMs`; what is under way goes on after that. */
  ready(limitMs: number): Promise<void> {
    if (this.#work === undefined) {
      const work = this.#ensure();
      this.#work = work;
      work.catch(() => {
        if (this.#work === work) this.#work = undefined;
      });
    }
    return within(limitMs, this.#work);
  }

  async #ensure(): Promise<void> {
    // Looking is no longer than any query, lest a connection that hangs holds up what comes after it.
    if (await this.#database.session(isInPlace, this.#queryTimeoutMs)) return;
    await this.#database.session(ensureSchema, Math.max(this.#queryTimeoutMs, LIMIT_MS));
  }

  /** The database is another one, or was emptied: looks again when it is asked next. */
  forget(): void {
    this.#work = undefined;
  }
}

/**
 * Creates or migrates the table, unless it is as it should be. Any number of processes may do so at once,
 * also processes of Python's resilient-circuit, which creates and alters it when it starts.
 * @throws {PostgresStorageError} naming `bulkman pg-setup` when this user may not
 */
async function ensureSchema(ask: Ask): Promise<void> {
  if (await isInPlace(ask)) return;
  try {
    await untilAlone(() => untilDecided(() => setUp(ask)));
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

async function setUp(ask: Ask): Promise<void> {
  await orUndo(ask, () => ask(CREATION_SQL));
  await orUndo(ask, async () => {
    await ask(SCHEMA_BEGIN);
    if (!(await isInPlace(ask))) await ask(SCHEMA_STATEMENTS.join("\n"));
    await ask("COMMIT");
  });
}

async function orUndo(ask: Ask, transaction: () => Promise<unknown>): Promise<void> {
  try {
    await transaction();
  } catch (error) {
    await ask("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** Each collision ends with what the other made in place, so the next try finds it. */
const TRIES = 5;

/** SQLSTATEs of a `CREATE` or `ALTER` that another program made at the same time. */
const COLLISION = /^(23505|42P07|42P16|42701|42710)$/;

async function untilAlone(task: () => Promise<void>): Promise<void> {
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

async function isInPlace(ask: Ask): Promise<boolean> {
  const [row] = await ask(SCHEMA_CHECK);
  return row?.[0] === "t";
}
