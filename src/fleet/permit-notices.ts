import { outsideRequests } from "../common/async-context.js";
import { endSubscription } from "../storage/end-subscription.js";
import type { PermitNotice } from "../storage/permit-lease.js";
import { validateNotice } from "../storage/validate-grant.js";
import type { LeasingStorage } from "./leases.js";

interface PermitNoticesHooks {
  readonly onNotice: (notice: PermitNotice) => void;
  /** There are no notices, or they are malformed: the first after a valid one. */
  readonly onError: (error: unknown) => void;
}

/** The storage's notices of one name. A custom storage may emit anything. */
export class PermitNotices {
  readonly #hooks: PermitNoticesHooks;
  readonly #unsubscribe: () => void;
  #isEnded = false;
  #wasInvalid = false;

  constructor(storage: LeasingStorage, name: string, hooks: PermitNoticesHooks) {
    this.#hooks = hooks;
    this.#unsubscribe = this.#subscribe(storage, name);
  }

  #subscribe(storage: LeasingStorage, name: string): () => void {
    const onNotice = (notice: PermitNotice) => this.#hear(notice);
    try {
      const end = outsideRequests(() => storage.subscribeToPermits?.(name, onNotice));
      return end ?? (() => {});
    } catch (error) {
      // Not at once: listeners can be attached only after the bulkhead is constructed.
      queueMicrotask(() => this.#hooks.onError(error));
      return () => {};
    }
  }

  #hear(notice: PermitNotice): void {
    if (this.#isEnded) return;
    const { onNotice, onError } = this.#hooks;
    const wasInvalid = this.#wasInvalid;
    try {
      validateNotice(notice);
      this.#wasInvalid = false;
    } catch (error) {
      this.#wasInvalid = true;
      if (!wasInvalid) onError(error);
      return;
    }
    onNotice(notice);
  }

  end(): void {
    this.#isEnded = true;
    endSubscription(this.#unsubscribe);
  }
}
