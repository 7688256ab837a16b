/** What is built as one file: the library imports it with its first query, and the command instead of a copy. */
// biome-ignore lint/performance/noBarrelFile: it is an entry of the build
export { PostgresCircuits } from "./circuits.js";
export { Database, queryOn } from "./database.js";
export { loadDriver } from "./driver.js";
export { PostgresStorageError, toStorageError } from "./errors.js";
export { PostgresListener } from "./listener.js";
export { PERMIT_CHANNEL } from "./permits-schema.js";
export { recordJson, toRecord } from "./record.js";
export { SCHEMA_SQL } from "./schema.js";
export { checkVersion } from "./server-version.js";
export { NOTIFY, SCHEMA_OF_TABLE } from "./statements.js";
export { guardedClient } from "./wire.js";
