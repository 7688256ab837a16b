/**
 * Names the method of a bulkhead by which `bulkman/undici` takes permits. Not public; the same in both builds of this
 * library, since a program can have both loaded.
 */
export const HOLD: unique symbol = Symbol.for("bulkman.hold");
