import { afterAll, beforeAll, expect, it } from "vitest";
import { eventually } from "../integration/eventually.js";
import { type Child, withChildren } from "../integration/fleet.js";
import { CommandLine } from "./command.js";

let commandLine: CommandLine;
beforeAll(async () => {
  commandLine = await CommandLine.create();
}, 60_000);
afterAll(() => commandLine.close());

async function run(...args: string[]): Promise<string> {
  const ended = await commandLine.run([...args, "--namespace", "my_app"]);
  expect(ended).toMatchObject({ status: 0, stderr: "" });
  return ended.stdout;
}

/** The night of docs/operations/runbook.md, in a fleet of three processes. */
it("lets an operator find why a circuit flaps, lower the limit, isolate, wait and release", async () => {
  await withChildren(3, async (children) => {
    const config = { name: "payments", failureThreshold: 2, successThreshold: 1 };
    const storage = { connectionString: commandLine.database.url, namespace: "my_app" };
    for (const child of children) {
      await child.ask("start", {
        config: { ...config, isolationDuration: 0.1, maxConcurrentCalls: 10 },
        storage: { ...storage, queryTimeoutSeconds: 10 },
      });
    }
    const looks = () => Promise.all(children.map((child) => child.ask("look")));
    const all = (is: (look: Awaited<ReturnType<typeof looks>>[number]) => boolean) =>
      eventually(async () => (await looks()).every(is));

    // The dependency is half well: the circuit opens, is closed by a probe, and opens again.
    const [first, second] = children as [Child, Child, Child];
    for (let round = 0; round < 3; round++) {
      await fail(first);
      await succeed(second);
    }

    const history = await run("history", "payments", "--since", "10m");
    expect(history.match(/ CLOSED +OPEN .* 2 consecutive failures: Error/gm)).toHaveLength(3);
    expect(history).toContain(` ${first.process.pid}  `);
    expect(history).toMatch(/^payments: opened \d+ times, not closed for /m);

    const set = ["maxConcurrentCalls=5", "--for", "1h", "--reason", "slow since 2:50"];
    expect(await run("set", "payments", ...set)).toContain("maxConcurrentCalls=5 until ");
    await all(({ maxConcurrentCalls }) => maxConcurrentCalls === 5);
    expect(await run("status")).toContain("set maxConcurrentCalls=5 until ");

    await run("isolate", "payments", "--for", "2h", "--reason", "the provider restarts");
    expect(await run("wait", "payments", "--open", "--timeout", "1m")).toBe("payments is OPEN.\n");
    await all(({ status }) => status === "OPEN");
    expect(await run("status", "payments")).toMatch(/^why +the provider restarts$/m);

    const waiting = commandLine.start(["wait", "payments", "--closed", "--namespace", "my_app"]);
    await run("release", "payments");
    expect(await waiting.ended).toMatchObject({ status: 0, stdout: "payments is CLOSED.\n" });
    await all(({ status }) => status === "CLOSED");
    await run("unset", "payments");
    await all(({ maxConcurrentCalls }) => maxConcurrentCalls === 10);
    for (const { troubles } of await looks()) expect(troubles).toEqual([]);

    const kept = JSON.parse(await run("history", "payments", "--json"));
    expect(kept.changes.at(-1)).toMatchObject({ from: "OPEN", to: "CLOSED" });
    expect(kept.changes.at(-2)).toMatchObject({ to: "OPEN", reason: "the provider restarts" });
  });
}, 120_000);

/** Until the circuit is open for the whole fleet. */
async function fail(child: Child): Promise<void> {
  await eventually(async () => {
    await child.ask("call", "fail");
    return (await state()) === "OPEN";
  });
}

async function succeed(child: Child): Promise<void> {
  await eventually(async () => {
    await child.ask("call", "succeed");
    return (await state()) === "CLOSED";
  });
}

async function state(): Promise<string | undefined> {
  const [row] = await commandLine.database.query<{ state: string }>(
    "SELECT state FROM rc_circuit_breakers WHERE resource_key = 'payments'",
  );
  return row?.state;
}
