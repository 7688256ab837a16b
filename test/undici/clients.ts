import type { AnyDispatcher } from "../../src/undici/index.js";

/** A body of a response, as far as all versions have it in common. */
interface TextBody {
  text(): Promise<string>;
}

interface FetchResponse extends TextBody {
  readonly status: number;
  readonly url: string;
  readonly redirected: boolean;
  readonly body: ReadableStream<Uint8Array> | null;
  readonly headers: { get(name: string): string | null };
}

export type Fetch = (
  url: string,
  init: { dispatcher: AnyDispatcher } & Record<string, unknown>,
) => Promise<FetchResponse>;

interface RequestBody extends TextBody, AsyncIterable<Uint8Array> {
  destroy(error?: Error): unknown;
  on(event: "error", listener: () => void): unknown;
  dump(): Promise<void>;
}

type Request = (
  url: string,
  options: { dispatcher: AnyDispatcher } & Record<string, unknown>,
) => Promise<{
  statusCode: number;
  headers: Record<string, string | string[] | undefined>;
  trailers: Record<string, string>;
  body: RequestBody;
}>;

/** What of undici the tests use, of any version. */
export interface Undici {
  readonly fetch: Fetch;
  readonly request: Request;
  readonly Agent: new (options?: object) => Dispatcher;
  readonly MockAgent: new () => MockAgent;
  readonly RetryAgent: new (dispatcher: object, options?: object) => Dispatcher;
  readonly interceptors: Readonly<Record<string, (options?: object) => unknown>>;
  setGlobalDispatcher(dispatcher: AnyDispatcher): void;
  upgrade(url: string, options: object): Promise<{ socket: Socket; statusCode?: number }>;
  connect(url: string, options: object): Promise<{ socket: Socket; statusCode: number }>;
  stream(url: string, options: object, factory: () => unknown): Promise<unknown>;
}

interface Socket {
  destroy(): void;
}

export interface Dispatcher extends AnyDispatcher {
  compose(...interceptors: unknown[]): Dispatcher;
  close(): Promise<void>;
  destroy(): Promise<void>;
}

interface MockAgent extends Dispatcher {
  disableNetConnect(): void;
  get(origin: string): {
    intercept(options: object): {
      reply(statusCode: number, data: string): { times(count: number): unknown };
      replyWithError(error: Error): unknown;
    };
  };
}

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
/** undici 8 needs Node.js 22.19. */
export const RUNS_UNDICI_8 = major > 22 || (major === 22 && minor >= 19);

/** The versions of undici that this Node.js runs. Their types differ from one another: {@link Undici} is what they share. */
export const UNDICIS: ReadonlyArray<[name: string, Undici]> = [
  ["undici-6", (await import("undici-6")) as unknown as Undici],
  ["undici-7", (await import("undici-7")) as unknown as Undici],
  ...(RUNS_UNDICI_8 ? [await undici8()] : []),
];

async function undici8(): Promise<[name: string, Undici]> {
  return ["undici-8", (await import("undici-8")) as unknown as Undici];
}

/** Node's own fetch, and those of the packages. */
export const FETCHES: ReadonlyArray<[name: string, fetch: Fetch]> = [
  ["the global fetch", fetch as unknown as Fetch],
  ...UNDICIS.map(([name, undici]): [string, Fetch] => [`fetch of ${name}`, undici.fetch]),
];

/** Each fetch over the dispatcher of Node.js, and over an Agent of each version. */
export const FETCHES_OVER_AGENTS = FETCHES.flatMap(([name, fetch]) => [
  { name: `${name} over the global dispatcher`, fetch, makeAgent: () => undefined },
  ...UNDICIS.map(([version, { Agent }]) => ({
    name: `${name} over an Agent of ${version}`,
    fetch,
    makeAgent: (): Dispatcher | undefined => new Agent(),
  })),
]);
