import { recordJson } from "./record.js";
import { versionAt } from "./triggers.js";

/**
 * Ends the wait for a lock on the server as well, when the query has timed out here. It is read when the wait
 * begins, holds for one statement, and passes through every pooler.
 */
const limits = (parameter: string) =>
  `limits AS MATERIALIZED (SELECT set_config('lock_timeout', ${parameter}, true))`;

/** $1 namespace, $2 name: locks the row, so that a change sees what the last writer left, or creates it. */
const LOCKED_OR_CREATED = `locked AS MATERIALIZED (
  SELECT c.* FROM limits, rc_circuit_breakers c
  WHERE c.resource_key = $2::text AND c.namespace = $1::text
  FOR UPDATE OF c
),
created AS (
  INSERT INTO rc_circuit_breakers AS c (resource_key, namespace, state, failure_count)
  SELECT $2::text, $1::text, 'CLOSED', 0 FROM limits WHERE NOT EXISTS (SELECT FROM locked)
  ON CONFLICT (resource_key, namespace) DO UPDATE SET state = c.state
  RETURNING c.*
)`;

/** Whether the row was changed, and its record. */
const CHANGED_OR_NOT = `SELECT true, ${recordJson("c")} FROM changed c
UNION ALL
SELECT false, ${recordJson("c")} FROM locked c WHERE NOT EXISTS (SELECT FROM changed)
UNION ALL
SELECT false, ${recordJson("c")} FROM created c`;

/** $1 namespace, $2 name: the record, or no row. */
export const GET_STATE = `SELECT ${recordJson("c")}
FROM rc_circuit_breakers c WHERE c.resource_key = $2::text AND c.namespace = $1::text`;

/** $1 channel, $2 payload: sends a notice. */
export const NOTIFY = "SELECT pg_notify($1::text, $2::text)";

/** An expression: where the queries of this session find the table. */
export const SCHEMA_OF_TABLE = `(SELECT n.nspname FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE t.oid = to_regclass('rc_circuit_breakers'))`;

/** $1 namespace, $2 names: like {@link LOAD}, where nothing can be written. A missing circuit has no row. */
export const READ = `SELECT c.resource_key, ${recordJson("c")},
  ${SCHEMA_OF_TABLE}
FROM rc_circuit_breakers c WHERE c.namespace = $1::text AND c.resource_key = ANY ($2::text[])`;

/**
 * $1 namespace, $2 names, $3 lock timeout: name and record of each, and the schema of the table. Missing circuits
 * are created; the update that changes nothing returns a row that another process has just created.
 */
export const LOAD = `WITH ${limits("$3::text")},
found AS MATERIALIZED (
  SELECT * FROM rc_circuit_breakers
  WHERE namespace = $1::text AND resource_key = ANY ($2::text[])
),
created AS (
  INSERT INTO rc_circuit_breakers AS c (resource_key, namespace, state, failure_count)
  SELECT DISTINCT name, $1::text, 'CLOSED', 0 FROM limits, unnest($2::text[]) AS name
  WHERE name NOT IN (SELECT resource_key FROM found)
  ORDER BY name
  ON CONFLICT (resource_key, namespace) DO UPDATE SET state = c.state
  RETURNING c.*
)
SELECT c.resource_key, ${recordJson("c")},
  ${SCHEMA_OF_TABLE}
FROM (SELECT * FROM found UNION ALL SELECT * FROM created) c`;

/**
 * $1 namespace, $2 name, $3 version, $4 newest known version, $5 lock timeout: gives a row that is behind, such as
 * after a failover, a newer version than any process knows. The trigger notifies all of them.
 */
export const BUMP_VERSION = `WITH ${limits("$5::text")}
UPDATE rc_circuit_breakers c
SET version = greatest($4::bigint + 1, ${versionAt("clock_timestamp()")}) FROM limits
WHERE c.resource_key = $2::text AND c.namespace = $1::text AND c.version = $3::bigint
RETURNING ${recordJson("c")}`;

/**
 * $1 namespace, $2 name, $3 lock timeout, $4 version, $5 settings or null: whether they were kept, and the record after
 * it.
 */
