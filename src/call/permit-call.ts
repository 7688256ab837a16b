import type { Classification } from "../classification.js";
import type { Permit } from "../permit.js";
import { type HELD, HeldCall } from "./held-call.js";

/** A call that was started with `acquire`. */
export class PermitCall extends HeldCall {
  #controller: AbortController | undefined = undefined;
  #aborted: { readonly reason: unknown } | undefined = undefined;

  override invoke(): typeof HELD {
    return this.grant(new HeldPermit(this));
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
