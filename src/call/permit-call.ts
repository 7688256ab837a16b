import { CLASSIFICATIONS, IGNORE, toVerdict, type Verdict } from "../circuit/judge.js";
import type { Classification } from "../classification.js";
import { format } from "../common/validation.js";
import type { Permit } from "../permit.js";
import { droppedError, judgedError } from "../rejections.js";
import { type Call, TaskCall } from "./call.js";

/** Where a call with a permit is settled. */
export interface PermitSettling {
  settlePermit(call: Call, succeeded: boolean, value: unknown): void;
  judgePermit(call: Call, verdict: Verdict, error: unknown): void;
  endTimeLimit(call: Call): void;
}

/** What the function of such a call returns: its holder settles the call. */
export const HELD: unique symbol = Symbol("held");

const NO_HOOKS: Pick<Call, "resolve" | "reject"> = { resolve: ignore, reject: ignore };

/** A call that was started with `acquire`: it runs until the holder of its permit settles it. */
export class PermitCall extends TaskCall {
  readonly #settling: PermitSettling;
  #isSettled = false;
  /** What the verdict was about. */
  #judgedError: unknown = undefined;
  #controller: AbortController | undefined = undefined;
  #aborted: { readonly reason: unknown } | undefined = undefined;
  #endHooks = NO_HOOKS;

  constructor(signal: AbortSignal | undefined, bulkheadName: string, settling: PermitSettling) {
    super(ignore, signal, bulkheadName, "acquire");
    this.#settling = settling;
  }

  override prepare(): void {}

  /** Grants the permit; from then on the outcome is that of {@link untilEnd}, and not its caller's. */
  override invoke(): typeof HELD {
    this.grant(new HeldPermit(this));
    return HELD;
  }

  protected grant(permit: Permit | undefined): void {
    this.resolve(permit);
    this.resolve = this.#endHooks.resolve;
    this.reject = this.#endHooks.reject;
  }

  /** Settles as the call will, once the permit is granted. Asked before that. */
  untilEnd(): Promise<unknown> {
    const end = new Promise((resolve, reject) => {
      this.#endHooks = { resolve, reject };
    });
    end.catch(ignore);
    return end;
  }

  /** Made when the holder first asks for it: many permits are held by work that cannot be stopped. */
  get holderSignal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  override abort(reason: unknown): void {
    this.#aborted = { reason };
    this.#controller?.abort(reason);
  }

  settle(succeeded: boolean, value: unknown): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    const { verdict } = this;
    if (verdict === undefined) this.#settling.settlePermit(this, succeeded, value);
    else if (verdict.outcome === "success") this.#settling.settlePermit(this, true, value);
    else this.#settling.settlePermit(this, false, this.#judgedError ?? this.#noError(verdict));
  }

  drop(): void {
    if (this.#isSettled) return;
    this.verdict ??= IGNORE;
    this.settle(false, undefined);
  }

  #noError({ outcome }: Verdict): unknown {
    const { bulkheadName } = this;
    return outcome === "failure" ? judgedError(bulkheadName) : droppedError(bulkheadName);
  }

  judge(classification: unknown, error: unknown): void {
    const verdict = toVerdict(classification);
    if (verdict === undefined) {
      throw new TypeError(`verdict must be ${CLASSIFICATIONS}; got ${format(classification)}`);
    }
    if (this.#isSettled || this.verdict !== undefined) return;
    this.#judgedError = error ?? this.#noError(verdict);
    this.#settling.judgePermit(this, verdict, this.#judgedError);
  }

  endTimeLimit(): void {
    this.#settling.endTimeLimit(this);
  }
}

/** What the holder of a permit has of its call. */
class HeldPermit implements Permit {
  readonly #call: PermitCall;

  constructor(call: PermitCall) {
    this.#call = call;
  }

  get signal(): AbortSignal {
    return this.#call.holderSignal;
  }

  get executionId(): string {
    return this.#call.id;
  }

  get bulkheadName(): string {
    return this.#call.bulkheadName;
  }

  succeed(result?: unknown): void {
    this.#call.settle(true, result);
  }

  fail(error: unknown): void {
    this.#call.settle(false, error);
  }

  drop(): void {
    this.#call.drop();
  }

  judge(verdict: Classification, error?: unknown): void {
    this.#call.judge(verdict, error);
  }

  endTimeLimit(): void {
    this.#call.endTimeLimit();
  }

  [Symbol.dispose](): void {
    this.#call.drop();
  }
}

function ignore(): void {}
