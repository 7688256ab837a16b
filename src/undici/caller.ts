import type { Headers } from "./headers.js";
import {
  type Controller,
  isNewHandler,
  isOldHandler,
  type NewHandler,
  type OldHandler,
} from "./protocol.js";

/** What a caller can do with its request. */
export interface RequestControl {
  readonly isPaused: boolean;
  readonly isAborted: boolean;
  readonly abortReason: unknown;
  pause(): void;
  resume(): void;
  abort(reason: unknown): void;
}

/**
 * Who dispatched a request, in whichever form its handler has. The methods of the handler are called on the handler itself:
 * it can have private fields, which a Proxy around it would hide.
 */
export interface Caller {
  /** Whether its handler has the form of undici 6. */
  readonly isOld: boolean;
  /** Hands over the control of the request. */
  start(control: RequestControl, context: object): void;
  headers(statusCode: number, headers: Headers, statusText: string | undefined): void;
  data(chunk: Uint8Array): void;
  end(trailers: Headers): void;
  error(error: unknown): void;
  upgrade(statusCode: number | null, headers: Headers | null, socket: unknown): unknown;
  bodySent(chunk: unknown, total: unknown): unknown;
  requestSent(): unknown;
  responseStarted(): unknown;
}

/** @returns `undefined` for a handler of neither form */
export function callerOf(handler: object): Caller | undefined {
  if (isNewHandler(handler)) return new NewCaller(handler);
  return isOldHandler(handler) ? new OldCaller(handler) : undefined;
}

/** A caller with a handler of undici 6. It pauses the request by what its handler returns. */
class OldCaller implements Caller {
  readonly isOld = true;
  readonly #handler: OldHandler;
  #control: RequestControl | undefined = undefined;

  constructor(handler: OldHandler) {
    this.#handler = handler;
  }

  start(control: RequestControl, context: object): void {
    this.#control = control;
    this.#handler.onConnect((reason) => control.abort(reason), context);
  }

  headers(statusCode: number, headers: Headers, statusText: string | undefined): void {
    const resume = () => this.#control?.resume();
    const returned = this.#handler.onHeaders?.(statusCode, headers.raw, resume, statusText);
    // There is no body yet that could be paused.
    if (returned === false && statusCode >= 200) this.#control?.pause();
  }

  data(chunk: Uint8Array): void {
    if (this.#handler.onData?.(chunk) === false) this.#control?.pause();
  }

  end(trailers: Headers): void {
    this.#handler.onComplete?.(trailers.raw);
  }

  error(error: unknown): void {
    this.#handler.onError(error);
  }

  upgrade(statusCode: number | null, headers: Headers | null, socket: unknown): unknown {
    return this.#handler.onUpgrade?.(statusCode, headers?.raw ?? null, socket);
  }

  bodySent(chunk: unknown, total: unknown): unknown {
    return this.#handler.onBodySent?.(chunk, total);
  }

  requestSent(): unknown {
    return this.#handler.onRequestSent?.();
  }

  responseStarted(): unknown {
    return this.#handler.onResponseStarted?.();
  }
}

/** A caller with a handler of undici 7 or 8, which controls the request by a {@link Controller}. */
class NewCaller implements Caller {
  readonly isOld = false;
  readonly #handler: NewHandler;
  /** `null` while there is no request to control, as undici 8 has it. */
  #controller: CallerController | null = null;

  constructor(handler: NewHandler) {
    this.#handler = handler;
  }

  start(control: RequestControl, context: object): void {
    this.#controller = new CallerController(control);
    this.#handler.onRequestStart(this.#controller, context);
  }

  headers(statusCode: number, headers: Headers, statusText: string | undefined): void {
    this.#setRawHeaders(headers);
    this.#handler.onResponseStart?.(this.#controller, statusCode, headers.fields, statusText);
  }

  data(chunk: Uint8Array): void {
    this.#handler.onResponseData?.(this.#controller, chunk);
  }

  end(trailers: Headers): void {
    if (this.#controller !== null) this.#controller.rawTrailers = trailers.given;
    this.#handler.onResponseEnd?.(this.#controller, trailers.fields);
  }

  error(error: unknown): void {
    this.#handler.onResponseError?.(this.#controller, error);
  }

  upgrade(statusCode: number | null, headers: Headers | null, socket: unknown): unknown {
    this.#setRawHeaders(headers);
    const fields = headers?.fields ?? {};
    return this.#handler.onRequestUpgrade?.(this.#controller, statusCode, fields, socket);
  }

  bodySent(chunk: unknown, total: unknown): unknown {
    return this.#handler.onBodySent?.(chunk, total);
  }

  requestSent(): unknown {
    return this.#handler.onRequestSent?.();
  }

  responseStarted(): unknown {
    return this.#handler.onResponseStarted?.();
  }

  #setRawHeaders(headers: Headers | null): void {
    if (this.#controller !== null) this.#controller.rawHeaders = headers?.given ?? null;
  }
}

/** What a handler of undici 7 or 8 is given, before there is a request and while there is one. */
class CallerController implements Controller {
  rawHeaders: unknown = null;
  rawTrailers: unknown = null;
  readonly #control: RequestControl;

  constructor(control: RequestControl) {
    this.#control = control;
  }

  get paused(): boolean {
    return this.#control.isPaused;
  }

  get aborted(): boolean {
    return this.#control.isAborted;
  }

  get reason(): unknown {
    return this.#control.abortReason;
  }

  pause(): void {
    this.#control.pause();
  }

  resume(): void {
    this.#control.resume();
  }

  abort(reason?: unknown): void {
    this.#control.abort(reason);
  }
}
