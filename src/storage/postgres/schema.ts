import { CREATE_HISTORY } from "./history.js";
import { CREATE_PERMITS, permitsCheck, permitsFunction } from "./permits-schema.js";
import {
  INSTALLED_VERSION,
  MARK,
  SCHEMA_VERSION,
  TRIGGERS,
  triggerStatements,
  VERSION_NOW,
} from "./triggers.js";

/** The channel of the notices: one for every schema and namespace of a database. */
export const CHANNEL = "bulkman_circuits";

/**
 * Advisory locks that are held while the schema is created, so that processes that start together do not collide:
 * bulkman's, and the one that resilient-circuit >= 0.6 takes for the same purpose.
 */
const LOCKS = ["bulkman rc_circuit_breakers", "rc_circuit_breakers"];

/**
 * Begins the transaction of {@link SCHEMA_STATEMENTS}, and waits for others that do the same. READ COMMITTED,
 * whatever the database's default: after the wait it has to see what the others did.
 */
export const SCHEMA_BEGIN = `BEGIN ISOLATION LEVEL READ COMMITTED;

${LOCKS.map((key) => `SELECT pg_advisory_xact_lock(hashtextextended('${key}', 0));`).join("\n")}`;

const FIND_PLACE = `-- The schema of the table, or else the one in which this session creates tables.
SELECT set_config('search_path', quote_ident(coalesce(
  (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('rc_circuit_breakers')),
  current_schema())), true);`;

/** The table of resilient-circuit; the other statements add bulkman's columns. */
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
 * Creates the table, in a separate transaction. resilient-circuit < 0.6 fails, and goes on in memory, when another
 * program creates the table at the same time: it waits for that transaction and then finds the name taken. So this
 * one is short, does not wait for the disk, and is rolled back when another transaction waits for it: that one then
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
  `-- A newer version's schema stays as it is.
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
  ADD COLUMN IF NOT EXISTS openings integer NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS settings jsonb,
  ADD COLUMN IF NOT EXISTS changed_by text,
  ADD COLUMN IF NOT EXISTS opening_rule text,
  ADD COLUMN IF NOT EXISTS failure_name text,
  ADD COLUMN IF NOT EXISTS failure_code text,
  ADD COLUMN IF NOT EXISTS votes jsonb,
  ALTER COLUMN version SET DEFAULT ${VERSION_NOW};`,

  `-- A timestamp without time zone counts as one of this session's TimeZone.
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

  `-- A state in lower case was written manually; an unknown state is left for its author to correct.
UPDATE rc_circuit_breakers SET state = upper(state)
WHERE state <> upper(state) AND upper(state) IN ('CLOSED', 'OPEN', 'HALF_OPEN');`,

  CREATE_HISTORY,

  CREATE_PERMITS,

  permitsFunction(`-- ${MARK} ${SCHEMA_VERSION}`),

  ...triggerStatements(CHANNEL),
];

/** Everything that `bulkman pg-setup` runs, as one script that psql accepts, too. */
export const SCHEMA_SQL = `${[SCHEMA_BEGIN, ...SCHEMA_STATEMENTS, "COMMIT;"].join("\n\n")}\n`;

const NAMES = TRIGGERS.map((trigger) => `'${trigger}'`).join(", ");

/**
 * One row with `t` when {@link SCHEMA_STATEMENTS} has nothing to do, also because a newer version has done it. Reads
 * the catalogue only: takes no lock on the table and needs no privilege on it.
 */
export const SCHEMA_CHECK = `SELECT
  (SELECT count(*) FROM pg_attribute
    WHERE attrelid = to_regclass('rc_circuit_breakers') AND NOT attisdropped AND (
      attname IN ('resource_key', 'namespace', 'state', 'failure_count', 'execution_log', 'version',
        'probe_owner', 'probe_successes', 'opened_by', 'reason', 'written_blind', 'openings', 'settings',
        'changed_by', 'opening_rule', 'failure_name', 'failure_code', 'votes')
      OR (attname IN ('open_until', 'created_at', 'updated_at', 'probe_until')
        AND atttypid = 'timestamptz'::regtype))) = 22
  AND (SELECT count(*) FROM pg_constraint
    WHERE conrelid = to_regclass('rc_circuit_breakers') AND contype = 'p'
      AND cardinality(conkey) = 2) = 1
  AND (SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
    WHERE t.tgrelid = to_regclass('rc_circuit_breakers') AND t.tgenabled IN ('O', 'A')
      AND ${INSTALLED_VERSION} >= ${SCHEMA_VERSION} AND t.tgname IN (
      ${NAMES})) = ${TRIGGERS.length}
  AND ${permitsCheck(INSTALLED_VERSION, SCHEMA_VERSION)}`;
