import { expect, it } from "vitest";
import { newReconcilerState } from "../../src/circuit/reconciler-state.js";
import { newSharedCircuitState } from "../../src/circuit/shared-circuit-state.js";

const HOST = "h".repeat(255);

it("a new shared circuit is neither loaded nor closed, and has nothing under way", () => {
  expect(newSharedCircuitState("web-1", "me")).toStrictEqual({
    reconciler: newReconcilerState("me", "web-1"),
    io: { kind: "idle" },
    notice: undefined,
    needsRead: false,
    requests: 0,
    retryMs: 500,
    isLoaded: false,
    isClosed: false,
    failures: { requests: false, notices: false },
    timers: { read: undefined, renew: undefined, leaseRequest: undefined },
  });
});

it("its owner has the host, the process and an id of its own, and fits into a record beside a number", () => {
  const [one, other] = [newSharedCircuitState(HOST), newSharedCircuitState(HOST)].map(
    ({ reconciler }) => reconciler.owner,
  );
  const uuid = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
  expect(one).toMatch(new RegExp(`^h{150} ${process.pid} ${uuid}$`));
  expect(one).not.toBe(other);
  expect(`${one} ${Number.MAX_SAFE_INTEGER}`.length).toBeLessThanOrEqual(255);
});
