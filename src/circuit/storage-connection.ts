import { outsideRequests } from "../common/async-context.js";
import { CheckedStorage } from "../storage/checked-storage.js";
import type { CircuitStorage } from "../storage/circuit-storage.js";
import type { Circuit } from "./circuit.js";
import { OperatorSettings } from "./operator-settings.js";
import { SettingsReader } from "./settings-reader.js";
import { SharedCircuit } from "./shared-circuit.js";
import type { CircuitTransition } from "./transition.js";

export interface StorageConnectionHooks {
  readonly onError: (error: unknown) => void;
  /** Calls that waited for the storage may start now, if the circuit admits them. */
  readonly onAnswer: () => void;
  /** These fields of the configuration are set by an operator, instead of those before. */
  readonly onSettings: (values: Readonly<Record<string, unknown>>) => void;
}

/**
 * Connects a circuit with its storage while decisions are enforced. Otherwise the circuit is this process's own, and only an
 * operator's settings are read.
 */
export class StorageConnection {
  readonly #source: CheckedStorage;
  readonly #hooks: StorageConnectionHooks;
  readonly #settings: OperatorSettings;
  #isShared: boolean;
  #shared: SharedCircuit | undefined = undefined;
  #settingsReader: SettingsReader | undefined = undefined;

  /** @param isShared whether decisions are enforced */
  constructor(
    storage: CircuitStorage,
    name: string,
    isShared: boolean,
    hooks: StorageConnectionHooks,
  ) {
    this.#source = new CheckedStorage(storage, name);
    this.#hooks = hooks;
    this.#settings = new OperatorSettings(hooks.onSettings);
    this.#isShared = isShared;
  }

  /** Whether other processes have a part in the circuit: also before it is connected. */
  get isShared(): boolean {
    return this.#isShared;
  }

  /** Whether probes need the storage's lease. */
  get needsLease(): boolean {
    return this.#isShared && this.#shared?.isAlone !== true;
  }

  /** Settles when the circuit is loaded, or could not be in time. Never rejects. */
  get ready(): Promise<void> | undefined {
    return this.#shared?.ready;
  }

  /** Whether the storage's first answer is still awaited. */
  get isLoading(): boolean {
    return this.#shared?.isLoaded === false;
  }

  /** Whether an operator has isolated the circuit for the whole fleet. */
  get isIsolatedByOperator(): boolean {
    return this.#shared?.isIsolatedByOperator === true;
  }

  connect(circuit: Circuit): void {
    const { onError, onAnswer } = this.#hooks;
    outsideRequests(() => {
      if (this.#isShared) {
        const onRead = this.#settings.receive.bind(this.#settings);
        this.#shared = new SharedCircuit(this.#source, circuit, { onError, onAnswer, onRead });
      } else {
        this.#settingsReader = new SettingsReader(this.#source, this.#settings, onError);
      }
    });
  }

  /** Connects anew. What is only watched is no other process's business. */
  share(isShared: boolean, circuit: Circuit): void {
    void this.#shared?.disconnect();
    this.#settingsReader?.close();
    this.#shared = undefined;
    this.#settingsReader = undefined;
    this.#isShared = isShared;
    this.connect(circuit);
  }

  onTransition(transition: CircuitTransition): void {
    outsideRequests(() => this.#shared?.onTransition(transition));
  }

  acquireLease(): void {
    outsideRequests(() => this.#shared?.acquireLease());
  }

  renewLease(): void {
    outsideRequests(() => this.#shared?.renewLease());
  }

  async disconnect(): Promise<void> {
    this.#settingsReader?.close();
    this.#settings.stop();
    await this.#shared?.disconnect();
  }
}
