// What a lease of the fleet's permits costs a call, against a bulkhead without one at the same storage, and how
// often the storage is asked meanwhile.
import { Bulkhead, InMemoryStorage } from "bulkman";
import { inRounds, nanosecondsPerCall, ratio, summary } from "./measuring.mjs";
import { QUICK, tell } from "./part.mjs";

const PERMITS = 10;
const BURST = 1000;
const CALLS = QUICK ? 2 * BURST : 20 * BURST;
const ROUNDS = QUICK ? 3 : 31;
/** In which the storage must not be asked. They take some milliseconds, and a lease lasts 15 s. */
const CALLS_IN_A_LEASE = 10_000;

const work = async () => 1;

class CountingStorage extends InMemoryStorage {
  asked = 0;

  lease(requests) {
    this.asked++;
    return super.lease(requests);
  }
}

/** The first call of a bulkhead with a limit for the fleet waits for its lease. */
async function subject(circuitStorage, config) {
  const bulkhead = new Bulkhead(
    { maxConcurrentCalls: PERMITS, maxQueueSize: BURST, timeoutSeconds: 1, ...config },
    { circuitStorage },
  );
  await bulkhead.call(work);
  return bulkhead;
}

async function oneAfterAnother(bulkhead, count) {
  for (let n = 0; n < count; n++) await bulkhead.call(work);
}

async function bursts(bulkhead, count) {
  for (let n = 0; n < count; n += BURST) {
    await Promise.all(Array.from({ length: BURST }, () => bulkhead.call(work)));
  }
}

async function compare(run) {
  const storage = new InMemoryStorage();
  const plain = await subject(storage, { name: "plain" });
  const leased = await subject(storage, { name: "leased", fleetMaxConcurrentCalls: PERMITS });
  const samples = await inRounds(
    {
      plain: () => nanosecondsPerCall(CALLS, () => run(plain, CALLS)),
      leased: () => nanosecondsPerCall(CALLS, () => run(leased, CALLS)),
    },
    { rounds: ROUNDS },
  );
  return {
    plain: summary(samples.plain),
    leased: summary(samples.leased),
    ratio: ratio(samples, "leased", "plain"),
  };
}

async function requests() {
  const storage = new CountingStorage();
  const leased = await subject(storage, { name: "asks", fleetMaxConcurrentCalls: PERMITS });
  const forTheLease = storage.asked;
  await oneAfterAnother(leased, CALLS_IN_A_LEASE);
  await bursts(leased, CALLS_IN_A_LEASE);
  return { forTheLease, inCalls: storage.asked - forTheLease };
}

await tell({
  permits: PERMITS,
  burst: BURST,
  calls: CALLS,
  rounds: ROUNDS,
  oneAfterAnother: await compare(oneAfterAnother),
  bursts: await compare(bursts),
  callsInALease: 2 * CALLS_IN_A_LEASE,
  requests: await requests(),
});
