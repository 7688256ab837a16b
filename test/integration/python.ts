import type { Pool, PoolClient } from "pg";

/** The versions of Python's resilient-circuit whose SQL differs. bulkman 1.x runs on 0.4.1 and later, 2.x on 0.4.6 and later. */
export type PythonVersion = "0.3.1" | "0.4.1" | "0.4.6" | "0.5" | "0.7";

export type PythonState = "CLOSED" | "OPEN" | "HALF_OPEN";

const TABLE_0_3 = `CREATE TABLE IF NOT EXISTS rc_circuit_breakers (
  resource_key VARCHAR(255) PRIMARY KEY,
  state VARCHAR(50) NOT NULL,
  failure_count INTEGER NOT NULL DEFAULT 0,
  open_until TIMESTAMP,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
)`;

const table = (time: string, log: boolean) => `CREATE TABLE IF NOT EXISTS rc_circuit_breakers (
  resource_key VARCHAR(255) NOT NULL,
  state VARCHAR(50) NOT NULL,
  failure_count INTEGER NOT NULL DEFAULT 0,
  open_until ${time},
  ${log ? "execution_log JSONB," : ""}
  created_at ${time} DEFAULT CURRENT_TIMESTAMP,
  updated_at ${time} DEFAULT CURRENT_TIMESTAMP,
  namespace VARCHAR(255) NOT NULL DEFAULT 'default',
  PRIMARY KEY (resource_key, namespace)
)`;

const index = (name: string, columns: string) =>
  `CREATE INDEX IF NOT EXISTS idx_rc_circuit_breakers_${name} ON rc_circuit_breakers(${columns})`;
const INDEXES = [
  index("state", "state"),
  index("namespace", "namespace"),
  index("key_namespace", "resource_key, namespace"),
];

const ADD_LOG = "ALTER TABLE rc_circuit_breakers ADD COLUMN IF NOT EXISTS execution_log JSONB";

const addNamespace = (log: boolean) => `DO $$ BEGIN
  IF EXISTS (SELECT 1 FROM information_schema.tables WHERE table_name = 'rc_circuit_breakers') THEN
    ALTER TABLE rc_circuit_breakers DROP CONSTRAINT IF EXISTS rc_circuit_breakers_pkey;
    ALTER TABLE rc_circuit_breakers
      ADD COLUMN IF NOT EXISTS namespace VARCHAR(255) NOT NULL DEFAULT 'default';
    ${log ? `${ADD_LOG};` : ""}
    ALTER TABLE rc_circuit_breakers ADD PRIMARY KEY (resource_key, namespace);
  END IF;
END $$`;

const HAS_NAMESPACE = `SELECT column_name FROM information_schema.columns
  WHERE table_name = 'rc_circuit_breakers' AND column_name = 'namespace'`;

/** What each version runs when a storage is made, in one transaction. */
const STARTS: { readonly [Version in PythonVersion]: (client: PoolClient) => Promise<string[]> } = {
  "0.3.1": async () => [TABLE_0_3, index("state", "state")],
  "0.4.1": (client) => startWithNamespace(client, false),
  "0.4.6": (client) => startWithNamespace(client, true),
  "0.5": (client) => startWithNamespace(client, true),
  "0.7": async (client) => {
    await client.query("SELECT pg_advisory_xact_lock(hashtextextended('rc_circuit_breakers', 0))");
    const { rows } = await client.query(
      "SELECT to_regclass('public.rc_circuit_breakers') IS NOT NULL AS exists",
    );
    if (!rows[0].exists) return [table("TIMESTAMPTZ", true), ...INDEXES];
    return [
      "ALTER TABLE rc_circuit_breakers ADD COLUMN IF NOT EXISTS namespace VARCHAR(255) NOT NULL DEFAULT 'default'",
      ADD_LOG,
      `DO $$ BEGIN
        IF EXISTS (SELECT 1 FROM pg_constraint WHERE conname = 'rc_circuit_breakers_pkey'
          AND conrelid = 'rc_circuit_breakers'::regclass AND conkey = ARRAY[(SELECT attnum FROM pg_attribute
            WHERE attrelid = 'rc_circuit_breakers'::regclass AND attname = 'resource_key')])
        THEN
          ALTER TABLE rc_circuit_breakers DROP CONSTRAINT rc_circuit_breakers_pkey;
          ALTER TABLE rc_circuit_breakers ADD PRIMARY KEY (resource_key, namespace);
        END IF;
      END $$`,
      `DO $$ BEGIN
        IF EXISTS (SELECT 1 FROM information_schema.columns WHERE table_name = 'rc_circuit_breakers'
          AND column_name = 'open_until' AND data_type = 'timestamp without time zone')
        THEN
          ALTER TABLE rc_circuit_breakers ALTER COLUMN open_until TYPE TIMESTAMPTZ
            USING open_until AT TIME ZONE 'localtime';
        END IF;
      END $$`,
      ...INDEXES,
    ];
  },
};

