BEGIN ISOLATION LEVEL READ COMMITTED;

SELECT pg_advisory_xact_lock(hashtextextended('bulkman rc_circuit_breakers', 0));
SELECT pg_advisory_xact_lock(hashtextextended('rc_circuit_breakers', 0));

-- A newer version's schema stays as it is.
DO $$
DECLARE
  installed integer;
BEGIN
  SELECT max(coalesce(substring(p.prosrc FROM 'bulkman schema ([0-9]+)')::int, 1)) INTO installed
  FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
  WHERE t.tgrelid = to_regclass('rc_circuit_breakers') AND starts_with(p.proname, 'rc_circuit_breakers');
  IF installed > 3 THEN
    RAISE EXCEPTION 'a newer version of bulkman made it (schema %, this one makes 3); run "bulkman pg-setup" of that version',
      installed USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END $$;

-- The schema of the table, or else the one in which this session creates tables.
SELECT set_config('search_path', quote_ident(coalesce(
  (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = to_regclass('rc_circuit_breakers')),
  current_schema())), true);

CREATE TABLE IF NOT EXISTS rc_circuit_breakers (
  resource_key  varchar(255) NOT NULL,
  namespace     varchar(255) NOT NULL DEFAULT 'default',
  state         varchar(50)  NOT NULL,
  failure_count integer      NOT NULL DEFAULT 0,
  open_until    timestamptz,
  execution_log jsonb,
  created_at    timestamptz  DEFAULT CURRENT_TIMESTAMP,
  updated_at    timestamptz  DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (resource_key, namespace)
);

ALTER TABLE rc_circuit_breakers
  ADD COLUMN IF NOT EXISTS namespace varchar(255) NOT NULL DEFAULT 'default',
  ADD COLUMN IF NOT EXISTS failure_count integer NOT NULL DEFAULT 0,
  ADD COLUMN IF NOT EXISTS open_until timestamptz,
  ADD COLUMN IF NOT EXISTS execution_log jsonb,
  ADD COLUMN IF NOT EXISTS created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  ADD COLUMN IF NOT EXISTS updated_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  ADD COLUMN IF NOT EXISTS version bigint NOT NULL
    DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
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
  ALTER COLUMN version SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

-- A timestamp without time zone counts as one of this session's TimeZone.
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
END $$;

-- One circuit for each key and namespace.
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
END $$;

-- A state in lower case was written manually; an unknown state is left for its author to correct.
UPDATE rc_circuit_breakers SET state = upper(state)
WHERE state <> upper(state) AND upper(state) IN ('CLOSED', 'OPEN', 'HALF_OPEN');

-- The history of the circuits. Roles that may use the table of circuits may use this one, too.
DO $$
DECLARE
  granted record;
BEGIN
  IF to_regclass('bulkman_history') IS NOT NULL THEN
    RETURN;
  END IF;
  CREATE TABLE bulkman_history (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    namespace     text NOT NULL,
    resource_key  text NOT NULL,
    old_state     text NOT NULL,
    new_state     text NOT NULL,
    changed_by    text,
    reason        text,
    opening_rule  text,
    failure_name  text,
    failure_code  text,
    failure_count integer
  );
  CREATE INDEX bulkman_history_changed_at ON bulkman_history (namespace, changed_at);
  -- Also the members of the role that owns the table, when one of them migrates it.
  EXECUTE format('GRANT ALL ON bulkman_history TO %I',
    (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'rc_circuit_breakers'::regclass));
  FOR granted IN
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role,
      CASE a.privilege_type WHEN 'UPDATE' THEN 'INSERT' ELSE a.privilege_type END AS privilege
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = 'rc_circuit_breakers'::regclass AND a.grantee <> c.relowner
      AND a.privilege_type IN ('SELECT', 'UPDATE', 'DELETE')
  LOOP
    EXECUTE format('GRANT %s ON bulkman_history TO %s', granted.privilege, granted.role);
  END LOOP;
END $$;

-- Keeps a row's columns consistent with its state, raises its version when another program changes it, and guards isolations.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_before_write() RETURNS trigger
LANGUAGE plpgsql AS $$
-- bulkman schema 3
DECLARE
  is_blind boolean := false;
  is_new boolean;
