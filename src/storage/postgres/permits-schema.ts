import { createGranted } from "./granted-table.js";

/** The channel of the notices of permits: one for every schema and namespace of a database. */
export const PERMIT_CHANNEL = "bulkman_permits";

/** The row of the empty owner is the pool: its limit is an operator's, its turn the next one, its lease that of learning. */
export const CREATE_PERMITS = `-- The permits of the fleet's limits. Roles that may change circuits may change these, too.
${createGranted(
  "bulkman_permits",
  `    namespace    varchar(255) NOT NULL,
    name         varchar(255) NOT NULL,
    owner        text NOT NULL,
    sequence     bigint NOT NULL DEFAULT 0,
    permit_limit bigint,
    permits      bigint NOT NULL DEFAULT 0,
    wants        bigint NOT NULL DEFAULT 0,
    turn         bigint NOT NULL DEFAULT 1,
    asked_at     timestamptz,
    lease        interval,
    learns_since timestamptz,
    noticed_at   timestamptz,
    PRIMARY KEY (namespace, name, owner)`,
  "INSERT, UPDATE, DELETE",
)}`;

const SHARES = "bulkman_permits p WHERE p.namespace = ns AND p.name = r.name";
const RIVALS = `${SHARES} AND p.owner NOT IN ('', r.owner) AND p.asked_at + p.lease > t`;
const shareOf = (turn: string) => `CASE WHEN fair > 0 OR ${turn} > last_turn THEN fair ELSE 1 END`;

/**
 * `applyLease` in SQL, for all requests of one query. It is no single statement, because that would judge the rows of
 * the other owners by a snapshot from before it waited for the lock, and grant their permits twice: each statement of
 * a VOLATILE function sees what was committed before it.
 *
 * @param mark a comment with the version of the schema
 */
