import { HISTORY_TRIGGERS, historyFunction } from "./history.js";
import { recordJson } from "./record.js";

/**
 * Raise it with every change of the table, the functions or the triggers. Each function carries it: functions of an
 * older version are replaced, and those of a newer one stay.
 */
export const SCHEMA_VERSION = 4;

/** A comment in each function's source, where {@link INSTALLED_VERSION} finds the version. */
export const MARK = "bulkman schema";

/** SQL: the version of the function `p` in `pg_proc`. Functions from before 2 carry none. */
export const INSTALLED_VERSION = `coalesce(substring(p.prosrc FROM '${MARK} ([0-9]+)')::int, 1)`;

/**
 * Every version has its triggers under these names, and may add others. A process of an older version looks for the
 * names that it knows, and would create all of them again if one were missing.
 */
export const TRIGGERS: readonly string[] = [
  "rc_circuit_breakers_before_insert",
  "rc_circuit_breakers_before_write",
  "rc_circuit_breakers_after_change",
  "rc_circuit_breakers_after_write",
  "rc_circuit_breakers_after_truncate",
  "rc_circuit_breakers_history",
  "rc_circuit_breakers_history_of_new",
  "rc_circuit_breakers_history_of_removed",
  "rc_circuit_breakers_new_settings",
  "rc_circuit_breakers_settings",
];

/**
 * SQL: microseconds by the server's clock, so that a table that is created again has higher versions than before;
 * they fit a JavaScript number until the year 2255.
 */
export const versionAt = (time: string) => `(extract(epoch FROM ${time}) * 1000000)::bigint`;
export const VERSION_NOW = versionAt("clock_timestamp()");

/** SQL: what is known of another program, such as `app in psql`. */
const SESSION = "concat_ws(' in ', session_user, nullif(current_setting('application_name'), ''))";