BEGIN
  -- Python upserts its own view of the circuit after each call, whatever other processes wrote meanwhile: a blind
  -- write. An UPDATE is a manual change. So is an upsert under an advisory lock: that is update_state() of
  -- resilient-circuit, which has read the row.
  IF TG_OP = 'INSERT' OR (NEW.version = OLD.version AND NEW.updated_at IS DISTINCT FROM OLD.updated_at) THEN
    is_blind := current_query() ~* '\mon\s+conflict\M' AND NOT EXISTS (
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
    NEW.changed_by := coalesce(NEW.changed_by, concat_ws(' in ', session_user, nullif(current_setting('application_name'), '')));
    RETURN NEW;
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
      NEW.version := greatest(OLD.version + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
      NEW.updated_at := clock_timestamp();
      NEW.changed_by := concat_ws(' in ', session_user, nullif(current_setting('application_name'), ''));
      IF NEW.state = 'OPEN' THEN
        NEW.opened_by := NULL;
        NEW.opening_rule := NULL;
        NEW.failure_name := NULL;
        NEW.failure_code := NULL;
      END IF;
    END IF;
  END IF;
  RETURN NEW;
END $$;

-- Completes settings, and raises the row's version when another program changes them.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_settings() RETURNS trigger
LANGUAGE plpgsql AS $$
-- bulkman schema 3
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
        concat_ws(' in ', session_user, nullif(current_setting('application_name'), ''))), 255));
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.version <= OLD.version THEN
    NEW.version := greatest(OLD.version + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
  END IF;
  RETURN NEW;
END $$;

-- Notifies every listening process of a change.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_after_write() RETURNS trigger
LANGUAGE plpgsql AS $$
-- bulkman schema 3
DECLARE
  notice text;
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    PERFORM pg_notify('bulkman_circuits', json_build_object('schema', TG_TABLE_SCHEMA)::text);
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE'
    AND (NEW.resource_key, NEW.namespace) <> (OLD.resource_key, OLD.namespace))
  THEN
    PERFORM pg_notify('bulkman_circuits', json_build_object('schema', TG_TABLE_SCHEMA,
      'namespace', OLD.namespace, 'name', OLD.resource_key)::text);
    IF TG_OP = 'DELETE' THEN
      RETURN NULL;
    END IF;
  END IF;
  notice := json_build_object('schema', TG_TABLE_SCHEMA,
    'namespace', NEW.namespace, 'name', NEW.resource_key, 'record', json_build_object('state', NEW.state, 'failureCount', NEW.failure_count,
      'openUntil', extract(epoch FROM NEW.open_until) * 1000,
      'openedBy', left(NEW.opened_by, 255), 'reason', left(NEW.reason, 255),
      'cause', CASE WHEN NEW.opening_rule IS NOT NULL THEN json_build_object(
      'rule', left(NEW.opening_rule, 255), 'failure', left(NEW.failure_name, 255),
      'code', left(NEW.failure_code, 255)) END, 'changedBy', left(NEW.changed_by, 255),
      'probeOwner', left(NEW.probe_owner, 255), 'probeUntil', extract(epoch FROM NEW.probe_until) * 1000,
      'probeSuccesses', NEW.probe_successes, 'openings', NEW.openings, 'settings', NEW.settings,
      'version', NEW.version, 'updatedAt', extract(epoch FROM NEW.updated_at) * 1000,
      'readAt', extract(epoch FROM clock_timestamp()) * 1000))::text;
  IF octet_length(notice) > 7999 THEN
    -- Postgres would reject it, and the change with it. A notice without a record has the circuits read.
    notice := json_build_object('schema', TG_TABLE_SCHEMA,
      'namespace', NEW.namespace, 'name', NEW.resource_key)::text;
  END IF;
  PERFORM pg_notify('bulkman_circuits', notice);
  RETURN NULL;
END $$;

-- Keeps a change of a circuit's state in the history.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_history() RETURNS trigger
LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
-- bulkman schema 3
DECLARE
  row record := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  EXECUTE format('INSERT INTO %I.bulkman_history (namespace, resource_key, old_state, new_state, changed_by, reason,
    opening_rule, failure_name, failure_code, failure_count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)',
    TG_TABLE_SCHEMA)
  USING row.namespace, row.resource_key, CASE TG_OP WHEN 'INSERT' THEN 'CLOSED' ELSE OLD.state END,
    CASE TG_OP WHEN 'DELETE' THEN 'REMOVED' ELSE NEW.state END,
    CASE TG_OP WHEN 'DELETE' THEN concat_ws(' in ', session_user, nullif(current_setting('application_name'), '')) ELSE NEW.changed_by END,
    row.reason, row.opening_rule, row.failure_name, row.failure_code, row.failure_count;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- A history that is missing, locked or forbidden must not fail the change.
  RETURN NULL;
END $$;

-- A write that leaves a closed circuit closed calls no function. Python makes one after each call.
DROP TRIGGER IF EXISTS rc_circuit_breakers_before_insert ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_before_write ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_after_change ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_after_write ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_after_truncate ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_history ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_history_of_new ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_history_of_removed ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_new_settings ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_settings ON rc_circuit_breakers;
CREATE TRIGGER rc_circuit_breakers_before_insert
  BEFORE INSERT ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.state <> 'CLOSED' OR NEW.open_until IS NOT NULL OR NEW.probe_owner IS NOT NULL OR NEW.probe_until IS NOT NULL)
  EXECUTE FUNCTION rc_circuit_breakers_before_write();
CREATE TRIGGER rc_circuit_breakers_before_write
  BEFORE UPDATE ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.state <> 'CLOSED' OR NEW.open_until IS NOT NULL OR NEW.probe_owner IS NOT NULL OR NEW.probe_until IS NOT NULL
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
CREATE TRIGGER rc_circuit_breakers_history
  AFTER UPDATE ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.state <> OLD.state)
  EXECUTE FUNCTION rc_circuit_breakers_history();
CREATE TRIGGER rc_circuit_breakers_history_of_new
  AFTER INSERT ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.state <> 'CLOSED')
  EXECUTE FUNCTION rc_circuit_breakers_history();
CREATE TRIGGER rc_circuit_breakers_history_of_removed
  AFTER DELETE ON rc_circuit_breakers FOR EACH ROW
  WHEN (OLD.state <> 'CLOSED')
  EXECUTE FUNCTION rc_circuit_breakers_history();

COMMIT;
