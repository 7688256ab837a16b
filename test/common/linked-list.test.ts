import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LinkedList, ListNode } from "../../src/common/linked-list.js";
import { runs, SEED } from "../fuzz.js";

class Letter extends ListNode<Letter> {
  constructor(readonly value: number) {
    super();
  }
}

interface Model {
  readonly arrays: [number[], number[]];
}

interface Real {
  readonly lists: [LinkedList<Letter>, LinkedList<Letter>];
  readonly letters: Letter[];
}

type Side = 0 | 1;

/** The letters of a list from its first to its last, by the links themselves. */
function forwards(list: LinkedList<Letter>): number[] {
  const values: number[] = [];
  for (let node = list.first; node !== undefined; node = node.next) values.push(node.value);
  return values;
}

/** The same from its last to its first. */
function backwards(list: LinkedList<Letter>): number[] {
  let last = list.first;
  while (last?.next !== undefined) last = last.next;
  const values: number[] = [];
  for (let node = last; node !== undefined; node = node.previous) values.push(node.value);
  return values;
}

function expectEqual({ arrays }: Model, { lists, letters }: Real): void {
  for (const side of [0, 1] as const) {
    const [list, array] = [lists[side], arrays[side]];
    expect(forwards(list)).toEqual(array);
    expect(backwards(list)).toEqual(array.toReversed());
    expect(list.size).toBe(array.length);
    expect(list.first?.value).toBe(array[0]);
  }
  for (const letter of letters) {
    const side = arrays.findIndex((array) => array.includes(letter.value));
    expect(letter.list).toBe(side === -1 ? undefined : lists[side as Side]);
  }
}

class Push implements fc.Command<Model, Real> {
  constructor(readonly side: Side) {}

  check() {
    return true;
  }

  run(model: Model, real: Real) {
    const letter = new Letter(real.letters.length);
    real.letters.push(letter);
    model.arrays[this.side].push(letter.value);
    real.lists[this.side].push(letter);
    expectEqual(model, real);
  }

  toString() {
    return `push(${this.side})`;
  }
}

class Shift implements fc.Command<Model, Real> {
  constructor(readonly side: Side) {}

  check() {
    return true;
  }

  run(model: Model, real: Real) {
    const expected = model.arrays[this.side].shift();
    expect(real.lists[this.side].shift()?.value).toBe(expected);
    expectEqual(model, real);
  }

  toString() {
    return `shift(${this.side})`;
  }
}

/** Removes any letter that there ever was, from a list where it may not be. */
class Remove implements fc.Command<Model, Real> {
  constructor(
    readonly side: Side,
    readonly pick: number,
  ) {}

  check() {
    return true;
  }

  run(model: Model, real: Real) {
    const letter = real.letters[this.pick % real.letters.length];
    if (letter === undefined) return;
    const array = model.arrays[this.side];
    const index = array.indexOf(letter.value);
    if (index !== -1) array.splice(index, 1);
    real.lists[this.side].remove(letter);
    expectEqual(model, real);
  }

  toString() {
    return `remove(${this.side}, ${this.pick})`;
  }
}

/** A letter that is in no list any more goes into one again. */
class PushAgain implements fc.Command<Model, Real> {
  constructor(
    readonly side: Side,
    readonly pick: number,
  ) {}

  check() {
    return true;
  }

  run(model: Model, real: Real) {
    const loose = real.letters.filter((letter) => letter.list === undefined);
    const letter = loose[this.pick % loose.length];
    if (letter === undefined) return;
    model.arrays[this.side].push(letter.value);
    real.lists[this.side].push(letter);
    expectEqual(model, real);
  }

  toString() {
    return `pushAgain(${this.side}, ${this.pick})`;
  }
}

