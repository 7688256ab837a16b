import { AsyncResource } from "node:async_hooks";
import type { Bulkhead } from "../bulkhead.js";
import { oneLine } from "../common/describe.js";
import { HOLD } from "../common/hold-key.js";
import { BulkheadTimeoutError } from "../errors.js";
import type { Hold, PermitHolder } from "../hold.js";
import type { Caller } from "./caller.js";
import type { Headers } from "./headers.js";
import type { BodyWatch, IdleBody } from "./idle-bodies.js";
import type { Origin } from "./origins.js";
import type { Base, DispatchOptions } from "./protocol.js";
import { abortError, Relay } from "./relay.js";
import { RequestBody } from "./request-body.js";
import type { GuardSettings } from "./settings.js";
import { isOwnFault, isRedirect, judgeHead, ResponseStatusError } from "./verdict.js";

/** How much of a redirect's body is read although its reader has paused. */
const MAX_UNREAD_BYTES = 1024 * 1024;

/**
 * One guarded request: it gets its permit before the base has it, gives the circuit one verdict, and returns the permit
 * when its response has ended.
 */
export class Exchange extends Relay implements PermitHolder, IdleBody {
  readonly #settings: GuardSettings;
  readonly #origin: Origin;
  readonly #options: DispatchOptions;
  readonly #base: Base;
  readonly #body: RequestBody | undefined;
  /** The caller's `AsyncLocalStorage` context, for its `isFailure`. */
  readonly #context: AsyncResource | undefined;
  /** From the request for a permit until it is settled. */
  #permit: Hold | undefined = undefined;
  #isGranted = false;
  #isJudged = false;
  /** What the caller's handler threw: it comes back as the error of the request. */
  #thrown: { readonly error: unknown } | undefined = undefined;

  // The body of the response
  #isRedirect = false;
  #unreadBytes = 0;
  watch: BodyWatch | undefined = undefined;
  #isHeldBack = false;
  #heldBack: { readonly error: unknown } | undefined = undefined;

  constructor(
    caller: Caller,
    origin: Origin,
    options: DispatchOptions,
    base: Base,
    settings: GuardSettings,
  ) {
    super(caller, base);
    this.#origin = origin;
    this.#options = options;
    this.#base = base;
    this.#settings = settings;
    this.#body = RequestBody.of(options.body);
    this.#context =
      settings.isFailure === undefined ? undefined : new AsyncResource("BulkheadGuard");
  }

  get bulkhead(): Bulkhead {
    return this.#origin.bulkhead;
  }