export const CONFIGURE = `WITH ${limits("$3::text")},
${LOCKED_OR_CREATED},
changed AS (
  UPDATE rc_circuit_breakers c SET
    settings = $5::jsonb,
    version = greatest(locked.version + 1, ${versionAt("clock_timestamp()")})
  FROM locked
  WHERE c.resource_key = $2::text AND c.namespace = $1::text AND locked.version = $4::bigint
  RETURNING c.*
)
${CHANGED_OR_NOT}`;

/** SQL: a number in a vote, or 0: other programs can write anything into the column. */
const voteNumber = (field: string) =>
  `CASE jsonb_typeof(v.value->'${field}') WHEN 'number' THEN (v.value->'${field}')::numeric ELSE 0 END`;

/** SQL: milliseconds of the epoch at `bulkman_time`. */
const NOW_MS = "extract(epoch FROM bulkman_time)::numeric * 1000";

/**
 * `applyChange` in SQL: whether the change was made, and the record after it. The row is locked first, so that the
 * guards see what the last writer left, and the time after the wait for that writer. `bulkman_to` is the new state, or
 * null when only the votes change.
 *
 * $1 namespace, $2 name, $3 lock timeout, $4 version, $5 new state, $6 owner, $7 by hand, $8 early,
 * $9 seconds to stay open, $10 failures, $11 seconds of the lease, $12 successful probes or null,
 * $13 a person's reason or null, $14 which opening it is,
 * $15 consecutive openings or null, $16 rule, $17 failure and $18 code of the cause, or null,
 * $19 host or null, $20 quorum, 1 unless it is a vote, $21 whether it withdraws the owner's vote
 */
