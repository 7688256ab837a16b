import { PostgresStorageError } from "./errors.js";

export function listenRejectedError(pollMs: number): PostgresStorageError {
  return new PostgresStorageError(
    `The server accepts no LISTEN, like a standby: the circuits are read every ${pollMs / 1000} s until it does`,
    "25006",
  );
}

export function undeliveredError(pollMs: number): PostgresStorageError {
  return new PostgresStorageError(
    `Notices do not arrive on the listening connection, like behind a transaction pooler: set pollSeconds, or give the storage a direct connection; until then the circuits are read every ${pollMs / 1000} s`,
  );
}

export function unannouncedError(): PostgresStorageError {
  return new PostgresStorageError(
    'A circuit changed without a notice: a trigger of the table rc_circuit_breakers is missing, disabled or bypassed; run "bulkman pg-setup" as its owner; until then changes are seen only when the circuits are read again',
  );
}
