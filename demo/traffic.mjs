// The clients of the fleet. What becomes of their requests is in the ledgers of the processes.
import { ask } from "./load.mjs";

const PATIENCE_MS = 2000;

/** Requests to each of some services at the same moments, whether or not earlier ones were answered. */
export class Traffic {
  #urls;
  #everyMs;
  #timer;
  #underWay = new Set();

  /**
   * @param {string[]} urls
   * @param {number} everyMs
   */
  constructor(urls, everyMs) {
    this.#urls = urls;
    this.#everyMs = everyMs;
  }

  start() {
    this.#timer = setInterval(() => {
      for (const url of this.#urls) this.#send(url);
    }, this.#everyMs);
  }

  /** Resolves when the last request is answered. */
  async stop() {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  /**
   * Asks one service, each time when it has answered, until it refuses.
   * @param {string} url
   * @param {AbortSignal} signal
   */
  async insist(url, signal) {
    while ((await ask(url, PATIENCE_MS)) !== "refused") signal.throwIfAborted();
  }

  #send(url) {
    const request = ask(url, PATIENCE_MS).finally(() => this.#underWay.delete(request));
    this.#underWay.add(request);
  }
}
