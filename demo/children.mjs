import { fork } from "node:child_process";
import { once } from "node:events";

/** The processes that a demo starts: watched together, ended together. */
export class Children {
  #running = new Set();
  #isEnding = false;
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
   */
  async start(name, file, settings, signal) {
    const child = fork(file, [JSON.stringify(settings)], {
      execArgv: [],
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#running.add(child);
    child.once("exit", (status, killedBy) => {
      this.#running.delete(child);
      if (this.#isEnding) return;
      this.#onLoss(new Error(`the process of ${name} ended: ${killedBy ?? `status ${status}`}`));
    });
    const [{ url }] = await once(child, "message", { signal });
    return { child, url };
  }

  /** Ends every process; they have nothing to save. Resolves when all are gone. */
  async end() {
    this.#isEnding = true;
    await Promise.all(
      [...this.#running].map((child) => {
        const gone = once(child, "exit");
        child.kill("SIGKILL");
        return gone;
      }),
    );
    this.#isEnding = false;
  }
}