async function startWithNamespace(client: PoolClient, log: boolean): Promise<string[]> {
  const { rowCount } = await client.query(HAS_NAMESPACE);
  const create = table("TIMESTAMP", log);
  const change = rowCount === 0 ? [addNamespace(log)] : log ? [ADD_LOG] : [];
  return [create, ...change, ...INDEXES];
}

/** A process with Python's resilient-circuit, as far as the database sees it: its statements, each on a connection of its own. */
export class PythonProcess {
  readonly #pool: Pool;
  readonly #version: PythonVersion;
  readonly #minutesAhead: number;

  /**
   * @param pool has to allow several connections
   * @param minutesAhead how far its host's local time is ahead of the zone of its database session
   */
  constructor(pool: Pool, version: PythonVersion, { minutesAhead = 0 } = {}) {
    this.#pool = pool;
    this.#version = version;
    this.#minutesAhead = minutesAhead;
  }

  /**
   * Its DDL, in one transaction. When that fails, Python goes on in memory.
   * @param before is awaited before each of its statements, with the number of those that ran
   */
  async start(before: (count: number) => Promise<void> = async () => {}): Promise<void> {
    await this.#transaction(async (client) => {
      let count = 0;
      for (const statement of await STARTS[this.#version](client)) {
        await before(count++);
        await client.query(statement);
      }
      await before(count);
    });
  }

  /**
   * `set_state`: what it writes after a call and when its own circuit changes. Resolves to whether a row
   * was written.
   */
  write(name: string, state: PythonState, openSeconds: number | null = null): Promise<boolean> {
    const guard = this.#version === "0.5" || this.#version === "0.7";
    return this.#transaction((client) => this.#upsert(client, { name, state, openSeconds, guard }));
  }

  /** `update_state` of 0.5 and later: a deliberate change of what was read under a lock. */
  reset(name: string, state: PythonState): Promise<boolean> {
    return this.#transaction(async (client) => {
      await client.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", [
        `default|${name}`,
      ]);
      await client.query(
        `SELECT state, failure_count, open_until, execution_log FROM rc_circuit_breakers
         WHERE resource_key = $1 AND namespace = $2 FOR UPDATE`,
        [name, "default"],
      );
      return this.#upsert(client, { name, state, openSeconds: null, guard: false });
    });
  }

  async #upsert(
    client: PoolClient,
    write: { name: string; state: PythonState; openSeconds: number | null; guard: boolean },
  ): Promise<boolean> {
    const { name, state, openSeconds, guard } = write;
    const until = openSeconds === null ? null : this.#time(openSeconds);
    if (this.#version === "0.3.1") {
      const { rowCount } = await client.query(
        `INSERT INTO rc_circuit_breakers (resource_key, state, failure_count, open_until)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (resource_key) DO UPDATE SET state = EXCLUDED.state,
           failure_count = EXCLUDED.failure_count, open_until = EXCLUDED.open_until,
           updated_at = CURRENT_TIMESTAMP`,
        [name, state, 0, until],
      );
      return rowCount === 1;
    }
    const values = [name, "default", state, 0, until];
    const hasLog = this.#version !== "0.4.1";
    if (hasLog) values.push("[]");
    if (guard) values.push(this.#time(0));
    const type = this.#version === "0.7" ? "timestamptz" : "timestamp";
    const { rowCount } = await client.query(
      `INSERT INTO rc_circuit_breakers
         (resource_key, namespace, state, failure_count, open_until${hasLog ? ", execution_log" : ""})
       VALUES ($1, $2, $3, $4, $5${hasLog ? ", $6::jsonb" : ""})
       ON CONFLICT (resource_key, namespace) DO UPDATE SET
         state = EXCLUDED.state,
         failure_count = EXCLUDED.failure_count,
         open_until = EXCLUDED.open_until,
         ${hasLog ? "execution_log = EXCLUDED.execution_log," : ""}
         updated_at = CURRENT_TIMESTAMP
         ${guard ? `WHERE NOT (rc_circuit_breakers.state = 'OPEN' AND COALESCE(rc_circuit_breakers.open_until > $7::${type}, FALSE))` : ""}`,
      values,
    );
    return rowCount === 1;
  }

  /** So many seconds from now as it writes that: without a zone and in its host's time before 0.6. */
  #time(seconds: number): string {
    const iso = (ms: number) => new Date(ms).toISOString().slice(0, -1).replace("T", " ");
    const ms = Date.now() + seconds * 1000;
    if (this.#version === "0.7") return `${iso(ms)}+00:00`;
    const local = iso(ms + this.#minutesAhead * 60_000);
    // Before 0.5 in whole seconds.
    return this.#version === "0.5" ? local : local.slice(0, -4);
  }

  async #transaction<T>(work: (client: PoolClient) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    try {
      await client.query("BEGIN");
      const result = await work(client);
      await client.query("COMMIT");
      client.release();
      return result;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }
}
