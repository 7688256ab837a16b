import type { BulkheadConfig } from "../../src/config.js";
import { Bulkhead, PostgresStorage, type PostgresStorageOptions } from "../../src/index.js";

/** The program of the processes that the tests fork: one bulkhead, moved by messages. */

interface Start {
  readonly config: BulkheadConfig;
  readonly storage: Omit<PostgresStorageOptions, "pool">;
}

/** What became of one call. `at` is on the monotonic clock, which the processes share. */
interface Outcome {
  readonly outcome: "succeeded" | "failed" | "refused" | "started";
  readonly code: string | null;
  readonly retryAfterSeconds: number | null;
  readonly at: number;
}

let storage: PostgresStorage | undefined;
let bulkhead: Bulkhead | undefined;
let watched: Promise<Outcome> | undefined;
let letGo = () => {};
const troubles: string[] = [];

function current(): Bulkhead {
  if (bulkhead === undefined) throw new Error("not started");
  return bulkhead;
}

async function call(does: "succeed" | "fail"): Promise<Outcome> {
  const base = { code: null, retryAfterSeconds: null };
  try {
    const { success } = await current().execute(() => {
      return does === "fail" ? Promise.reject(new Error("down")) : "up";
    });
    return { ...base, outcome: success ? "succeeded" : "failed", at: performanceNow() };
  } catch (error) {
    const { code = null, retryAfterSeconds = null } = error as Partial<Outcome>;
    return { code, retryAfterSeconds, outcome: "refused", at: performanceNow() };
  }
}

const commands = {
  start: async ({ config, storage: options }: Start) => {
    storage = new PostgresStorage(options);
    bulkhead = new Bulkhead(config, { circuitStorage: storage });
    bulkhead.on("storageError", (error) => troubles.push(String(error)));
    await bulkhead.ready();
    return { status: current().getStats().circuitStatus, troubles };
  },
  call,
  /** Begins a call that lasts until `letGo`. */
  hold: () =>
    new Promise<Pick<Outcome, "outcome" | "code">>((resolve) => {
      current()
        .execute(() => {
          resolve({ outcome: "started", code: null });
          return new Promise<void>((done) => {
            letGo = done;
          });
        })
        .catch(({ code }) => resolve({ outcome: "refused", code }));
    }),
  letGo: async () => letGo(),
  /** The first call, with nothing waited for before it. */
  startAndCall: async ({ config, storage: options }: Start) => {
    storage = new PostgresStorage(options);
    bulkhead = new Bulkhead(config, { circuitStorage: storage });
    return call("succeed");
  },
  /** Calls the moment that the circuit opens, for `watched` to return. */
  watch: async () => {
    watched = new Promise((resolve) => {
      const listen = ({ to }: { to: string }) => {
        if (to !== "OPEN") return;
        current().off("stateChange", listen);
        resolve(call("succeed"));
      };
      current().on("stateChange", listen);
    });
  },
  watched: async () => watched,
  close: async () => current().breaker?.close(),
  look: async () => {
    const { circuitStatus: status, maxConcurrentCalls } = current().getStats();
    return { status, maxConcurrentCalls, troubles };
  },
  stop: async () => {
    await current().shutdown();
    await storage?.close();
    // After this answer; the process then ends by itself, if nothing is left open.
    setImmediate(() => process.disconnect());
  },
};

export type Commands = typeof commands;

function performanceNow(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

const [forgetful] = process.argv.slice(2);
if (forgetful !== undefined) {
  // A script that forgets close().
  await commands.start(JSON.parse(forgetful));
  console.log((await call("fail")).outcome, (await call("succeed")).code);
} else {
  process.on(
    "message",
    async ({ id, name, value }: { id: number; name: string; value: unknown }) => {
      try {
        const command = commands[name as keyof Commands] as (value: unknown) => Promise<unknown>;
        process.send?.({ id, answer: (await command(value)) ?? null });
      } catch (error) {
        process.send?.({ id, error: String(error) });
      }
    },
  );
}
