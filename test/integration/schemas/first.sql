BEGIN;

SELECT pg_advisory_xact_lock(hashtextextended('bulkman rc_circuit_breakers', 0));

-- Everything goes where the table is, or else where this session creates its tables.
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
  created_at    timestamptz  DEFAULT CURRENT_TIMESTAMP,
  updated_at    timestamptz  DEFAULT CURRENT_TIMESTAMP,
  PRIMARY KEY (resource_key, namespace)
);

ALTER TABLE rc_circuit_breakers
  ADD COLUMN IF NOT EXISTS namespace varchar(255) NOT NULL DEFAULT 'default',
  ADD COLUMN IF NOT EXISTS version bigint NOT NULL
    DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
  ADD COLUMN IF NOT EXISTS probe_owner text,
  ADD COLUMN IF NOT EXISTS probe_until timestamptz;

-- A time without zone is taken for one of this session's TimeZone.
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

-- Keeps a row true to its state, and raises its version when another program changes it.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_before_write() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  NEW.state := upper(NEW.state);
  IF NEW.state NOT IN ('CLOSED', 'OPEN', 'HALF_OPEN') THEN
    RAISE EXCEPTION 'state must be CLOSED, OPEN or HALF_OPEN; got %', NEW.state
      USING ERRCODE = 'check_violation';
  END IF;
  IF NEW.state <> 'OPEN' THEN
    NEW.open_until := NULL;
  END IF;
  IF NEW.state <> 'HALF_OPEN' THEN
    NEW.probe_owner := NULL;
    NEW.probe_until := NULL;
  END IF;
  IF TG_OP = 'UPDATE' AND NEW.version <= OLD.version THEN
    NEW.version := OLD.version;
    IF (NEW.state, NEW.open_until, NEW.probe_owner, NEW.probe_until)
      IS DISTINCT FROM (OLD.state, OLD.open_until, OLD.probe_owner, OLD.probe_until)
    THEN
      NEW.version := greatest(OLD.version + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint);
      NEW.updated_at := clock_timestamp();
    END IF;
  END IF;
  RETURN NEW;
END $$;

-- Tells every listening process of a change. Python writes after each call: what changes nothing is not told.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_after_write() RETURNS trigger
LANGUAGE plpgsql AS $$
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
  ELSIF TG_OP = 'UPDATE' AND NEW.version = OLD.version THEN
    RETURN NULL;
  END IF;
  PERFORM pg_notify('bulkman_circuits', json_build_object('schema', TG_TABLE_SCHEMA,
    'namespace', NEW.namespace, 'name', NEW.resource_key, 'record', json_build_object('state', NEW.state, 'failureCount', NEW.failure_count,
      'openUntil', extract(epoch FROM NEW.open_until) * 1000,
      'probeOwner', NEW.probe_owner, 'probeUntil', extract(epoch FROM NEW.probe_until) * 1000,
      'version', NEW.version, 'updatedAt', extract(epoch FROM NEW.updated_at) * 1000,
      'readAt', extract(epoch FROM clock_timestamp()) * 1000))::text);
  RETURN NULL;
END $$;

DROP TRIGGER IF EXISTS rc_circuit_breakers_before_write ON rc_circuit_breakers;
CREATE TRIGGER rc_circuit_breakers_before_write
  BEFORE INSERT OR UPDATE ON rc_circuit_breakers
  FOR EACH ROW EXECUTE FUNCTION rc_circuit_breakers_before_write();

DROP TRIGGER IF EXISTS rc_circuit_breakers_after_write ON rc_circuit_breakers;
CREATE TRIGGER rc_circuit_breakers_after_write
  AFTER INSERT OR UPDATE OR DELETE ON rc_circuit_breakers
  FOR EACH ROW EXECUTE FUNCTION rc_circuit_breakers_after_write();

DROP TRIGGER IF EXISTS rc_circuit_breakers_after_truncate ON rc_circuit_breakers;
CREATE TRIGGER rc_circuit_breakers_after_truncate
  AFTER TRUNCATE ON rc_circuit_breakers
  FOR EACH STATEMENT EXECUTE FUNCTION rc_circuit_breakers_after_write();

COMMIT;
