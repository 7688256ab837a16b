import { LinkedList, type ListNode } from "./linked-list.js";

/**
 * The calls that wait for a permit: first in, first out, and anyone may leave from anywhere in O(1).
 * p-limit's own queue can only be cleared whole.
 */
export class WaitLine<N extends ListNode<N>> extends LinkedList<N> {
  readonly #maxSize: number;

  constructor(maxSize: number) {
    super();
    this.#maxSize = maxSize;
  }

  /**
   * Whether one more may come in.
   * @param freePermits calls that wait although a permit is free (the storage has not answered yet)
   *   have no need of a place
   */
  hasRoom(freePermits: number): boolean {
    return this.size < this.#maxSize + freePermits;
  }
}
