import { keepShapeAlive } from "./keep-shape-alive.js";
import { ListNode } from "./linked-list.js";

/** A deadline that was set and can be cleared with `Deadlines.clear`. */
export class Deadline<T> extends ListNode<Deadline<T>> {
  static {
    keepShapeAlive(new Deadline(0.5, 1, undefined));
  }

  constructor(
    readonly at: number,
    readonly delayMs: number,
    readonly owner: T,
  ) {
    super();
  }
}