  /** Takes a permit, and then dispatches the request. */
  begin(): void {
    this.#origin.enter();
    this.startCaller();
    if (this.isOver) {
      this.#origin.leave();
      if (this.isAborted) this.#recordAbort();
      return;
    }
    this.#permit = this.bulkhead[HOLD](this);
    if (this.#isGranted) this.#send();
  }

  /** It was aborted before a permit was asked for, and is counted all the same. */
  #recordAbort(): void {
    const signal = AbortSignal.abort(this.#whyAborted(this.abortReason));
    this.bulkhead.acquire({ signal }).catch(() => {});
  }

  granted(): void {
    this.#isGranted = true;
    // Within begin() there is no permit yet; otherwise not from within the bulkhead, which serves its queue.
    if (this.#permit !== undefined) queueMicrotask(() => this.#send());
  }

  rejected(error: unknown): void {
    queueMicrotask(() => {
      this.#permit = undefined;
      this.#origin.leave();
      this.fail(error);
    });
  }

  cut(reason: unknown): void {
    // The verdict of its caller's own abort comes by here, too.
    if (!this.isAborted) queueMicrotask(() => this.#abortWith(reason));
  }

  #send(): void {
    if (this.isOver) return;
    const body = this.#body?.replacement;
    try {
      this.#base.dispatch(body === undefined ? this.#options : { ...this.#options, body }, this);
    } catch (error) {
      this.failed(error);
    }
  }

  #abortWith(error: unknown): void {
    if (this.isStarted) this.abortBase(error);
    this.failed(error);
  }

  // The permit

  /** Returns it, with a verdict unless there was one. */
  #release(verdict?: "success" | { readonly error: unknown }): void {
    const permit = this.#permit;
    if (permit === undefined) return;
    this.#permit = undefined;
    this.watch?.stop();
    if (verdict === undefined || this.#isJudged) permit.drop();
    else if (verdict === "success") permit.settle(true, undefined);
    else permit.settle(false, verdict.error);
    this.#origin.leave();
  }

  // What the caller asks for

  override abort(reason: unknown): void {
    if (this.#heldBack !== undefined) {
      this.#tellHeldBack();
      return;
    }
    super.abort(reason);
    if (this.isAborted && this.#isGranted) this.#release();
  }

  /** First the verdict: the base may end the request from within its abort. */
  protected override aborting(reason: unknown): void {
    if (!this.#isJudged) this.#permit?.leave(this.#whyAborted(reason));
  }

  /** A body that is destroyed for a signal's sake comes without its reason. */
  #whyAborted(reason: unknown): unknown {
    const signal: unknown = this.#options.signal;
    const given = reason ?? (signal instanceof AbortSignal ? signal.reason : undefined);
    return given ?? abortError();
  }

  override resume(): void {
    this.#unreadBytes = 0;
    this.watch?.moved();
    super.resume();
    if (this.#heldBack !== undefined) this.#tellHeldBack();
  }

  protected override get holdsBase(): boolean {
    return this.isPaused && !this.#isRedirect;
  }

  // What the base tells

  protected override headersCame(
    statusCode: number,
    headers: Headers,
    statusText: string | undefined,
  ): void {
    if (this.isOver) return;
    if (statusCode >= 200) this.#onHead(statusCode, headers);
    try {
      super.headersCame(statusCode, headers, statusText);
    } catch (error) {
      this.#thrown = { error };
      throw error;
    }
  }

  #onHead(statusCode: number, headers: Headers): void {
    const permit = this.#permit;
    if (permit === undefined) return;
    permit.endTimeLimit();
    this.#judge(permit, statusCode, headers);
    if (this.#settings.releaseAt === "headers") {
      this.#release("success");
      return;
    }
    this.#isRedirect = isRedirect(statusCode, headers);
    this.#settings.idleBodies?.add(this);
  }

  #judge(permit: Hold, statusCode: number, headers: Headers): void {
    const verdict =
      this.#context === undefined
        ? judgeHead(this.#settings, statusCode, headers)
        : this.#context.runInAsyncScope(judgeHead, null, this.#settings, statusCode, headers);
    if (verdict === undefined) return;
    this.#isJudged = true;
    permit.judge(verdict, new ResponseStatusError(this.bulkhead.name, statusCode));
  }

  protected override dataCame(chunk: Uint8Array): void {
    if (this.isOver) return;
    this.watch?.moved();
    try {
      super.dataCame(chunk);
    } catch (error) {
      this.#thrown = { error };
      throw error;
    }
    if (this.#isRedirect && this.isPaused) this.#onUnread(chunk.length);
  }

  /**
   * fetch follows a redirect without reading its body, and pauses when its buffer is full: the permit would never come
   * back. The error is held back, since fetch would take it for one of the request that follows.
   */
  #onUnread(bytes: number): void {
    this.#unreadBytes += bytes;
    if (this.#unreadBytes <= MAX_UNREAD_BYTES || this.#isHeldBack) return;
    this.#isHeldBack = true;
    this.#release();
    this.#abortWith(abortError());
  }

  protected override fail(error: unknown): void {
    if (this.#isHeldBack) this.#heldBack ??= { error };
    else super.fail(error);
  }

  /** Who resumes the body, or aborts it, is reading it. */
  #tellHeldBack(): void {
    const heldBack = this.#heldBack;
    if (heldBack === undefined) return;
    this.#isHeldBack = false;
    this.#heldBack = undefined;
    this.fail(heldBack.error);
  }

  protected override ended(trailers: Headers): void {
    // Before the caller has its end: it may dispatch the next request from within.
    this.#release("success");
    super.ended(trailers);
  }

  protected override failed(error: unknown): void {
    // Before the caller has its error: fetch aborts from within.
    this.#release(this.#isNeutral(error) ? undefined : { error });
    super.failed(error);
  }

  #isNeutral(error: unknown): boolean {
    if (this.isAborted || isOwnFault(error)) return true;
    if (this.#thrown !== undefined && this.#thrown.error === error) return true;
    return this.#body?.hasThrown(error) ?? false;
  }

  protected override upgraded(
    statusCode: number | null,
    headers: Headers | null,
    socket: unknown,
  ): unknown {
    const permit = this.#permit;
    if (permit !== undefined && headers !== null && statusCode !== null && statusCode >= 200) {
      this.#judge(permit, statusCode, headers);
    }
    this.#release("success");
    return super.upgraded(statusCode, headers, socket);
  }

  // When the body stalls

  get isEnded(): boolean {
    return this.#permit === undefined;
  }

  stalled(): void {
    const error = this.#stalledError();
    this.#isHeldBack = this.#isRedirect && this.isPaused;
    this.#release(this.holdsBase ? undefined : { error });
    this.#abortWith(error);
  }

  #stalledError(): Error {
    const bulkheadName = this.bulkhead.name;
    const seconds = ((this.#settings.idleBodies?.limitMs ?? 0) / 1000).toFixed(3);
    const why = this.holdsBase ? "its reader had paused it" : "the server sent nothing";
    const message = `The body of a response of bulkhead "${oneLine(bulkheadName)}" stalled for ${seconds} s: ${why}`;
    return new BulkheadTimeoutError(message, { bulkheadName });
  }
}