export const CHANGE = `WITH ${limits("$3::text")},
${LOCKED_OR_CREATED},
timed AS MATERIALIZED (SELECT locked.*, clock_timestamp() AS bulkman_time FROM locked),
voted AS MATERIALIZED (
  SELECT coalesce(jsonb_object_agg(v.key, v.value) FILTER (WHERE v.key <> $6::text), '{}') AS bulkman_votes,
    count(DISTINCT v.value->>'host') FILTER (WHERE v.key <> $6::text AND v.value->>'host' <> left($19::text, 255)) + 1
      AS bulkman_hosts,
    coalesce(bool_or(v.value->>'host' = left($19::text, 255)), false) AS bulkman_host_votes,
    min(${voteNumber("openSeconds")}) FILTER (WHERE v.key <> $6::text) AS bulkman_seconds,
    min(${voteNumber("openings")}) FILTER (WHERE v.key <> $6::text) AS bulkman_openings
  FROM timed, jsonb_each(CASE jsonb_typeof(timed.votes) WHEN 'object' THEN timed.votes ELSE '{}' END) AS v
  -- A Node timer can fire a millisecond early.
  WHERE ${voteNumber("until")} > ${NOW_MS} + 1
),
guarded AS MATERIALIZED (
  SELECT timed.*, voted.*,
    coalesce(probe_until > bulkman_time AND probe_owner = $6::text, false) AS bulkman_owns_lease,
    -- A Node timer can fire a millisecond early: a process that sleeps for the whole isolation finds it over.
    coalesce(CASE state WHEN 'OPEN' THEN open_until - interval '1 millisecond' ELSE probe_until END
      <= bulkman_time, true) AS bulkman_is_free
  FROM timed, voted
),
decided AS MATERIALIZED (
  SELECT guarded.*,
    CASE
      WHEN $21::bool THEN NULL
      WHEN $20::int <= 1 THEN $5::text
      WHEN bulkman_hosts >= $20::int AND (state = 'CLOSED' OR bulkman_owns_lease OR bulkman_is_free) THEN 'OPEN'
      WHEN bulkman_owns_lease THEN 'HALF_OPEN'
    END AS bulkman_to
  FROM guarded
),
changed AS (
  UPDATE rc_circuit_breakers c SET
    state = coalesce(bulkman_to, decided.state),
    failure_count = CASE bulkman_to WHEN 'OPEN' THEN $10::int WHEN 'CLOSED' THEN 0
      ELSE decided.failure_count END,
    open_until = CASE
      WHEN bulkman_to = 'OPEN'
        THEN decided.bulkman_time + make_interval(secs => CASE WHEN $20::int > 1
          THEN least($9::float8::numeric, bulkman_seconds)::float8 ELSE $9::float8 END)
      WHEN bulkman_to IS NULL THEN decided.open_until END,
    opened_by = CASE bulkman_to WHEN 'OPEN' THEN $14::text ELSE decided.opened_by END,
    reason = CASE WHEN bulkman_to = 'OPEN' THEN left($13::text, 255)
      WHEN bulkman_to IS NULL THEN decided.reason END,
    opening_rule = CASE bulkman_to WHEN 'OPEN' THEN left($16::text, 255)
      WHEN 'CLOSED' THEN NULL ELSE decided.opening_rule END,
    failure_name = CASE bulkman_to WHEN 'OPEN' THEN left($17::text, 255)
      WHEN 'CLOSED' THEN NULL ELSE decided.failure_name END,
    failure_code = CASE bulkman_to WHEN 'OPEN' THEN left($18::text, 255)
      WHEN 'CLOSED' THEN NULL ELSE decided.failure_code END,
    -- Without the UUID that makes an owner unique.
    changed_by = CASE WHEN bulkman_to IS NULL THEN decided.changed_by
      ELSE left(regexp_replace($6::text, ' [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', ''), 255) END,
    probe_owner = CASE WHEN bulkman_to IS NULL THEN decided.probe_owner
      WHEN bulkman_to = 'HALF_OPEN' AND $5::text = 'HALF_OPEN' AND NOT $8::bool THEN $6::text END,
    probe_until = CASE WHEN bulkman_to IS NULL THEN decided.probe_until
      WHEN bulkman_to = 'HALF_OPEN' AND $5::text = 'HALF_OPEN' AND NOT $8::bool
      THEN decided.bulkman_time + make_interval(secs => $11::float8) END,
    probe_successes = coalesce($12::int, decided.probe_successes),
    openings = CASE bulkman_to WHEN 'CLOSED' THEN 0
      WHEN 'OPEN' THEN least(coalesce($15::int, decided.openings),
        CASE WHEN $20::int > 1 THEN bulkman_openings END)::int
      ELSE decided.openings END,
    -- Votes are spent by every opening and closing.
    votes = CASE
      WHEN bulkman_to IN ('OPEN', 'CLOSED') THEN NULL
      WHEN $21::bool THEN nullif(bulkman_votes, '{}')
      WHEN $20::int > 1 THEN bulkman_votes || jsonb_build_object($6::text, jsonb_build_object(
        'host', left($19::text, 255), 'until', ${NOW_MS} + $9::float8::numeric * 1000, 'openSeconds', $9::float8,
        'openings', coalesce($15::int, decided.openings), 'quorum', $20::int))
      ELSE decided.votes END,
    version = greatest(decided.version + 1, ${versionAt("decided.bulkman_time")}),
    updated_at = CASE WHEN bulkman_to IS NULL THEN decided.updated_at ELSE decided.bulkman_time END
  FROM decided
  WHERE c.resource_key = $2::text AND c.namespace = $1::text AND decided.version = $4::bigint
    AND CASE
      WHEN $21::bool THEN decided.state = 'CLOSED'
      WHEN $7::bool THEN true
      WHEN $20::int > 1 THEN decided.state <> 'OPEN' OR bulkman_is_free
      WHEN $5::text = 'CLOSED' THEN decided.state = 'HALF_OPEN' AND bulkman_owns_lease
      WHEN $5::text = 'OPEN' THEN
        decided.state = 'CLOSED' OR bulkman_owns_lease OR bulkman_is_free
      WHEN decided.state = 'CLOSED' THEN false
      WHEN bulkman_owns_lease THEN true
      WHEN $8::bool THEN bulkman_is_free OR (decided.state = 'OPEN' AND decided.reason IS NULL)
      WHEN bulkman_host_votes THEN false
      -- The clock was set back to before the last change, so the row cannot say what is over. The process that
      -- asks has waited for the whole isolation, or lease, by a clock of its own.
      ELSE bulkman_is_free OR decided.updated_at > decided.bulkman_time
    END
  RETURNING c.*
)
${CHANGED_OR_NOT}`;
