const given = process.env["STORM_RUNS"];

/** What random tests start from: the same in every run, and another one each time that STORM_RUNS asks for more of them. */
export const SEED = given === undefined ? 2026 : Math.floor(Math.random() * 2 ** 31);

/** How often a random test runs: as often as STORM_RUNS says, if it says anything. */
export function runs(usual: number): number {
  return given === undefined ? usual : Number(given);
}
