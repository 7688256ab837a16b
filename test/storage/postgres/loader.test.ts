import { expect, it } from "vitest";
import type { Row } from "../../../src/storage/postgres/database.js";
import { PostgresStorageError } from "../../../src/storage/postgres/errors.js";
import { CircuitLoader } from "../../../src/storage/postgres/loader.js";
import { LOAD, READ } from "../../../src/storage/postgres/statements.js";

const ROW: Row = ["api", JSON.stringify({ state: "CLOSED", version: 1, readAt: 0 }), "public"];

it("asks a standby no more to create rows, until one is missing", async () => {
  const asked: string[] = [];
  const server = { isStandby: true, rows: [ROW] };
  const loader = new CircuitLoader({
    query: async (statement) => {
      asked.push(statement === LOAD ? "LOAD" : statement === READ ? "READ" : statement);
      if (statement === LOAD && server.isStandby) throw new PostgresStorageError("", "25006");
      return server.rows;
    },
    namespace: "default",
    lockTimeout: "1s",
  });
  const load = async () => {
    asked.length = 0;
    const answer = (await loader.loadAll(["api"])).get("api");
    return answer instanceof PostgresStorageError ? answer.code : "loaded";
  };
  expect([await load(), ...asked]).toEqual(["loaded", "LOAD", "READ"]);
  expect([await load(), ...asked]).toEqual(["loaded", "READ"]);
  server.rows = [];
  expect([await load(), ...asked]).toEqual(["25006", "READ", "LOAD", "READ"]);
  server.isStandby = false;
  server.rows = [ROW];
  expect([await load(), ...asked]).toEqual(["loaded", "READ"]);
  server.rows = [];
  await load();
  expect(asked).toEqual(["READ", "LOAD"]);
  server.rows = [ROW];
  expect([await load(), ...asked]).toEqual(["loaded", "LOAD"]);
});
