import type { Hold, PermitHolder } from "../hold.js";
import { type HELD, HeldCall, type PermitSettling } from "./held-call.js";

/** Where a call with a holder is settled, and aborted. */
interface HolderSettling extends PermitSettling {
  abortPermit(call: HolderCall, reason: unknown): void;
}

/** A call whose permit has a {@link PermitHolder}, and neither a promise nor a signal. */
export class HolderCall extends HeldCall implements Hold {
  readonly #holder: PermitHolder;
  readonly #settling: HolderSettling;

  constructor(holder: PermitHolder, bulkheadName: string, settling: HolderSettling) {
    super(undefined, bulkheadName, settling);
    this.#holder = holder;
    this.#settling = settling;
    this.reject = (error) => holder.rejected(error);
  }

  /** For who traces: settles when the permit is granted or rejected. */
  untilGranted(): Promise<unknown> {
    const { reject } = this;
    return new Promise((resolve, rejectPromise) => {
      this.resolve = resolve;
      this.reject = (error) => {
        reject(error);
        rejectPromise(error);
      };
    });
  }

  override invoke(): typeof HELD {
    this.#holder.granted();
    return this.grant(undefined);
  }

  leave(reason: unknown): void {
    this.#settling.abortPermit(this, reason);
  }

  override abort(reason: unknown): void {
    this.#holder.cut(reason);
  }
}