const BEFORE_WRITE = `-- Keeps a row's columns consistent with its state, raises its version when another program changes it, and guards isolations.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_before_write() RETURNS trigger
LANGUAGE plpgsql AS $$
-- ${MARK} ${SCHEMA_VERSION}
DECLARE
  is_blind boolean := false;
  is_new boolean;
BEGIN
  -- Python upserts its own view of the circuit after each call, whatever other processes wrote meanwhile: a blind
  -- write. An UPDATE is a manual change. So is an upsert under an advisory lock: that is update_state() of
  -- resilient-circuit, which has read the row.
  IF TG_OP = 'INSERT' OR (NEW.version = OLD.version AND NEW.updated_at IS DISTINCT FROM OLD.updated_at) THEN
    is_blind := current_query() ~* '\\mon\\s+conflict\\M' AND NOT EXISTS (
      SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid());
  END IF;
  IF TG_OP = 'UPDATE' AND is_blind THEN
    -- A time that was written in the wrong zone is wrong by 15 minutes or more: Python may end an isolation of that
    -- length that it began, as before.
    IF OLD.state = 'OPEN' AND OLD.open_until > clock_timestamp()
      AND NOT (OLD.written_blind AND OLD.open_until > OLD.updated_at + interval '14 minutes')
    THEN
      RETURN NULL;
    END IF;
    -- A Python process that probes has written HALF_OPEN before CLOSED. This one only missed the opening.
    IF OLD.state = 'HALF_OPEN' AND OLD.probe_until > clock_timestamp()
      AND NOT OLD.written_blind AND upper(NEW.state) = 'CLOSED'
    THEN
      RETURN NULL;
    END IF;
    -- The row's reason, if any, belongs to an earlier isolation.
    NEW.reason := NULL;
  END IF;
  NEW.state := upper(NEW.state);
  IF NEW.state NOT IN ('CLOSED', 'OPEN', 'HALF_OPEN') THEN
    RAISE EXCEPTION 'state must be CLOSED, OPEN or HALF_OPEN; got %', NEW.state
      USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state <> 'OPEN' THEN
    NEW.open_until := NULL;
    NEW.reason := NULL;
  ELSIF NEW.open_until IS NULL THEN
    -- OPEN without a time means an isolation of the default length. An insert that will become an update is left to
    -- the update.
    IF TG_OP = 'UPDATE' THEN
      is_new := coalesce(OLD.open_until <= clock_timestamp(), true);
      NEW.open_until := OLD.open_until;
    ELSE
      EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I.%I WHERE resource_key = $1 AND namespace = $2)',
        TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO is_new USING NEW.resource_key, NEW.namespace;
    END IF;
    IF is_new THEN
      NEW.open_until := clock_timestamp() + interval '30 seconds';
    END IF;
  END IF;
  IF NEW.state = 'CLOSED' THEN
    NEW.openings := 0;
    NEW.opening_rule := NULL;
    NEW.failure_name := NULL;
    NEW.failure_code := NULL;
  END IF;
  IF NEW.state <> 'HALF_OPEN' THEN
    NEW.probe_owner := NULL;
    NEW.probe_until := NULL;
    NEW.probe_successes := 0;
  END IF;
  IF TG_OP = 'INSERT' THEN
    NEW.written_blind := is_blind AND NEW.state <> 'CLOSED';
    NEW.changed_by := coalesce(NEW.changed_by, ${SESSION});
    RETURN NEW;
  END IF;
  -- Every opening and closing spends the votes, also that of another program.
  IF NEW.state <> 'HALF_OPEN' AND (NEW.state, NEW.open_until) IS DISTINCT FROM (OLD.state, OLD.open_until) THEN
    NEW.votes := NULL;
  END IF;
  NEW.written_blind := CASE WHEN is_blind THEN NEW.state <> 'CLOSED'
    ELSE OLD.written_blind AND (NEW.state, NEW.open_until, NEW.reason) IS NOT DISTINCT FROM
      (OLD.state, OLD.open_until, OLD.reason) END;
  -- Python's log of its latest calls belongs to the state in which it was written.
  IF NEW.state <> 'OPEN' AND NEW.state <> OLD.state
    AND NEW.execution_log::text IS NOT DISTINCT FROM OLD.execution_log::text
  THEN
    NEW.execution_log := NULL;
  END IF;
  -- A process of an older version does not say who opened it, other than by its opening.
  IF NEW.state = 'OPEN' AND NEW.opened_by IS DISTINCT FROM OLD.opened_by
    AND NEW.changed_by IS NOT DISTINCT FROM OLD.changed_by AND NEW.opened_by ~ ' [0-9a-f-]{36}( [0-9]+)?$'
  THEN
    NEW.changed_by := left(regexp_replace(NEW.opened_by, ' [0-9a-f-]{36}( [0-9]+)?$', ''), 255);
  END IF;
  IF NEW.version <= OLD.version THEN
    NEW.version := OLD.version;
    IF (NEW.state, NEW.open_until, NEW.reason, NEW.probe_owner, NEW.probe_until, NEW.probe_successes)
      IS DISTINCT FROM
        (OLD.state, OLD.open_until, OLD.reason, OLD.probe_owner, OLD.probe_until, OLD.probe_successes)
    THEN
      NEW.version := greatest(OLD.version + 1, ${VERSION_NOW});
      NEW.updated_at := clock_timestamp();
      NEW.changed_by := ${SESSION};
      IF NEW.state = 'OPEN' THEN
        NEW.opened_by := NULL;
        NEW.opening_rule := NULL;
        NEW.failure_name := NULL;
        NEW.failure_code := NULL;
      END IF;
    END IF;
  END IF;
  RETURN NEW;
END $$;`;

/** Called after {@link BEFORE_WRITE}, because Postgres calls triggers by the order of their names. */
const BEFORE_SETTINGS = `-- Completes settings, and raises the row's version when another program changes them.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_settings() RETURNS trigger
LANGUAGE plpgsql AS $$
-- ${MARK} ${SCHEMA_VERSION}
DECLARE
  ends timestamptz := NEW.settings->>'until';
BEGIN
  IF jsonb_typeof(NEW.settings->'values') IS DISTINCT FROM 'object' THEN
    IF NEW.settings IS NOT NULL THEN
      RAISE EXCEPTION 'settings must be {"values": {...}, "until": ..., "reason": ..., "by": ...}; got %',
        left(NEW.settings::text, 200) USING ERRCODE = 'check_violation';
    END IF;
  ELSE
    NEW.settings := jsonb_build_object('values', NEW.settings->'values',
      'until', to_char(nullif(ends, 'infinity') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'reason', left(NEW.settings->>'reason', 255),
      'by', left(coalesce(NEW.settings->>'by',
        ${SESSION}), 255));
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.version <= OLD.version THEN
    NEW.version := greatest(OLD.version + 1, ${VERSION_NOW});
  END IF;
  RETURN NEW;
END $$;`;

