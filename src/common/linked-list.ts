/** A member of at most one {@link LinkedList} at a time. */
export class ListNode<N extends ListNode<N>> {
  list: LinkedList<N> | undefined = undefined;
  previous: N | undefined = undefined;
  next: N | undefined = undefined;
}

/**
 * A doubly linked list of nodes that know their neighbours: adding, taking the first and removing any
 * are O(1), whatever the length, and cost no allocation. A `Set` keeps order too, but finding its
 * first entry walks over the holes that deletions left.
 */
export class LinkedList<N extends ListNode<N>> {
  // To be read by everyone, and to be written here alone.
  first: N | undefined = undefined;
  size = 0;
  #last: N | undefined = undefined;

  push(node: N): void {
    node.list = this;
    node.previous = this.#last;
    if (this.#last === undefined) this.first = node;
    else this.#last.next = node;
    this.#last = node;
    this.size++;
  }

  shift(): N | undefined {
    const node = this.first;
    if (node !== undefined) this.remove(node);
    return node;
  }

  /** Takes the node out. Does nothing when it is not in this list. */
  remove(node: N): void {
    if (node.list !== this) return;
    if (node.previous === undefined) this.first = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#last = node.previous;
    else node.next.previous = node.previous;
    node.list = undefined;
    node.previous = undefined;
    node.next = undefined;
    this.size--;
  }
}
