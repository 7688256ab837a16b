import { createGranted } from "./granted-table.js";

/**
 * Creates the table. It is not created again when an operator has dropped it, other than by `bulkman pg-setup`: the
 * circuits work without it.
 */
export const CREATE_HISTORY = `-- The history of the circuits. Roles that may use the table of circuits may use this one, too.
${createGranted(
  "bulkman_history",
  `    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    failure_count integer`,
  "INSERT",
  "CREATE INDEX bulkman_history_changed_at ON bulkman_history (namespace, changed_at);",
)}`;

/** The triggers of {@link historyFunction}: called for changes of the state alone. */
export const HISTORY_TRIGGERS = `CREATE TRIGGER rc_circuit_breakers_history
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
  EXECUTE FUNCTION rc_circuit_breakers_history();`;

/**
 * @param mark a comment with the version of the schema
 * @param session SQL for what is known of another program
 */
export const historyFunction = (
  mark: string,
  session: string,
) => `-- Keeps a change of a circuit's state in the history.
CREATE OR REPLACE FUNCTION rc_circuit_breakers_history() RETURNS trigger
LANGUAGE plpgsql SET lock_timeout = '100ms' AS $$
${mark}
DECLARE
  row record := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  EXECUTE format('INSERT INTO %I.bulkman_history (namespace, resource_key, old_state, new_state, changed_by, reason,
    opening_rule, failure_name, failure_code, failure_count) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)',
    TG_TABLE_SCHEMA)
  USING row.namespace, row.resource_key, CASE TG_OP WHEN 'INSERT' THEN 'CLOSED' ELSE OLD.state END,
    CASE TG_OP WHEN 'DELETE' THEN 'REMOVED' ELSE NEW.state END,
    CASE TG_OP WHEN 'DELETE' THEN ${session} ELSE NEW.changed_by END,
    row.reason, row.opening_rule, row.failure_name, row.failure_code, row.failure_count;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  -- A history that is missing, locked or forbidden must not fail the change.
  RETURN NULL;
END $$;`;
