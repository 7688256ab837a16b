import { fork } from "node:child_process";
import { once } from "node:events";

/** A child that is asked to end has this long; the database, which takes longest, needs a tenth of it. */
const PATIENCE_MS = 5000;

/** The processes that a demo starts: watched together, ended together. */
export class Children {
  #running = new Set();
  #isEnding = false;
  #killed = new Set();
  #onLoss;

  /** @param {(error: Error) => void} onLoss told when a process ends that should not */
  constructor(onLoss) {
    this.#onLoss = onLoss;
  }

  /**
   * Starts a process and waits until it serves.
   * @param {string} name for messages
   * @param {URL} file
   * @param {object} settings what the process finds in `child.mjs`
   * @param {AbortSignal} signal
   * @param {{ detached?: boolean }} [options] `detached`: out of reach of the terminal's Ctrl-C, and of
   *   whatever else is sent to this process's group
   */
  async start(name, file, settings, signal, { detached = false } = {}) {
    signal.throwIfAborted();
    const child = fork(file, [], {
      // Not as an argument: every user of the machine can read those.
      env: { ...process.env, DEMO_SETTINGS: JSON.stringify(settings) },
      execArgv: [],
      detached,
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#running.add(child);
    child.once("exit", (status, killedBy) => {
      this.#running.delete(child);
      if (this.#isEnding || this.#killed.has(child)) return;
      this.#onLoss(new Error(`the process of ${name} ended: ${killedBy ?? `status ${status}`}`));
    });
    const [{ url }] = await once(child, "message", { signal });
    return { child, url };
  }

  /**
   * Kills a process as a crash does. Resolves when it is gone.
   * @param {import("node:child_process").ChildProcess} child
   */
  async kill(child) {
    this.#killed.add(child);
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** Ends every process, the youngest first: an older one may serve it. Resolves when all are gone. */
  async end() {
    this.#isEnding = true;
    for (const child of [...this.#running].reverse()) {
      const gone = once(child, "exit");
      if (child.connected) child.disconnect();
      const overdue = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
      await gone;
      clearTimeout(overdue);
    }
    this.#isEnding = false;
  }
}
