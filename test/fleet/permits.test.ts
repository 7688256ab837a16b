import { describe, expect, it } from "vitest";
import { newPermitsState, Permits } from "../../src/fleet/permits.js";

/** A bulkhead that wanted a permit of 1 and got none, because 3 want it. */
function short() {
  const permits = new Permits(newPermitsState(1));
  const demand = { inUse: 0, waiting: 1 };
  const keep = permits.request(0, demand, 1);
  const grant = { permits: 0, fair: 0, limit: 1, processes: 3, isContended: true, turn: 5 };
  permits.answered(keep, grant, 15_000);
  return { permits, lacks: () => permits.lacks(1, demand, 1) };
}

describe("Permits", () => {
  it("asks for permits that were given back when its turn has come", () => {
    const { permits, lacks } = short();
    expect(lacks()).toBe(false);
    permits.hear({ fair: 0, lastTurn: 5, gives: true });
    expect(lacks()).toBe(true);
  });

  it("does not ask for permits that were given back when it is the turn of another, or 1,000 processes would", () => {
    const { permits, lacks } = short();
    permits.hear({ fair: 0, lastTurn: 4, gives: true });
    expect(lacks()).toBe(false);
  });
});
