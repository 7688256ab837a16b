import { Headers } from "./headers.js";
import type { Abort, Base, Controller, HeaderFields } from "./protocol.js";

/**
 * The handler that a base dispatcher is given. It has both forms, and the base calls the one that it knows: undici 6 the
 * old one, 7 and 8 the new one. What they tell is the same, and so are the methods in which it ends up.
 */
export abstract class BaseHandler {
  #abort: Abort | undefined = undefined;
  #resume: (() => void) | undefined = undefined;
  #controller: Controller | undefined = undefined;
  readonly #base: Base;
  /**
   * The method by which undici 7 and 8 know their form. It is missing when the caller has the old one and the base is
   * undici 7, which would parse all headers for nothing.
   */
  readonly onRequestStart: typeof start | undefined;

  constructor(base: Base, isOldCaller: boolean) {
    this.#base = base;
    this.onRequestStart = isOldCaller && base.isOldInside ? undefined : start;
  }

  /** The request is about to be sent, for the first time or once more. */
  protected abstract started(context: unknown): void;
  protected abstract headersCame(
    statusCode: number,
    headers: Headers,
    statusText: string | undefined,
  ): void;
  protected abstract dataCame(chunk: Uint8Array): void;
  protected abstract ended(trailers: Headers): void;
  protected abstract failed(error: unknown): void;
  protected abstract upgraded(
    statusCode: number | null,
    headers: Headers | null,
    socket: unknown,
  ): unknown;
  protected abstract bodySent(chunk: unknown, total: unknown): unknown;
  protected abstract requestSent(): unknown;
  protected abstract responseStarted(): unknown;
  /** Whether the base is to stop reading the answer. */
  protected abstract get holdsBase(): boolean;

  /** Whether there is a request to abort: not before it is sent. */
  protected get isStarted(): boolean {
    return this.#abort !== undefined || this.#controller !== undefined;
  }

  /** The last one that the base gave is the one of the request that is under way. */
  protected abortBase(reason: unknown): void {
    if (this.#controller !== undefined) this.#controller.abort(reason);
    else this.#abort?.(reason);
  }

  /** In the old form a base is paused by what its next call returns. */
  protected pauseBase(): void {
    this.#controller?.pause();
  }

  protected resumeBase(): void {
    if (this.#controller !== undefined) this.#controller.resume();
    else this.#resume?.();
  }

  // In both forms

  onBodySent(chunk: unknown, total?: unknown): unknown {
    return this.bodySent(chunk, total);
  }

  onRequestSent(): unknown {
    return this.requestSent();
  }

  onResponseStarted(): unknown {
    return this.responseStarted();
  }

  // The form of undici 6

  onConnect(abort: Abort, context?: object): void {
    this.#abort = abort;
    this.started(context);
  }

  onHeaders(
    statusCode: number,
    headers: unknown,
    resume: () => void,
    statusText?: string,
  ): boolean {
    this.#resume = resume;
    this.headersCame(statusCode, new Headers(headers, undefined), statusText);
    return !this.holdsBase;
  }

  onData(chunk: Uint8Array): boolean {
    this.dataCame(chunk);
    return !this.holdsBase;
  }

  onComplete(trailers: unknown): void {
    this.ended(new Headers(trailers, undefined));
  }

  onError(error: unknown): void {
    this.failed(error);
  }

  onUpgrade(statusCode: number | null, headers: unknown, socket: unknown): unknown {
    return this.upgraded(
      statusCode,
      headers === null ? null : new Headers(headers, undefined),
      socket,
    );
  }

  // The form of undici 7 and 8

  /** What `onRequestStart` does. */
  control(controller: Controller, context?: object): void {
    this.#controller = controller;
    if (!this.#base.isOldInside) this.#base.isOldInside = isOfUndici7(controller);
    this.started(context);
  }

  onResponseStart(
    controller: Controller | null,
    statusCode: number,
    fields: HeaderFields,
    statusText?: string,
  ): void {
    this.headersCame(statusCode, new Headers(controller?.rawHeaders, fields), statusText);
  }

  onResponseData(_controller: Controller | null, chunk: Uint8Array): void {
    this.dataCame(chunk);
  }

  onResponseEnd(controller: Controller | null, fields?: HeaderFields): void {
    this.ended(new Headers(controller?.rawTrailers, fields ?? {}));
  }

  onResponseError(_controller: Controller | null, error: unknown): void {
    this.failed(error);
  }

  onRequestUpgrade(
    controller: Controller | null,
    statusCode: number | null,
    fields: HeaderFields,
    socket: unknown,
  ): unknown {
    return this.upgraded(statusCode, new Headers(controller?.rawHeaders, fields ?? {}), socket);
  }
}

/** undici 7 alone makes its controllers from what the old form has, and nothing else tells it from 8. */
function isOfUndici7(controller: Controller): boolean {
  return controller.constructor.name === "UnwrapController";
}

function start(this: BaseHandler, controller: Controller, context?: object): void {
  this.control(controller, context);
}
