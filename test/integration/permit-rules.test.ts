import * as fc from "fast-check";
import { Client } from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { applyLease, EMPTY_POOL, type PermitPool, type PostgresStorage } from "../../src/index.js";
import { runs, SEED } from "../fuzz.js";
import { createDatabase, type TestDatabase } from "./database.js";
import { eventually } from "./eventually.js";
import { permitRequest, readPools } from "./permit-pool.js";

let database: TestDatabase;
let storage: PostgresStorage;
let listener: Client;
const notices: unknown[] = [];
beforeAll(async () => {
  database = await createDatabase();
  storage = database.storage();
  await storage.load("api");
  listener = new Client(database.url);
  await listener.connect();
  listener.on("notification", ({ payload }) => notices.push(JSON.parse(payload ?? "")));
  await listener.query("LISTEN bulkman_permits");
});
afterAll(async () => {
  await listener.end();
  await database.drop();
});

const OWNERS = ["a", "host 42 \u{1f600}", "'; --", "d", "e"];
const NAMES = ["one", "two \u{1f600}", "'three'"];

const request = fc.record({
  owner: fc.constantFrom(...OWNERS),
  want: fc.nat(6),
  keep: fc.oneof(fc.constant(0), fc.nat(6)),
  limit: fc.constantFrom(1, 2, 2, 3, 8, 2 ** 40),
  /** Under the newest of the owner: carried out late. */
  age: fc.constantFrom(0, 0, 0, 0, 1),
  leaseSeconds: fc.constantFrom(15, 20.5),
});
const step = fc.record({
  requests: fc.array(fc.option(request), { minLength: NAMES.length, maxLength: NAMES.length }),
  passes: fc.constantFrom(0, 0.02, 0.06, 1, 4, 8, 10, 16, 40, -0.01, -30),
  limitSet: fc.constantFrom(undefined, undefined, undefined, undefined, null, 1, 4),
});

it("decides random requests as applyLease does", async () => {
  const seen = { late: 0, learning: 0, turns: 0, contended: 0, given: 0 };
  const expectedNotices: unknown[] = [];
  let count = 0;
  let sequence = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 16 }), async (steps) => {
      const names = NAMES.map((name) => `${name} ${count}`);
      count++;
      for (const { requests, passes, limitSet } of steps) {
        await move(names, passes, limitSet);
        const asked = requests.flatMap((each, n) =>
          each === null
            ? []
            : [permitRequest(each.owner, each.want, { ...each, name: names[n] ?? "" })],
        );
        const before = await readPools(database, names);
        const numbered = asked.map(({ ...each }, n) => {
          const { age } = requests.filter((one) => one !== null)[n] ?? { age: 0 };
          const known = before.get(each.name)?.shares.find((one) => one.owner === each.owner);
          sequence++;
          const isLate = age > 0 && known !== undefined;
          if (isLate) seen.late++;
          return { ...each, sequence: isLate ? known.sequence - age + 1 : sequence };
        });
        const grants = await storage.lease([...numbered].reverse());
        const after = await readPools(database, names);
        for (const [n, each] of numbered.entries()) {
          const pool = after.get(each.name) ?? EMPTY_POOL;
          const expected = applyLease(before.get(each.name) ?? EMPTY_POOL, each, pool.askedAt);
          expect(grants[numbered.length - 1 - n]).toEqual(expected.grant);
          expect(comparable(pool)).toEqual(comparable(expected.pool));
          if (expected.notice !== undefined) {
            const schema = "public";
            const place = { schema, namespace: "default", name: each.name };
            expectedNotices.push({ ...place, ...expected.notice });
          }
          if (pool.learnsSince > 0) seen.learning++;
          if (expected.grant.fair <= 1 && pool.shares.length > expected.grant.limit) seen.turns++;
          if (expected.grant.isContended) seen.contended++;
          if (expected.notice?.gives) seen.given++;
        }
      }
    }),
    { seed: SEED, numRuns: runs(20) },
  );
  // The requests of one query send theirs in the order of the names.
  const sorted = (list: unknown[]) => list.map((each) => JSON.stringify(each)).sort();
  await eventually(() => notices.length >= expectedNotices.length);
  expect(sorted(notices)).toEqual(sorted(expectedNotices));
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(10);
}, 120_000);

/** Lets time pass, or sets the clock back: moves the times in the rows. Sets the operator's limit, unless it is `undefined`. */
async function move(
  names: readonly string[],
  seconds: number,
  limitSet: number | null | undefined,
): Promise<void> {
  await database.query(
    `UPDATE bulkman_permits SET asked_at = asked_at - make_interval(secs => $2),
      learns_since = learns_since - make_interval(secs => $2), noticed_at = noticed_at - make_interval(secs => $2),
      permit_limit = CASE WHEN owner = '' AND $3 THEN $4::bigint ELSE permit_limit END
    WHERE namespace = 'default' AND name = ANY ($1)`,
    [names, seconds, limitSet !== undefined, limitSet ?? null],
  );
}

/** Postgres counts microseconds, and a time that is not known is 0 here. */
function comparable({ shares, ...pool }: PermitPool) {
  const rounded = (ms: number) => Math.round(ms * 100) / 100;
  const { askedAt, learnsSince, noticedAt } = pool;
  return {
    ...pool,
    askedAt: rounded(askedAt),
    learnsSince: rounded(learnsSince),
    noticedAt: rounded(noticedAt),
    shares: shares
      .map((share) => ({ ...share, askedAt: rounded(share.askedAt) }))
      .sort((one, other) => (one.owner < other.owner ? -1 : 1)),
  };
}
