import { BaseHandler } from "./base-handler.js";
import type { Caller, RequestControl } from "./caller.js";
import type { Headers } from "./headers.js";
import type { Base } from "./protocol.js";

/**
 * A request between its caller and the base: passes everything on, from either form to either form.
 *
 * A caller that is started before the base has the request can abort it at once, and is started once, however often the
 * base starts.
 */
export class Relay extends BaseHandler implements RequestControl {
  readonly #caller: Caller;
  /** What the caller was started with. The base's own context is copied into it when it comes. */
  #context: object | undefined = undefined;
  #isPaused = false;
  #isAborted = false;
  #abortReason: unknown = null;
  #isOver = false;
  #endHasThrown = false;

  constructor(caller: Caller, base: Base) {
    super(base, caller.isOld);
    this.#caller = caller;
  }

  /** Whether the caller has its end. */
  get isOver(): boolean {
    return this.#isOver;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  get isAborted(): boolean {
    return this.#isAborted;
  }

  get abortReason(): unknown {
    return this.#abortReason;
  }

  /** Gives the caller its control of the request, before there is one. */
  protected startCaller(): void {
    this.#context = {};
    try {
      this.#caller.start(this, this.#context);
    } catch (error) {
      this.fail(error);
    }
  }

  // What the caller asks for

  pause(): void {
    this.#isPaused = true;
    if (this.holdsBase) this.pauseBase();
  }

  resume(): void {
    this.#isPaused = false;
    this.resumeBase();
  }

  abort(reason: unknown): void {
    if (this.#isOver || this.#isAborted) return;
    this.#isAborted = true;
    this.#abortReason = reason ?? null;
    this.aborting(reason);
    // The error comes from the base, if it has a request to abort.
    if (this.isStarted) this.abortBase(reason);
    else this.fail(reason ?? abortError());
  }

  /** The caller aborts, and the base does not know it yet. */
  protected aborting(_reason: unknown): void {}

  /** The caller gets an error as its end, unless it has one. */
  protected fail(error: unknown): void {
    if (this.#isOver && !this.#endHasThrown) return;
    this.#isOver = true;
    this.#endHasThrown = false;
    this.#caller.error(error);
  }

  // What the base tells

  protected get holdsBase(): boolean {
    return this.#isPaused;
  }

  protected started(context: unknown): void {
    if (this.#isOver || this.#isAborted) this.abortBase(this.#abortReason ?? abortError());
    else if (this.#context !== undefined) {
      // A plain Agent has none.
      if (context !== undefined) Object.assign(this.#context, context);
    } else {
      this.#context = Object(context);
      this.#caller.start(this, Object(context));
    }
  }

  protected headersCame(statusCode: number, headers: Headers, statusText: string | undefined) {
    if (!this.#isOver) this.#caller.headers(statusCode, headers, statusText);
  }

  protected dataCame(chunk: Uint8Array): void {
    if (!this.#isOver) this.#caller.data(chunk);
  }

  protected ended(trailers: Headers): void {
    if (this.#isOver) return;
    this.#isOver = true;
    try {
      this.#caller.end(trailers);
    } catch (error) {
      // undici's retry throws here, and waits for the error that follows.
      this.#endHasThrown = true;
      throw error;
    }
  }

  protected failed(error: unknown): void {
    this.fail(error);
  }

  protected upgraded(statusCode: number | null, headers: Headers | null, socket: unknown): unknown {
    if (this.#isOver) return undefined;
    this.#isOver = true;
    return this.#caller.upgrade(statusCode, headers, socket);
  }

  protected bodySent(chunk: unknown, total: unknown): unknown {
    return this.#isOver ? undefined : this.#caller.bodySent(chunk, total);
  }

  protected requestSent(): unknown {
    return this.#isOver ? undefined : this.#caller.requestSent();
  }

  protected responseStarted(): unknown {
    return this.#isOver ? undefined : this.#caller.responseStarted();
  }
}

/** As undici has it for a request that is aborted without a reason. */
export function abortError(): Error {
  return new DOMException("This operation was aborted", "AbortError");
}
