/** What a rejection of the circuit matches. */
export const CIRCUIT_OPEN = { code: "ERR_BULKHEAD_CIRCUIT_OPEN" };