export const permitsFunction = (
  mark: string,
) => `-- Decides requests for permits, in the order of their names, so that no two processes wait for each other.
CREATE OR REPLACE FUNCTION bulkman_lease(ns text, requests jsonb, wait text) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SET search_path FROM CURRENT AS $$
${mark}
DECLARE
  r record;
  pool bulkman_permits;
  mine bulkman_permits;
  grants jsonb := requests;
  t timestamptz;
  renewal interval;
  is_new boolean; is_late boolean; is_contended boolean; gives boolean;
  held bigint; used bigint; owners bigint; total bigint; rest bigint; n bigint; wanted bigint;
  fair bigint; last_turn bigint; share bigint;
BEGIN
  PERFORM set_config('lock_timeout', wait, true);
  FOR r IN
    SELECT q.*, make_interval(secs => q."leaseSeconds") AS lease FROM ROWS FROM (jsonb_to_recordset(requests) AS
      (name text, owner text, sequence bigint, "limit" bigint, keep bigint, want bigint, "leaseSeconds" float8,
        "renewSeconds" float8)) WITH ORDINALITY AS q(name, owner, sequence, "limit", keep, want, "leaseSeconds",
        "renewSeconds", place)
    ORDER BY q.name COLLATE "C", q.place
  LOOP
    LOOP
      SELECT * INTO pool FROM ${SHARES} AND p.owner = '' FOR UPDATE;
      EXIT WHEN FOUND;
      INSERT INTO bulkman_permits (namespace, name, owner) VALUES (ns, r.name, '') ON CONFLICT DO NOTHING;
    END LOOP;
    t := clock_timestamp();
    IF t < pool.learns_since THEN
      pool.learns_since := t;
    END IF;
    IF (pool.learns_since + pool.lease > t) IS NOT TRUE THEN
      DELETE FROM ${SHARES} AND p.owner <> '' AND p.asked_at < pool.learns_since AND p.asked_at + p.lease <= t;
      renewal := 1.2 * make_interval(secs => r."renewSeconds");
      pool.learns_since := CASE WHEN t - pool.asked_at > renewal AND EXISTS (SELECT FROM ${SHARES}
        AND p.owner NOT IN ('', r.owner) AND p.asked_at >= pool.asked_at - renewal
        AND p.asked_at + p.lease < t + renewal) THEN t END;
      pool.lease := r.lease;
    END IF;
    UPDATE bulkman_permits p SET asked_at = t WHERE p.namespace = ns AND p.name = r.name AND p.owner <> '' AND p.asked_at > t;
    IF pool.learns_since IS NULL THEN
      DELETE FROM ${SHARES} AND p.owner <> '' AND p.asked_at + p.lease <= t;
    END IF;
    INSERT INTO bulkman_permits (namespace, name, owner, turn) VALUES (ns, r.name, r.owner, pool.turn - 1099511627776)
    ON CONFLICT DO NOTHING;
    is_new := FOUND;
    SELECT * INTO mine FROM ${SHARES} AND p.owner = r.owner;
    held := mine.permits;
    is_late := NOT is_new AND mine.sequence >= r.sequence;
    IF NOT is_late THEN
      mine.sequence := r.sequence;
      mine.permit_limit := r."limit";
      mine.wants := greatest(r.want, r.keep);
      mine.lease := r.lease;
    END IF;
    SELECT coalesce(sum(p.permits), 0), count(*) + 1, least(min(p.permit_limit), mine.permit_limit)
    INTO used, owners, total FROM ${SHARES} AND p.owner NOT IN ('', r.owner);
    total := coalesce(pool.permit_limit, total);
    SELECT count(*) + 1 INTO n FROM ${RIVALS};
    rest := total;
    FOR wanted IN SELECT p.wants FROM ${RIVALS} UNION ALL SELECT mine.wants ORDER BY 1 LOOP
      EXIT WHEN wanted > rest / n;
      rest := rest - wanted;
      n := n - 1;
    END LOOP;
    fair := CASE WHEN n = 0 THEN total ELSE rest / n END;
    last_turn := 0;
    IF fair = 0 THEN
      SELECT q.turn INTO last_turn FROM (
        SELECT p.turn FROM ${RIVALS} AND p.wants > 0
        UNION ALL SELECT mine.turn WHERE mine.wants > 0) q
      ORDER BY 1 OFFSET total - 1 LIMIT 1;
    END IF;
    share := ${shareOf("mine.turn")};
    is_contended := EXISTS (SELECT FROM ${RIVALS} AND p.permits < least(p.wants, ${shareOf("p.turn")}));
    IF NOT is_late THEN
      mine.permits := greatest(least(r.keep, held), least(mine.wants, total - used,
        CASE WHEN is_contended THEN share ELSE total END), 0);
    END IF;
    gives := mine.permits < held AND is_contended;
    IF NOT is_late AND (gives OR mine.permits < least(mine.wants, share))
      AND (t < pool.noticed_at OR t >= pool.noticed_at + interval '50 ms') IS NOT FALSE
    THEN
      pool.noticed_at := t;
      PERFORM pg_notify('${PERMIT_CHANNEL}', json_build_object('schema', current_schema(), 'namespace', ns,
        'name', r.name, 'fair', fair, 'lastTurn', last_turn, 'gives', gives)::text);
    END IF;
    IF held = 0 AND mine.permits > 0 THEN
      mine.turn := pool.turn;
    END IF;
    UPDATE bulkman_permits p SET asked_at = t, lease = pool.lease, learns_since = pool.learns_since,
      noticed_at = pool.noticed_at, turn = p.turn + (is_new OR mine.turn = p.turn)::int
    WHERE p.namespace = ns AND p.name = r.name AND p.owner = '';
    IF r.want = 0 AND r.keep = 0 AND NOT is_late THEN
      DELETE FROM ${SHARES} AND p.owner = r.owner;
    ELSIF NOT is_late THEN
      UPDATE bulkman_permits p SET sequence = mine.sequence, permit_limit = mine.permit_limit, permits = mine.permits,
        wants = mine.wants, turn = mine.turn, lease = mine.lease, asked_at = t
      WHERE p.namespace = ns AND p.name = r.name AND p.owner = r.owner;
    END IF;
    grants := jsonb_set(grants, ARRAY[(r.place - 1)::text], jsonb_build_object('permits', mine.permits, 'fair', share,
      'limit', total, 'processes', owners, 'isContended', is_contended OR mine.permits > greatest(total - used, 0), 'turn', mine.turn));
  END LOOP;
  RETURN grants;
END $$;`;

/** SQL: whether table and function are in place, beside the table of circuits. Reads the catalogue only. */
export const permitsCheck = (installed: string, version: number) => `EXISTS (SELECT
    FROM pg_class c JOIN pg_class o ON o.relnamespace = c.relnamespace AND o.relname = 'bulkman_permits'
      JOIN pg_namespace s ON s.oid = c.relnamespace
      JOIN pg_proc p ON p.pronamespace = s.oid AND p.proname = 'bulkman_lease'
    WHERE c.oid = to_regclass('rc_circuit_breakers') AND ${installed} >= ${version}
      -- Of a schema that was renamed, the function would not find the table.
      AND 'search_path=' || quote_ident(s.nspname) = ANY (p.proconfig))`;

/** $1 namespace, $2 requests as JSON, $3 lock timeout: the grants as JSON, in the order of the requests. */
export const LEASE = "SELECT bulkman_lease($1::text, $2::jsonb, $3::text)";
