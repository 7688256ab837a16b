import { describe, expect, it, vi } from "vitest";
import { Bulkhead } from "../../src/index.js";
import { gate, started } from "../helpers/gate.js";

/** A signal as polyfills had it before signals had a `reason`. */
class OldSignal {
  aborted = false;
  readonly #listeners = new Set<() => void>();

  addEventListener(_event: "abort", listener: () => void): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_event: "abort", listener: () => void): void {
    this.#listeners.delete(listener);
  }

  abort(): void {
    this.aborted = true;
    for (const listener of [...this.#listeners]) listener();
  }

  get listenerCount(): number {
    return this.#listeners.size;
  }
}

function untyped<T>(value: unknown): T {
  return value as T;
}

function setUp(config = {}) {
  const bulkhead = new Bulkhead({ name: "api", ...config });
  const signal = new OldSignal();
  const call = (task: () => unknown) =>
    bulkhead.run(task, { signal: untyped<AbortSignal>(signal) }).catch((error: unknown) => error);
  return { bulkhead, signal, call };
}

const ABORT_ERROR = { name: "AbortError", message: "This operation was aborted" };

describe("a call that is aborted by a signal without a reason rejects with an AbortError", () => {
  it("while it runs, and its task's signal has the same reason", async () => {
    const { bulkhead, signal } = setUp();
    const abort = vi.fn();
    const call = bulkhead.run(
      (context) => {
        context.signal.addEventListener("abort", () => abort(context.signal.reason));
        return new Promise(() => {});
      },
      { signal: untyped<AbortSignal>(signal) },
    );
    await started();
    signal.abort();
    const error = await call.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DOMException);
    expect(error).toMatchObject(ABORT_ERROR);
    expect(abort.mock.calls).toEqual([[error]]);
    expect(signal.listenerCount).toBe(0);
  });

  it("while it waits", async () => {
    const { bulkhead, signal, call } = setUp({ maxConcurrentCalls: 1 });
    const busy = gate();
    const running = bulkhead.execute(() => busy.promise);
    const waiting = call(() => 1);
    signal.abort();
    expect(await waiting).toMatchObject(ABORT_ERROR);
    expect(bulkhead.getStats().rejections.aborted).toBe(1);
    busy.open();
    await running;
  });

  it("when it was aborted before the call", async () => {
    const { bulkhead, signal, call } = setUp();
    signal.abort();
    const rejected = vi.fn();
    bulkhead.on("rejected", rejected);
    const error = await call(() => 1);
    expect(error).toMatchObject(ABORT_ERROR);
    expect(rejected.mock.calls).toEqual([[{ reason: "aborted", error }]]);
  });
});

it("a call that is aborted with the reason null rejects with null", async () => {
  const bulkhead = new Bulkhead({ name: "api" });
  const controller = new AbortController();
  const call = bulkhead.run(() => new Promise(() => {}), { signal: controller.signal });
  controller.abort(null);
  await expect(call).rejects.toBe(null);
});
