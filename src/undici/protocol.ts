// The protocol between a dispatcher of undici and who dispatches, in both forms. By its shape: undici is no dependency.

/** The request of a dispatch. What else is in it goes to the base as it is. */
export interface DispatchOptions {
  readonly origin?: string | URL | undefined;
  readonly path?: string | undefined;
  readonly method?: string | undefined;
  readonly body?: unknown;
  readonly signal?: unknown;
}

/** Names and values in turns, as they came: texts or bytes. */
export type RawHeaders = ReadonlyArray<Uint8Array | string | ReadonlyArray<Uint8Array | string>>;

/** Headers, or trailers, by their names in lower case. */
export type HeaderFields = Record<string, string | string[] | undefined>;

/** Aborts a request. Without a reason the error is an `AbortError`. */
export type Abort = (reason?: unknown) => void;

/** The handler of a dispatch as undici 6 has it. */
export interface OldHandler {
  onConnect(abort: Abort, context: object): void;
  onHeaders?(
    statusCode: number,
    headers: RawHeaders,
    resume: () => void,
    statusText: string | undefined,
  ): unknown;
  onData?(chunk: Uint8Array): unknown;
  onComplete?(trailers: unknown): void;
  onError(error: unknown): void;
  onUpgrade?(statusCode: number | null, headers: RawHeaders | null, socket: unknown): unknown;
  onBodySent?(chunk: unknown, total?: unknown): unknown;
  onRequestSent?(): unknown;
  onResponseStarted?(): unknown;
}

/** What controls a request in undici 7 and 8. */
export interface Controller {
  readonly paused: boolean;
  readonly aborted: boolean;
  readonly reason: unknown;
  rawHeaders?: unknown;
  rawTrailers?: unknown;
  pause(): void;
  resume(): void;
  abort(reason?: unknown): void;
}

/** The handler of a dispatch as undici 7 and 8 have it. */
export interface NewHandler {
  onRequestStart(controller: Controller, context: object): void;
  onRequestUpgrade?(
    controller: Controller | null,
    statusCode: number | null,
    headers: HeaderFields,
    socket: unknown,
  ): unknown;
  onResponseStart?(
    controller: Controller | null,
    statusCode: number,
    headers: HeaderFields,
    statusText: string | undefined,
  ): void;
  onResponseData?(controller: Controller | null, chunk: Uint8Array): void;
  onResponseEnd?(controller: Controller | null, trailers: HeaderFields): void;
  onResponseError?(controller: Controller | null, error: unknown): void;
  onBodySent?(chunk: unknown, total?: unknown): unknown;
  onRequestSent?(): unknown;
  onResponseStarted?(): unknown;
}

/** Dispatches a request: `false` when no more should follow before the event `drain`. */
export type Dispatch = (options: object, handler: object) => boolean;

/** What a guard dispatches over. */
export class Base {
  readonly dispatch: Dispatch;
  /** Of a base that has only one. */
  readonly origin: unknown;
  /** It has only the old form inside, as undici 7 does: it puts handlers of the new one into one of its own. */
  isOldInside = false;

  constructor(dispatch: Dispatch, origin?: unknown) {
    this.dispatch = dispatch;
    this.origin = origin;
  }
}

/** `dispatch` of any version of undici. */
export type AnyDispatch = (options: never, handler: never) => unknown;

/** A dispatcher of any version of undici. */
export interface AnyDispatcher {
  /** Sends a request. */
  dispatch(options: never, handler: never): unknown;
}

/** Whether the handler has the form of undici 7 and 8. A handler that has both forms is used in this one. */
export function isNewHandler(handler: {
  readonly onRequestStart?: unknown;
}): handler is NewHandler {
  return typeof handler.onRequestStart === "function";
}

export function isOldHandler(handler: {
  readonly onConnect?: unknown;
  readonly onError?: unknown;
}): handler is OldHandler {
  return typeof handler.onConnect === "function" && typeof handler.onError === "function";
}
