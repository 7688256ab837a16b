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
  IF installed > 2 THEN
    RAISE EXCEPTION 'a newer version of bulkman made it (schema %, this one makes 2); run "bulkman pg-setup" of that version',
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

-- Keeps a row's columns consistent with its state, raises its version when another program changes it, and guards isolations.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_before_write() RETURNS trigger
LANGUAGE plpgsql AS $$
-- bulkman schema 2
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
  END IF;
  IF NEW.state <> 'HALF_OPEN' THEN
    NEW.probe_owner := NULL;
    NEW.probe_until := NULL;
    NEW.probe_successes := 0;
  END IF;
  IF TG_OP = 'INSERT' THEN
    NEW.written_blind := is_blind AND NEW.state <> 'CLOSED';
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
  IF NEW.version <= OLD.version THEN
    NEW.version := OLD.version;
    IF (NEW.state, NEW.open_until, NEW.reason, NEW.probe_owner, NEW.probe_until, NEW.probe_successes)
      IS DISTINCT FROM
        (OLD.state, OLD.open_until, OLD.reason, OLD.probe_owner, OLD.probe_until, OLD.probe_successes)
    THEN
      NEW.version := greatest(OLD.version + 1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
      NEW.updated_at := clock_timestamp();
      IF NEW.state = 'OPEN' THEN
        NEW.opened_by := NULL;
      END IF;
    END IF;
  END IF;
  RETURN NEW;
END $$;

-- Notifies every listening process of a change.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_after_write() RETURNS trigger
LANGUAGE plpgsql AS $$
-- bulkman schema 2
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
  PERFORM pg_notify('bulkman_circuits', json_build_object('schema', TG_TABLE_SCHEMA,
    'namespace', NEW.namespace, 'name', NEW.resource_key, 'record', json_build_object('state', NEW.state, 'failureCount', NEW.failure_count,
      'openUntil', extract(epoch FROM NEW.open_until) * 1000,
      'openedBy', left(NEW.opened_by, 255), 'reason', left(NEW.reason, 255),
      'probeOwner', left(NEW.probe_owner, 255), 'probeUntil', extract(epoch FROM NEW.probe_until) * 1000,
      'probeSuccesses', NEW.probe_successes, 'openings', NEW.openings,
      'version', NEW.version, 'updatedAt', extract(epoch FROM NEW.updated_at) * 1000,
      'readAt', extract(epoch FROM clock_timestamp()) * 1000))::text);
  RETURN NULL;
END $$;

-- A write that leaves a closed circuit closed calls no function. Python makes one after each call.
DROP TRIGGER IF EXISTS rc_circuit_breakers_before_insert ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_before_write ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_after_change ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_after_write ON rc_circuit_breakers;
DROP TRIGGER IF EXISTS rc_circuit_breakers_after_truncate ON rc_circuit_breakers;
CREATE TRIGGER rc_circuit_breakers_before_insert
  BEFORE INSERT ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.state <> 'CLOSED' OR NEW.open_until IS NOT NULL OR NEW.probe_owner IS NOT NULL OR NEW.probe_until IS NOT NULL)
  EXECUTE FUNCTION rc_circuit_breakers_before_write();
CREATE TRIGGER rc_circuit_breakers_before_write
  BEFORE UPDATE ON rc_circuit_breakers FOR EACH ROW
  WHEN (NEW.state <> 'CLOSED' OR NEW.open_until IS NOT NULL OR NEW.probe_owner IS NOT NULL OR NEW.probe_until IS NOT NULL
    OR OLD.state <> 'CLOSED' OR NEW.version < OLD.version)
  EXECUTE FUNCTION rc_circuit_breakers_before_write();
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

COMMIT;