const afterWrite = (channel: string) => `-- Notifies every listening process of a change.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_after_write() RETURNS trigger
LANGUAGE plpgsql AS $$
-- ${MARK} ${SCHEMA_VERSION}
DECLARE
  notice text;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('${channel}', json_build_object('schema', TG_TABLE_SCHEMA)::text);
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE'
    AND (NEW.resource_key, NEW.namespace) <> (OLD.resource_key, OLD.namespace))
  THEN
    PERFORM pg_notify('${channel}', json_build_object('schema', TG_TABLE_SCHEMA,
      'namespace', OLD.namespace, 'name', OLD.resource_key)::text);
    IF TG_OP = 'DELETE' THEN
      RETURN NULL;
    END IF;
  END IF;
  notice := json_build_object('schema', TG_TABLE_SCHEMA,
    'namespace', NEW.namespace, 'name', NEW.resource_key, 'record', ${recordJson("NEW", 6)})::text;
  IF octet_length(notice) > 7999 THEN
    -- With the votes of many processes. Only people need those in a notice.
    NEW.votes := NULL;
    notice := json_build_object('schema', TG_TABLE_SCHEMA,
      'namespace', NEW.namespace, 'name', NEW.resource_key, 'record', ${recordJson("NEW", 6)})::text;
  END IF;
  IF octet_length(notice) > 7999 THEN
    -- Postgres would reject it, and the change with it. A notice without a record has the circuits read.
    notice := json_build_object('schema', TG_TABLE_SCHEMA,
      'namespace', NEW.namespace, 'name', NEW.resource_key)::text;
  END IF;
  PERFORM pg_notify('${channel}', notice);
  RETURN NULL;
END $$;`;

const DROP_TRIGGERS = TRIGGERS.map(
  (trigger) => `DROP TRIGGER IF EXISTS ${trigger} ON rc_circuit_breakers;`,
).join("\n");

/** SQL: whether the new row is anything but a closed circuit. */
const IS_NOT_CLOSED =
  "NEW.state <> 'CLOSED' OR NEW.open_until IS NOT NULL OR NEW.probe_owner IS NOT NULL OR NEW.probe_until IS NOT NULL";

/**
 * Python opens a connection for each call, and each connection compiles a function before its first call, which takes
 * twice as long as the upsert itself. So the conditions skip the functions for writes that leave a closed circuit
 * closed. They name columns of the first version only, and `settings`, which bulkman alone has: Postgres rejects
 * dropping a column that a condition names, or changing its type.
 */
const CREATE_TRIGGERS = `-- A write that leaves a closed circuit closed calls no function. Python makes one after each call.
${DROP_TRIGGERS}
CREATE TRIGGER rc_circuit_breakers_before_insert
  BEFORE INSERT ON rc_circuit_breakers FOR EACH ROW
  WHEN (${IS_NOT_CLOSED})
  EXECUTE FUNCTION rc_circuit_breakers_before_write();
CREATE TRIGGER rc_circuit_breakers_before_write
  BEFORE UPDATE ON rc_circuit_breakers FOR EACH ROW
  WHEN (${IS_NOT_CLOSED}
    OR OLD.state <> 'CLOSED' OR NEW.version < OLD.version)
  EXECUTE FUNCTION rc_circuit_breakers_before_write();
CREATE TRIGGER rc_circuit_breakers_new_settings
  BEFORE INSERT ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.settings IS NOT NULL)
  EXECUTE FUNCTION rc_circuit_breakers_settings();
CREATE TRIGGER rc_circuit_breakers_settings
  BEFORE UPDATE OF settings ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.settings IS DISTINCT FROM OLD.settings)
  EXECUTE FUNCTION rc_circuit_breakers_settings();
CREATE TRIGGER rc_circuit_breakers_after_write
  AFTER UPDATE ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.version <> OLD.version
    OR NEW.resource_key <> OLD.resource_key OR NEW.namespace <> OLD.namespace)
  EXECUTE FUNCTION rc_circuit_breakers_after_write();
CREATE TRIGGER rc_circuit_breakers_after_change
  AFTER INSERT OR DELETE ON rc_circuit_breakers
  FOR EACH ROW EXECUTE FUNCTION rc_circuit_breakers_after_write();
CREATE TRIGGER rc_circuit_breakers_after_truncate
  AFTER TRUNCATE ON rc_circuit_breakers
  FOR EACH STATEMENT EXECUTE FUNCTION rc_circuit_breakers_after_write();
${HISTORY_TRIGGERS}`;

/** Creates or replaces the functions and triggers, which notify `channel`. They belong in one transaction. */
export function triggerStatements(channel: string): readonly string[] {
  const history = historyFunction(`-- ${MARK} ${SCHEMA_VERSION}`, SESSION);
  return [BEFORE_WRITE, BEFORE_SETTINGS, afterWrite(channel), history, CREATE_TRIGGERS];
}
