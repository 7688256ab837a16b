// A part of the benchmarks is a script of its own, so that none finds the heap or the compiled code of
// another. `run.mjs` starts it as a child and is sent the result; started by hand it prints it.
import { fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

/** A few seconds in all: shows that everything runs, not how fast. */
export const QUICK = process.argv.includes("--quick");

export async function tell(result) {
  if (process.send === undefined) console.log(JSON.stringify(result, null, 2));
  else await new Promise((resolve) => process.send(result, resolve));
}

/** The result of the part `name` of this directory. */
export async function resultOf(name, ...args) {
  const script = fileURLToPath(new URL(`${name}.mjs`, import.meta.url));
  const child = fork(script, [...args, ...(QUICK ? ["--quick"] : [])], {
    execArgv: ["--expose-gc"],
  });
  let result;
  child.once("message", (message) => {
    result = message;
  });
  const [status] = await once(child, "exit");
  if (result === undefined || status !== 0) throw new Error(`${name} ended with status ${status}`);
  return result;
}
