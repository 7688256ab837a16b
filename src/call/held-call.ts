import { CLASSIFICATIONS, IGNORE, toVerdict, type Verdict } from "../circuit/judge.js";
import { format } from "../common/validation.js";
import type { Permit } from "../permit.js";
import { droppedError, judgedError } from "../rejections.js";
import { Call, NO_ARGS } from "./call.js";

/** Where a call with a permit is settled. */
export interface PermitSettling {
  settlePermit(call: Call, succeeded: boolean, value: unknown): void;
  judgePermit(call: Call, verdict: Verdict, error: unknown): void;
  endTimeLimit(call: Call): void;
}

/** What the function of such a call returns: its holder settles the call. */
export const HELD: unique symbol = Symbol("held");

const NO_HOOKS: Pick<Call, "resolve" | "reject"> = { resolve: ignore, reject: ignore };

/** A call without a function: it runs until the holder of its permit settles it. */
export abstract class HeldCall extends Call {
  readonly bulkheadName: string;
  readonly #settling: PermitSettling;
  #isSettled = false;
  /** What the verdict was about. */
  #judgedError: unknown = undefined;
  #endHooks = NO_HOOKS;

  constructor(signal: AbortSignal | undefined, bulkheadName: string, settling: PermitSettling) {
    super(ignore, NO_ARGS, "acquire", signal);
    this.bulkheadName = bulkheadName;
    this.#settling = settling;
  }

  abstract override invoke(): typeof HELD;

  /** From now on the outcome is that of {@link untilEnd}, and not its caller's. */
  protected grant(permit: Permit | undefined): typeof HELD {
    this.resolve(permit);
    this.resolve = this.#endHooks.resolve;
    this.reject = this.#endHooks.reject;
    return HELD;
  }

  /** Settles as the call will, once the permit is granted. Asked before that. */
  untilEnd(): Promise<unknown> {
    const end = new Promise((resolve, reject) => {
      this.#endHooks = { resolve, reject };
    });
    end.catch(ignore);
    return end;
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

function ignore(): void {}