describe("LinkedList", () => {
  it("is empty at first", () => {
    const list = new LinkedList<Letter>();
    expect(list.size).toBe(0);
    expect(list.first).toBeUndefined();
    expect(list.shift()).toBeUndefined();
    expect(list.size).toBe(0);
  });

  it("is first in, first out", () => {
    const list = new LinkedList<Letter>();
    for (const value of [1, 2, 3]) list.push(new Letter(value));
    expect([list.shift(), list.shift(), list.shift()].map((node) => node?.value)).toEqual([
      1, 2, 3,
    ]);
    expect(list.size).toBe(0);
  });

  it.each([0, 1, 2])("keeps the order when number %i of three is removed", (index) => {
    const list = new LinkedList<Letter>();
    const nodes = [0, 1, 2].map((value) => new Letter(value));
    for (const node of nodes) list.push(node);
    const removed = nodes[index];
    if (removed !== undefined) list.remove(removed);
    expect(forwards(list)).toEqual([0, 1, 2].filter((value) => value !== index));
    expect(list.size).toBe(2);
  });

  it("lets go of a node: it holds neither the list nor its neighbours", () => {
    const list = new LinkedList<Letter>();
    const nodes = [0, 1, 2].map((value) => new Letter(value));
    for (const node of nodes) list.push(node);
    const middle = nodes[1];
    if (middle !== undefined) list.remove(middle);
    const first = list.shift();
    for (const node of [middle, first]) {
      expect(node?.list).toBeUndefined();
      expect(node?.previous).toBeUndefined();
      expect(node?.next).toBeUndefined();
    }
  });

  it("does nothing when a node is removed that is in no list, or in another", () => {
    const [list, other] = [new LinkedList<Letter>(), new LinkedList<Letter>()];
    const [loose, foreign] = [new Letter(1), new Letter(2)];
    list.push(new Letter(0));
    other.push(foreign);
    list.remove(loose);
    list.remove(foreign);
    expect([forwards(list), list.size]).toEqual([[0], 1]);
    expect([forwards(other), other.size]).toEqual([[2], 1]);
    expect(foreign.list).toBe(other);
  });

  it("does nothing when a node is removed twice", () => {
    const list = new LinkedList<Letter>();
    const node = new Letter(0);
    list.push(node);
    list.push(new Letter(1));
    list.remove(node);
    list.remove(node);
    expect([forwards(list), list.size]).toEqual([[1], 1]);
  });

  it("is equal to an array after any sequence of steps, on two lists with the same nodes", () => {
    const side = fc.constantFrom<Side>(0, 1);
    const commands = [
      side.map((at) => new Push(at)),
      side.map((at) => new Shift(at)),
      fc.tuple(side, fc.nat(1000)).map(([at, pick]) => new Remove(at, pick)),
      fc.tuple(side, fc.nat(1000)).map(([at, pick]) => new PushAgain(at, pick)),
    ];
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: 60, size: "max" }), (steps) => {
        const model: Model = { arrays: [[], []] };
        const real: Real = { lists: [new LinkedList(), new LinkedList()], letters: [] };
        fc.modelRun(() => ({ model, real }), steps);
      }),
      { seed: SEED, numRuns: runs(100) },
    );
  });

  it("reads and writes as many fields in a list of 10 nodes as in one of 10,000 when it removes a node", () => {
    expect(accessesOfRemoval(10_000)).toBe(accessesOfRemoval(10));
    expect(accessesOfRemoval(10)).toBeGreaterThan(0);
  });

  /** How often a list of `size` reads or writes a field of a node while it removes the one in its middle. */
  function accessesOfRemoval(size: number): number {
    let accesses = 0;
    const list = new LinkedList<Letter>();
    const nodes = Array.from({ length: size }, (_, value) => {
      return new Proxy(new Letter(value), {
        get(letter, field) {
          accesses++;
          return Reflect.get(letter, field);
        },
        set(letter, field, value) {
          accesses++;
          return Reflect.set(letter, field, value);
        },
      });
    });
    for (const node of nodes) list.push(node);
    const middle = nodes[size / 2];
    accesses = 0;
    if (middle !== undefined) list.remove(middle);
    expect(list.size).toBe(size - 1);
    return accesses;
  }
});
