import { type ChildProcess, fork } from "node:child_process";
import { join } from "node:path";
import type { Commands } from "./child.js";
import { service } from "./database.js";

type Argument<Name extends keyof Commands> = Parameters<Commands[Name]>[0];
type Answer<Name extends keyof Commands> = Awaited<ReturnType<Commands[Name]>>;

interface Message {
  readonly answer?: unknown;
  readonly error?: string;
}

/** A real process that runs `child.ts`. */
export class Child {
  readonly process: ChildProcess;
  readonly #waiting = new Map<number, (message: Message) => void>();
  #id = 0;

  constructor(file: string) {
    this.process = fork(file, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.process.on("message", (message: Message & { id: number }) => {
      this.#waiting.get(message.id)?.(message);
      this.#waiting.delete(message.id);
    });
    this.process.on("exit", () => {
      for (const answer of this.#waiting.values()) answer({ error: "the process has ended" });
    });
  }

  async ask<Name extends keyof Commands>(
    name: Name,
    ...[value]: Argument<Name> extends undefined ? [] : [Argument<Name>]
  ): Promise<Answer<Name>> {
    const id = this.#id++;
    const { answer, error } = await new Promise<Message>((resolve) => {
      this.#waiting.set(id, resolve);
      this.process.send({ id, name, value });
    });
    if (error !== undefined) throw new Error(error);
    return answer as Answer<Name>;
  }

  async kill(): Promise<void> {
    await this.#exited(() => this.process.kill("SIGKILL"));
  }

  /** Ends it as a service ends: by itself, after it has closed everything. */
  async stop(): Promise<void> {
    await this.#exited(() => void this.ask("stop").catch(() => {}));
  }

  async #exited(end: () => void): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    await new Promise((resolve) => {
      this.process.once("exit", resolve);
      end();
    });
  }
}

/** Processes that end with the test. */
export async function withChildren<T>(
  count: number,
  body: (children: Child[]) => Promise<T>,
): Promise<T> {
  const file = join(await service<string>("child"), "child.js");
  const children = Array.from({ length: count }, () => new Child(file));
  try {
    return await body(children);
  } finally {
    await Promise.all(children.map((child) => child.kill()));
  }
}
