import {
  INSTALLED_VERSION,
  SCHEMA_VERSION,
  TRIGGERS,
  triggerStatements,
  VERSION_NOW,
} from "./triggers.js";

/** Where changes are announced: one channel for every schema and namespace of a database. */
export const CHANNEL = "bulkman_circuits";

/**
 * Held while the schema is created, so that processes that start together do not collide: our own lock, and
 * the one that resilient-circuit >= 0.6 takes for the same.
 */
const LOCKS = ["bulkman rc_circuit_breakers", "rc_circuit_breakers"];

/**
 * Begins the transaction of {@link SCHEMA_STATEMENTS}, and waits for others that do the same. Whatever
 * level the database has as its default: after the wait it has to see what the others did.
 */
export const SCHEMA_BEGIN = `BEGIN ISOLATION LEVEL READ COMMITTED;

${LOCKS.map((key) => `SELECT pg_advisory_xact_lock(hashtextextended('${key}', 0));`).join("\n")}`;

const FIND_PLACE = `-- Everything goes where the table is, or else where this session creates its tables.
SELECT set_config('search_path', quote_ident(coalesce(
  (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('rc_circuit_breakers')),
  current_schema())), true);`;

/** The table as resilient-circuit makes it, which the other statements complete. */
const CREATE_TABLE = `CREATE TABLE IF NOT EXISTS rc_circuit_breakers (
  resource_key  varchar(255) NOT NULL,
  namespace     varchar(255) NOT NULL DEFAULT 'default',
  state         varchar(50)  NOT NULL,
  failure_count integer      NOT NULL DEFAULT 0,
  open_until    timestamptz,
  execution_log jsonb,
  created_at    timestamptz  DEFAULT CURRENT_TIMESTAMP,
  updated_at    timestamptz  DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (resource_key, namespace)
);`;

/**
 * Creates the table, in a transaction of its own. resilient-circuit < 0.6 fails, and goes on in memory, when it creates
 * the table while another does so: it waits for that transaction and then finds the name taken. So this
 * one is short, does not wait for the disk, and is undone when somebody waits for it: then that one
 * creates the table, and a second try finds it.
 */
export const CREATION_SQL = `${SCHEMA_BEGIN}
SET LOCAL synchronous_commit = off;
${FIND_PLACE}
${CREATE_TABLE}
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted
    AND transactionid::text::bigint = txid_current() % 4294967296)
  THEN
    RAISE EXCEPTION 'another program creates rc_circuit_breakers' USING ERRCODE = 'serialization_failure';
  END IF;
END $$;
COMMIT;`;

/**
 * Creates the table, or brings one of Python's resilient-circuit up to date with its rows kept. Each
 * statement can be repeated. They belong in one transaction.
 */
export const SCHEMA_STATEMENTS: readonly string[] = [
  `-- What a newer version made is left to it.
DO $$
DECLARE
  installed integer;
BEGIN
  SELECT max(${INSTALLED_VERSION}) INTO installed
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
  WHERE t.tgrelid = to_regclass('rc_circuit_breakers') AND starts_with(p.proname, 'rc_circuit_breakers');
  IF installed > ${SCHEMA_VERSION} THEN
    RAISE EXCEPTION 'a newer version of bulkman made it (schema %, this one makes ${SCHEMA_VERSION}); run "bulkman pg-setup" of that version',
      installed USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END $$;`,

  FIND_PLACE,

  CREATE_TABLE,

  `ALTER TABLE rc_circuit_breakers
  ADD COLUMN IF NOT EXISTS namespace varchar(255) NOT NULL DEFAULT 'default',
  ADD COLUMN IF NOT EXISTS failure_count integer NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS open_until timestamptz,
  ADD COLUMN IF NOT EXISTS execution_log jsonb,
  ADD COLUMN IF NOT EXISTS created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  ADD COLUMN IF NOT EXISTS updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  ADD COLUMN IF NOT EXISTS version bigint NOT NULL
    DEFAULT ${VERSION_NOW},
  ADD COLUMN IF NOT EXISTS opened_by text,
  ADD COLUMN IF NOT EXISTS probe_owner text,
  ADD COLUMN IF NOT EXISTS probe_until timestamptz,
  ADD COLUMN IF NOT EXISTS probe_successes integer NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS reason text,
  ADD COLUMN IF NOT EXISTS written_blind boolean NOT NULL DEFAULT false,
  ALTER COLUMN version SET DEFAULT ${VERSION_NOW};`,

  `-- A time without zone is taken for one of this session's TimeZone.
DO $$
DECLARE
  column_name name;
BEGIN
  FOR column_name IN
    SELECT attname FROM pg_attribute
    WHERE attrelid = 'rc_circuit_breakers'::regclass
      AND attname IN ('open_until', 'created_at', 'updated_at')
      AND atttypid = 'timestamp'::regtype
  LOOP
    EXECUTE format('ALTER TABLE rc_circuit_breakers ALTER COLUMN %I TYPE timestamptz', column_name);
  END LOOP;
END $$;`,

  `-- One circuit for each key and namespace.
DO $$
DECLARE
  old_key name;
BEGIN
  SELECT conname INTO old_key FROM pg_constraint
  WHERE conrelid = 'rc_circuit_breakers'::regclass AND contype = 'p' AND cardinality(conkey) <> 2;
  IF FOUND THEN
    EXECUTE format('ALTER TABLE rc_circuit_breakers DROP CONSTRAINT %I', old_key);
  END IF;
  IF NOT EXISTS (
    SELECT FROM pg_constraint WHERE conrelid = 'rc_circuit_breakers'::regclass AND contype = 'p'
  ) THEN
    ALTER TABLE rc_circuit_breakers ADD PRIMARY KEY (resource_key, namespace);
  END IF;
END $$;`,

  `-- A state in lower case is one that somebody wrote by hand; what is no state at all is left to them.
UPDATE rc_circuit_breakers SET state = upper(state)
WHERE state <> upper(state) AND upper(state) IN ('CLOSED', 'OPEN', 'HALF_OPEN');`,

  ...triggerStatements(CHANNEL),
];

/** The whole of what `bulkman pg-setup` runs, as one text that psql takes too. */
export const SCHEMA_SQL = `${[SCHEMA_BEGIN, ...SCHEMA_STATEMENTS, "COMMIT;"].join("\n\n")}\n`;

const NAMES = TRIGGERS.map((trigger) => `'${trigger}'`).join(", ");

/**
 * One row with `t` when {@link SCHEMA_STATEMENTS} has nothing to do, also because a newer version was here. Reads
 * the catalogue only: takes no lock on the table and needs no right to it.
 */
export const SCHEMA_CHECK = `SELECT
  (SELECT count(*) FROM pg_attribute
    WHERE attrelid = to_regclass('rc_circuit_breakers') AND NOT attisdropped AND (
      attname IN ('resource_key', 'namespace', 'state', 'failure_count', 'execution_log', 'version',
        'probe_owner', 'probe_successes', 'opened_by', 'reason', 'written_blind')
      OR (attname IN ('open_until', 'created_at', 'updated_at', 'probe_until')
        AND atttypid = 'timestamptz'::regtype))) = 15
  AND (SELECT count(*) FROM pg_constraint
    WHERE conrelid = to_regclass('rc_circuit_breakers') AND contype = 'p'
      AND cardinality(conkey) = 2) = 1
  AND (SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass('rc_circuit_breakers') AND t.tgenabled IN ('O', 'A')
      AND ${INSTALLED_VERSION} >= ${SCHEMA_VERSION} AND t.tgname IN (
      ${NAMES})) = ${TRIGGERS.length}`;
