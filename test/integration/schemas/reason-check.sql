SELECT
  (SELECT count(*) FROM pg_attribute
    WHERE attrelid = to_regclass('rc_circuit_breakers') AND NOT attisdropped AND (
      attname IN ('resource_key', 'namespace', 'state', 'failure_count', 'version', 'probe_owner',
        'probe_successes', 'opened_by', 'reason')
      OR (attname IN ('open_until', 'created_at', 'updated_at', 'probe_until')
        AND atttypid = 'timestamptz'::regtype))) = 13
  AND (SELECT count(*) FROM pg_constraint
    WHERE conrelid = to_regclass('rc_circuit_breakers') AND contype = 'p'
      AND cardinality(conkey) = 2) = 1
  AND (SELECT count(*) FROM pg_trigger
    WHERE tgrelid = to_regclass('rc_circuit_breakers') AND tgenabled <> 'D' AND tgname IN (
      'rc_circuit_breakers_before_write', 'rc_circuit_breakers_after_write',
      'rc_circuit_breakers_after_truncate')) = 3
