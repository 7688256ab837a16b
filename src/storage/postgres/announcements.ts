/**
 * Compares the changes that were read with those that notices announced. A change that was read but never
 * announced shows that the table's trigger is missing or does not fire.
 */
export class Announcements {
  /** The newest version of each circuit, whether it was read or announced. */
  readonly #newest = new Map<string, number>();
  /** Versions of circuits that were read, and that no notice has announced so far. */
  readonly #missing = new Map<string, number>();

  /** Whether a change was read that no notice has announced. */
  get isMissing(): boolean {
    return this.#missing.size > 0;
  }

  /** Forgets what is missing: its notices may have been sent while nothing listened, or were lost on the way. */
  forgetMissing(): void {
    this.#missing.clear();
  }

  /** A notice announced this version of a circuit in use. */
  announce(name: string, version: number): void {
    this.#newest.set(name, Math.max(version, this.#newest.get(name) ?? version));
    if (version >= (this.#missing.get(name) ?? Number.POSITIVE_INFINITY)) {
      this.#missing.delete(name);
    }
  }

  /** All circuits in use were read. A circuit that is read for the first time needs no notice. */
  read(versions: ReadonlyMap<string, number>): void {
    for (const name of this.#newest.keys()) {
      if (!versions.has(name)) this.#newest.delete(name);
    }
    for (const name of this.#missing.keys()) {
      if (!versions.has(name)) this.#missing.delete(name);
    }
    for (const [name, version] of versions) {
      const known = this.#newest.get(name) ?? version;
      if (version > known) this.#missing.set(name, version);
      this.#newest.set(name, Math.max(version, known));
    }
  }
}
