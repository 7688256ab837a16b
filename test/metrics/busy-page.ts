import { BulkheadManager } from "../../src/index.js";
import { promClient } from "./reporters.js";
import { everyKindOfCall, SMALL } from "./traffic.js";

/** The page of three bulkheads that have had calls of every kind. */
export async function busyPage(): Promise<{ type: string; body: string }> {
  const reporter = await promClient();
  const manager = new BulkheadManager();
  reporter.add(manager);
  for (const name of ["api", 'a "quoted\\" one', "två\nrader"]) {
    const bulkhead = await manager.createBulkhead({ ...SMALL, name });
    await everyKindOfCall(bulkhead, async () => {});
  }
  const page = await reporter.scrape();
  await reporter.stop();
  return page;
}
