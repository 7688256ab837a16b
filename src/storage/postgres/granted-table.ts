/**
 * SQL: creates a table beside that of the circuits, unless it exists, and grants it to the roles that may use that one.
 *
 * @param columns of the new table, and its constraints
 * @param writes the privileges of roles that may change circuits
 * @param index a statement that creates an index; default: none
 */
export const createGranted = (table: string, columns: string, writes: string, index = "") => `DO $$
DECLARE
  granted record;
BEGIN
  IF to_regclass('${table}') IS NOT NULL THEN
    RETURN;
  END IF;
  CREATE TABLE ${table} (
${columns}
  );${index && `\n  ${index}`}
  -- Also the members of the role that owns the table, when one of them migrates it.
  EXECUTE format('GRANT ALL ON ${table} TO %I',
    (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'rc_circuit_breakers'::regclass));
  FOR granted IN
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role,
      CASE a.privilege_type WHEN 'UPDATE' THEN '${writes}' ELSE a.privilege_type END AS privilege
    FROM pg_class c, aclexplode(c.relacl) a
    WHERE c.oid = 'rc_circuit_breakers'::regclass AND a.grantee <> c.relowner
      AND a.privilege_type IN ('SELECT', 'UPDATE', 'DELETE')
  LOOP
    EXECUTE format('GRANT %s ON ${table} TO %s', granted.privilege, granted.role);
  END LOOP;
END $$;`;
