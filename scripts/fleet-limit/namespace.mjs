// @ts-check
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { promisify } from "node:util";

const ip = (/** @type {string} */ command) => promisify(execFile)("ip", command.split(" "));

const HERE = "10.231.77.1";
const THERE = "10.231.77.2";

/** A network namespace of this machine, from which only a PostgreSQL can be reached, and that can be cut off. */
export class Namespace {
  #name;
  #link;
  /** @type {import("node:net").Server | undefined} */
  #forwarder = undefined;
  #port = 0;

  constructor() {
    const id = process.pid.toString(36).slice(-6);
    this.#name = `bulkman-${id}`;
    this.#link = `bm${id}`;
  }

  /**
   * @param {number} serverPort of a PostgreSQL on 127.0.0.1
   * @returns {Promise<Namespace | string>} the namespace, or why there is none
   */
  static async create(serverPort) {
    const namespace = new Namespace();
    try {
      await namespace.#open(serverPort);
      return namespace;
    } catch (error) {
      await namespace.remove();
      return `ip netns: ${String(error).split("\n")[0]}`;
    }
  }

  /** The command that runs a program in the namespace. */
  get prefix() {
    return ["ip", "netns", "exec", this.#name];
  }

  /** The database's URL inside. @param {string} url */
  urlOf(url) {
    const inside = new URL(url);
    inside.hostname = HERE;
    inside.port = String(this.#port);
    return inside.href;
  }

  async cut() {
    await ip(`netns exec ${this.#name} ip link set ${this.#link}i down`);
  }

  async mend() {
    await ip(`netns exec ${this.#name} ip link set ${this.#link}i up`);
  }

  async remove() {
    await ip(`netns del ${this.#name}`).catch(() => {});
    await ip(`link del ${this.#link}`).catch(() => {});
    this.#forwarder?.close();
  }

  /** @param {number} serverPort */
  async #open(serverPort) {
    const inside = `${this.#link}i`;
    await ip(`netns add ${this.#name}`);
    await ip(`link add ${this.#link} type veth peer name ${inside}`);
    await ip(`link set ${inside} netns ${this.#name}`);
    await ip(`addr add ${HERE}/30 dev ${this.#link}`);
    await ip(`link set ${this.#link} up`);
    await ip(`netns exec ${this.#name} ip addr add ${THERE}/30 dev ${inside}`);
    await ip(`netns exec ${this.#name} ip link set ${inside} up`);
    await ip(`netns exec ${this.#name} ip link set lo up`);
    this.#forwarder = createServer((incoming) => {
      const outgoing = connect(serverPort, "127.0.0.1");
      for (const socket of [incoming, outgoing]) socket.on("error", () => socket.destroy());
      incoming.on("close", () => outgoing.destroy());
      outgoing.on("close", () => incoming.destroy());
      incoming.pipe(outgoing).pipe(incoming);
    });
    this.#forwarder.listen(0, HERE);
    await once(this.#forwarder, "listening");
    const address = this.#forwarder.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    this.#port = address.port;
  }
}
