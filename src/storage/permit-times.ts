/** Options of the leases of permits: see `CircuitStorage`. */
interface PermitTimes {
  permitLeaseSeconds?: number | undefined;
  permitRenewSeconds?: number | undefined;
}

/**
 * Fills in the defaults.
 * @throws {RangeError} when a lease would end before it is renewed
 */
export function readPermitTimes({ permitLeaseSeconds = 15, permitRenewSeconds = 5 }: PermitTimes): {
  permitLeaseSeconds: number;
  permitRenewSeconds: number;
} {
  if (permitRenewSeconds >= permitLeaseSeconds) {
    throw new RangeError(
      `permitRenewSeconds must be less than permitLeaseSeconds, which is ${permitLeaseSeconds}; got ${permitRenewSeconds}`,
    );
  }
  return { permitLeaseSeconds, permitRenewSeconds };
}
