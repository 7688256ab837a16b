// The clients of the fleet.
import { ask } from "./load.mjs";

const PATIENCE_MS = 2000;

/** Requests to each of some services at the same moments, whether or not earlier ones were answered. */
export class Traffic {
  #urls;
  #everyMs;
  #timer;
  #underWay = new Set();
  /** How many requests to each service had each outcome. */
  #tallies = new Map();

  /**
   * @param {string[]} urls
   * @param {number} everyMs
   */
  constructor(urls, everyMs) {
    this.#urls = urls;
    this.#everyMs = everyMs;
    for (const url of urls) {
      this.#tallies.set(url, { succeeded: 0, refused: 0, failed: 0, gaveUp: 0 });
    }
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

  /**
   * How many of the answered requests to these services had one of these outcomes.
   * @param {string[]} urls
   * @param {import("./load.mjs").Outcome[]} outcomes all of them when there is none
   */
  count(urls, ...outcomes) {
    const tallies = urls.map((url) => this.#tallies.get(url));
    return tallies.reduce((sum, tally) => {
      const counted = outcomes.length === 0 ? Object.keys(tally) : outcomes;
      return counted.reduce((part, outcome) => part + tally[outcome], sum);
    }, 0);
  }

  /** Sends no more requests to this service. */
  leave(url) {
    this.#urls = this.#urls.filter((other) => other !== url);
  }

  #send(url) {
    const request = ask(url, PATIENCE_MS).then((outcome) => {
      this.#tallies.get(url)[outcome]++;
      this.#underWay.delete(request);
    });
    this.#underWay.add(request);
  }
}
