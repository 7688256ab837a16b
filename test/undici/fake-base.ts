import type { Controller, NewHandler, OldHandler } from "../../src/undici/protocol.js";

type BothForms = NewHandler & OldHandler;
type Fields = Record<string, string | string[]>;

/** In which form a base calls the handler that it is given. */
export type Form = "old" | "new";

/** A request that a {@link FakeBase} was given: the test plays the server. */
export class FakeRequest {
  readonly options: Record<string, unknown>;
  readonly abortedWith: unknown[] = [];
  isPaused = false;
  resumes = 0;
  readonly #handler: BothForms;
  readonly #form: Form;
  readonly controller: Controller;
  /** How the base ends an aborted request. */
  onAbort = (reason: unknown) => this.error(reason ?? new Error("aborted"));

  constructor(options: Record<string, unknown>, handler: BothForms, form: Form) {
    this.options = options;
    this.#handler = handler;
    this.#form = form;
    const base = this;
    this.controller = {
      get paused() {
        return base.isPaused;
      },
      get aborted() {
        return base.abortedWith.length > 0;
      },
      get reason() {
        return base.abortedWith[0] ?? null;
      },
      rawHeaders: null,
      rawTrailers: null,
      pause: () => {
        base.isPaused = true;
      },
      resume: () => base.#resume(),
      abort: (reason) => base.#abort(reason),
    };
  }

  #abort(reason: unknown): void {
    this.abortedWith.push(reason);
    this.onAbort(reason);
  }

  #resume(): void {
    this.isPaused = false;
    this.resumes++;
  }

  start(context?: object): void {
    if (this.#form === "new") this.#handler.onRequestStart(this.controller, context ?? {});
    else this.#handler.onConnect((reason) => this.#abort(reason), context ?? {});
  }

  headers(statusCode: number, fields: Fields = {}): void {
    const raw = rawOf(fields);
    if (this.#form === "new") {
      this.controller.rawHeaders = raw;
      this.#handler.onResponseStart?.(this.controller, statusCode, fields, "text");
    } else if (this.#handler.onHeaders?.(statusCode, raw, () => this.#resume(), "text") === false) {
      this.isPaused = true;
    }
  }

  data(text: string | Uint8Array): void {
    const chunk = Buffer.from(text);
    if (this.#form === "new") this.#handler.onResponseData?.(this.controller, chunk);
    else if (this.#handler.onData?.(chunk) === false) this.isPaused = true;
  }

  end(trailers: Fields = {}): void {
    if (this.#form === "new") {
      this.controller.rawTrailers = rawOf(trailers);
      this.#handler.onResponseEnd?.(this.controller, trailers);
    } else {
      this.#handler.onComplete?.(rawOf(trailers));
    }
  }

  error(error: unknown): void {
    if (this.#form === "new") this.#handler.onResponseError?.(this.controller, error);
    else this.#handler.onError(error);
  }

  upgrade(statusCode: number, socket: unknown): void {
    if (this.#form === "new")
      this.#handler.onRequestUpgrade?.(this.controller, statusCode, {}, socket);
    else this.#handler.onUpgrade?.(statusCode, [], socket);
  }
}

/** A base dispatcher without a network. */
export class FakeBase {
  readonly requests: FakeRequest[] = [];
  readonly form: Form;
  /** Called within `dispatch`. */
  onDispatch: (request: FakeRequest) => void = () => {};

  constructor(form: Form) {
    this.form = form;
  }

  dispatch(options: object, handler: object): boolean {
    const request = new FakeRequest({ ...options }, handler as BothForms, this.form);
    this.requests.push(request);
    this.onDispatch(request);
    return true;
  }

  /** The request of that number, from 0. */
  at(index: number): FakeRequest {
    const request = this.requests[index];
    if (request === undefined) throw new Error(`The base has no request ${index}`);
    return request;
  }
}

function rawOf(fields: Fields): Buffer[] {
  return Object.entries(fields).flatMap(([name, value]) =>
    [value].flat().flatMap((each) => [Buffer.from(name), Buffer.from(each)]),
  );
}

/** What a {@link Caller} was told, in its order. */
export type Told =
  | ["start"]
  | ["headers", number, Fields]
  | ["data", string]
  | ["end", Fields]
  | ["error", unknown]
  | ["upgrade", number | null];

/** A caller in either form, which notes what it is told. */
export class FakeCaller {
  readonly told: Told[] = [];
  /** What it does when it is told something. */
  on: Partial<Record<Told[0], () => void>> = {};
  /** Whether it has no room for more. */
  isFull = false;
  abort: (reason?: unknown) => void = () => {};
  resume: () => void = () => {};
  controller: Controller | undefined;
  context: object = {};
  readonly form: Form;

  constructor(form: Form) {
    this.form = form;
  }

  #note(...told: Told): void {
    this.told.push(told);
    this.on[told[0]]?.();
  }

  get handler(): OldHandler | NewHandler {
    return this.form === "old" ? this.#oldHandler : this.#newHandler;
  }

  get #oldHandler(): OldHandler {
    return {
      onConnect: (abort, context) => {
        this.abort = abort;
        this.context = context;
        this.#note("start");
      },
      onHeaders: (statusCode, raw, resume) => {
        this.resume = resume;
        this.#note("headers", statusCode, fieldsOf(raw));
        return !this.isFull;
      },
      onData: (chunk) => {
        this.#note("data", Buffer.from(chunk).toString());
        return !this.isFull;
      },
      onComplete: (trailers) => this.#note("end", fieldsOf(trailers as Buffer[])),
      onError: (error) => this.#note("error", error),
      onUpgrade: (statusCode) => this.#note("upgrade", statusCode),
    };
  }

  get #newHandler(): NewHandler {
    const pauseIfFull = (controller: Controller | null) => {
      if (this.isFull) controller?.pause();
    };
    return {
      onRequestStart: (controller, context) => {
        this.controller = controller;
        this.abort = (reason) => controller.abort(reason);
        this.resume = () => controller.resume();
        this.context = context;
        this.#note("start");
      },
      onResponseStart: (controller, statusCode, fields) => {
        this.#note("headers", statusCode, fields as Fields);
        pauseIfFull(controller);
      },
      onResponseData: (controller, chunk) => {
        this.#note("data", Buffer.from(chunk).toString());
        pauseIfFull(controller);
      },
      onResponseEnd: (_controller, trailers) => this.#note("end", trailers as Fields),
      onResponseError: (_controller, error) => this.#note("error", error),
      onRequestUpgrade: (_controller, statusCode) => this.#note("upgrade", statusCode),
    };
  }
}

function fieldsOf(raw: ReadonlyArray<unknown>): Fields {
  const fields: Fields = {};
  for (let i = 0; i < raw.length; i += 2) fields[String(raw[i])] = String(raw[i + 1]);
  return fields;
}
