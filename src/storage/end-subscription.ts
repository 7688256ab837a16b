/** Ends a subscription of a storage, which may be a custom one. Never throws: otherwise a bulkhead could not be shut down. */
export function endSubscription(end: () => void): void {
  try {
    end();
  } catch {
    // The storage calls on, but nothing listens any more.
  }
}
