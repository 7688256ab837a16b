const kept: object[] = [];

/**
 * Keeps one object of a class for the life of the process. V8 discards optimised code when the last object of
 * a shape that it relies on is collected: each full collection without a call under way halved the speed of
 * the calls after it.
 * @param object with fields of the kinds that they have in use; times are fractions
 */
export function keepShapeAlive(object: object): void {
  kept.push(object);
}
