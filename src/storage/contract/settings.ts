import assert from "node:assert/strict";
import type {
  CircuitChange,
  CircuitRecord,
  CircuitSettings,
  CircuitStorage,
} from "../circuit-storage.js";
import { assertSame, type Cases, leased, opening, subscribed, until } from "./trial.js";

/** Settings of operators, for storages that have `configure`. */
export const settingsCases: Cases = {
  "keeps the settings of a circuit, and nothing else changes": async ({ storage, open, name }) => {
    if (storage.configure === undefined) return;
    const before = await leased(storage, name, "a");
    const { version } = before;
    const first = await storage.configure(name, { version, settings: SETTINGS });
    assert.ok(first.changed);
    assert.ok(first.record.version > version);
    const { version: raised } = first.record;
    assertSame(first.record, { ...before, settings: SETTINGS, version: raised });
    for (const each of [storage, await open()]) {
      assertSame(await each.getState(name), first.record);
      assertSame(await each.load(name), first.record);
    }
    const settings = { ...SETTINGS, values: { successThreshold: 1 }, until: null };
    const second = await storage.configure(name, { version: raised, settings });
    assert.deepEqual(second.record.settings, settings);
    const third = await storage.configure(name, {
      version: second.record.version,
      settings: null,
    });
    assert.equal(third.record.settings ?? null, null);
  },

  "keeps the settings of one circuit apart from another's": async ({ storage, name }) => {
    if (storage.configure === undefined) return;
    await configured(storage, name);
    const { settings = null } = await storage.load(`${name} too`);
    assert.equal(settings, null);
  },

  "rejects settings for a past version, and returns the record": async ({ storage, name }) => {
    if (storage.configure === undefined) return;
    const { version } = await storage.load(name);
    const settings = { ...SETTINGS, values: { maxQueueSize: 1 } };
    const results = await Promise.all([
      storage.configure(name, { version, settings: SETTINGS }),
      storage.configure(name, { version, settings }),
    ]);
    assert.deepEqual(results.map(({ changed }) => changed).sort(), [false, true]);
    const kept = await storage.getState(name);
    for (const { record } of results) assertSame(record, kept);
  },

  "creates a missing circuit when its settings are changed, and does not change it": async ({
    storage,
    name,
  }) => {
    if (storage.configure === undefined) return;
    const { changed, record } = await storage.configure(name, { version: 1, settings: SETTINGS });
    assert.equal(changed, false);
    assert.equal(record.state, "CLOSED");
    assert.equal(record.settings ?? null, null);
  },

  "rejects malformed settings, and keeps those before": async ({ storage, name }) => {
    if (storage.configure === undefined) return;
    const before = await configured(storage, name);
    for (const malformed of [
      { ...SETTINGS, values: [] },
      { ...SETTINGS, until: new Date(Number.NaN) },
      { ...SETTINGS, reason: 5 },
      { reason: "no values" },
    ]) {
      const settings = malformed as unknown as CircuitSettings;
      await assert.rejects(storage.configure(name, { version: before.version, settings }));
    }
    assertSame(await storage.getState(name), before);
  },

  "keeps the first 255 characters of who changed the settings, and why": async ({
    storage,
    name,
  }) => {
    if (storage.configure === undefined) return;
    const { version } = await storage.load(name);
    const text = "\u{1f600}".repeat(300);
    const settings = { ...SETTINGS, reason: text, by: text };
    const { record } = await storage.configure(name, { version, settings });
    const kept = "\u{1f600}".repeat(255);
    assert.deepEqual([record.settings?.reason, record.settings?.by], [kept, kept]);
  },

  "keeps the settings through every change of the circuit": async ({ storage, name }) => {
    if (storage.configure === undefined) return;
    const { version } = await configured(storage, name);
    let record: CircuitRecord = { ...(await storage.load(name)), version };
    const changes: Array<(version: number) => CircuitChange> = [
      (version) => opening(version, "a", 0),
      (version) => ({ to: "HALF_OPEN", version, owner: "a" }),
      (version) => ({ to: "HALF_OPEN", version, owner: "a", successes: 1 }),
      (version) => ({ to: "HALF_OPEN", version, owner: "a", early: true }),
      (version) => ({ ...opening(version, "a", 60), byHand: true, reason: "why" }),
      (version) => ({ to: "CLOSED", version, owner: "b", byHand: true }),
    ];
    for (const change of changes) {
      const result = await storage.change(name, change(record.version));
      assert.ok(result.changed);
      record = result.record;
      assert.deepEqual(record.settings, SETTINGS, record.state);
      assertSame(await storage.getState(name), record);
    }
  },

  "tells subscribers of new settings, also another process's": async (trial) => {
    const { storage, open, name } = trial;
    if (storage.configure === undefined) return;
    await storage.load(name);
    const all = [subscribed(storage, name), subscribed(await open(), name)];
    const { version } = await configured(storage, name);
    for (const { heard, unsubscribe } of all) {
      const record = await until(trial, () => heard.find((each) => each.version === version));
      assert.deepEqual(record.settings, SETTINGS);
      unsubscribe();
    }
  },

  "lets a change that was decided before the settings be decided anew": async ({
    storage,
    name,
  }) => {
    if (storage.configure === undefined) return;
    const { version } = await storage.load(name);
    await configured(storage, name);
    const late = await storage.change(name, opening(version, "a", 60));
    assert.equal(late.changed, false);
    const again = await storage.change(name, opening(late.record.version, "a", 60));
    assert.ok(again.changed);
    assert.deepEqual(again.record.settings, SETTINGS);
  },
};

const SETTINGS: CircuitSettings = {
  values: {
    maxConcurrentCalls: 5,
    timeoutSeconds: null,
    isolationDuration: { min: 0.5, max: 60 },
    "'; -- \u{1f600}": ["é"],
  },
  until: new Date("2999-01-01T12:00:00.123Z"),
  reason: "'; -- \u{1f600}",
  by: "operator@host",
};

async function configured(storage: CircuitStorage, name: string): Promise<CircuitRecord> {
  const { version } = await storage.load(name);
  const result = await storage.configure?.(name, { version, settings: SETTINGS });
  assert.ok(result?.changed);
  return result.record;
}
