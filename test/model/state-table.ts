const IS_GOAL = 1;
const IS_JUDGED = 2;

/** Integers without an end. */
class Column {
  #values = new Int32Array(1 << 12);
  length = 0;

  push(value: number): void {
    if (this.length === this.#values.length) {
      const longer = new Int32Array(this.length * 2);
      longer.set(this.#values);
      this.#values = longer;
    }
    this.#values[this.length++] = value;
  }

  at(index: number): number {
    return this.#values[index] ?? 0;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }
}

/** States by the hash of each, how each was reached first, and the good moves between them. */
export class StateTable {
  readonly #high = new Column();
  readonly #low = new Column();
  readonly #parents = new Column();
  /** Which move of the parent leads here. */
  readonly #moves = new Column();
  readonly #marks = new Column();
  readonly #from = new Column();
  readonly #to = new Column();
  /** 1 + index of a state, or 0. */
  #slots = new Int32Array(1 << 14);

  get size(): number {
    return this.#high.length;
  }

  /** The index of a state, or -1. */
  find(high: number, low: number): number {
    return (this.#slots[this.#slotOf(high, low)] ?? 0) - 1;
  }

  add(high: number, low: number, parent: number, move: number): number {
    const index = this.size;
    this.#slots[this.#slotOf(high, low)] = index + 1;
    this.#high.push(high);
    this.#low.push(low);
    this.#parents.push(parent);
    this.#moves.push(move);
    this.#marks.push(0);
    if (this.size * 2 > this.#slots.length) this.#widen();
    return index;
  }

  mark(index: number, { isGoal, isJudged }: { isGoal: boolean; isJudged: boolean }): void {
    this.#marks.set(index, (isGoal ? IS_GOAL : 0) | (isJudged ? IS_JUDGED : 0));
  }

  /** A good move. */
  connect(from: number, to: number): void {
    if (from === to) return;
    this.#from.push(from);
    this.#to.push(to);
  }

  /** The ordinals of the moves that lead from the first state to this one. */
  pathTo(index: number): number[] {
    const path: number[] = [];
    for (let at = index; this.#parents.at(at) >= 0; at = this.#parents.at(at)) {
      path.push(this.#moves.at(at));
    }
    return path.reverse();
  }

  /** The first state that is judged, and from which good moves lead to no goal; or -1. */
  firstStuck(): number {
    const { starts, sources } = this.#incoming();
    const isMet = new Uint8Array(this.size);
    const queue: number[] = [];
    const meet = (index: number) => {
      if (isMet[index] === 1) return;
      isMet[index] = 1;
      queue.push(index);
    };
    for (let index = 0; index < this.size; index++) {
      if (this.#marks.at(index) & IS_GOAL) meet(index);
    }
    for (let index = queue.pop(); index !== undefined; index = queue.pop()) {
      const end = starts[index + 1] ?? 0;
      for (let edge = starts[index] ?? 0; edge < end; edge++) meet(sources[edge] ?? 0);
    }
    for (let index = 0; index < this.size; index++) {
      if (isMet[index] === 0 && this.#marks.at(index) & IS_JUDGED) return index;
    }
    return -1;
  }

  /** The sources of the good moves, by their target: those of `t` are from `starts[t]` to `starts[t + 1]`. */
  #incoming() {
    const edges = this.#to.length;
    const starts = new Int32Array(this.size + 2);
    for (let edge = 0; edge < edges; edge++) increment(starts, this.#to.at(edge) + 2);
    for (let index = 2; index < starts.length; index++) {
      increment(starts, index, starts[index - 1] ?? 0);
    }
    const sources = new Int32Array(edges);
    for (let edge = 0; edge < edges; edge++) {
      const target = this.#to.at(edge) + 1;
      sources[starts[target] ?? 0] = this.#from.at(edge);
      increment(starts, target);
    }
    return { starts, sources };
  }

  /** Where the state is, or could be. */
  #slotOf(high: number, low: number): number {
    const mask = this.#slots.length - 1;
    for (let slot = (high ^ Math.imul(low, 0x85ebca77)) & mask; ; slot = (slot + 1) & mask) {
      const index = (this.#slots[slot] ?? 0) - 1;
      if (index < 0) return slot;
      if (this.#high.at(index) === high && this.#low.at(index) === low) return slot;
    }
  }

  #widen(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    for (let index = 0; index < this.size; index++) {
      this.#slots[this.#slotOf(this.#high.at(index), this.#low.at(index))] = index + 1;
    }
  }
}

function increment(values: Int32Array, index: number, by = 1): void {
  values[index] = (values[index] ?? 0) + by;
}
