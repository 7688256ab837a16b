// The results as text, for a terminal.

export function print(results) {
  const {
    machine,
    node,
    versions,
    calls,
    waiting,
    eventLoop,
    idle,
    postgres,
    fleet,
    guard,
    memory,
  } = results;
  console.log(
    `${machine.cpu}, ${machine.cores} cores; ${machine.os}; Node ${node}; ${results.date}`,
  );
  console.log(Object.entries(versions).flat().join(" "));

  const { permits, burst, rounds } = calls;
  const how = `median of ${rounds} rounds of ${calls.calls} (10th to 90th percentile)`;
  printCalls(`A call, one after another, ${permits} permits: ${how}`, calls.oneAfterAnother);
  printCalls(`A call, bursts of ${burst}, ${permits} permits: ${how}`, calls.bursts);
  printCalls(`A rejection by an open circuit: ${how}`, calls.open);
  printCalls(`A rejection when full: ${how}`, calls.full);

  console.log(`\nA waiting call among ${waiting.many}`);
  for (const [name, bytes] of Object.entries(waiting.bytes)) {
    console.log(`  ${name.padEnd(46)} ${String(bytes).padStart(7)} bytes`);
  }
  for (const end of ["timeout", "abort"]) {
    const { few, many, ratio } = waiting[end];
    const costs = `${few.median} ns among ${waiting.few}, ${many.median} ns among ${waiting.many}`;
    console.log(`  wait until ${end.padEnd(35)} ${costs}: ${spread(ratio)}`);
  }

  const control = waiting.timeout["ratioTo many short queues"];
  console.log(
    `  as many at once in lines of ${waiting.few}: the long line costs ${spread(control)} of that`,
  );

  console.log(`\nThe event loop while ${eventLoop.count} waiting calls time out, milliseconds`);
  for (const [title, { p99, longest }] of [
    ["all due at one instant", eventLoop.dueAtOnce],
    ["due as they came, in one burst", eventLoop.dueAsTheyCame],
  ]) {
    console.log(`  ${title.padEnd(46)} p99 ${spread(p99)}, longest turn ${spread(longest)}`);
  }

  const { microseconds, kibibytes, timers } = idle;
  console.log(`\n${idle.count} idle bulkheads: ${spread(microseconds)} µs to make one,`);
  console.log(`  ${kibibytes} KiB each, ${timers} timers in all`);

  console.log(
    `\nA call with its circuit in Postgres, ${postgres.rounds} rounds of ${postgres.calls}`,
  );
  console.log(
    `  in memory ${spread(postgres.memory)} ns, in Postgres ${spread(postgres.postgres)} ns`,
  );
  console.log(`  ratio ${spread(postgres.ratio)}; queries: ${postgres.queriesToLoad} to load,`);
  console.log(`  ${postgres.queriesInCalls} in all the calls`);

  console.log(`\nA call under a lease of permits, ${fleet.rounds} rounds of ${fleet.calls}`);
  for (const [title, { plain, leased, ratio }] of [
    ["one after another", fleet.oneAfterAnother],
    [`bursts of ${fleet.burst}`, fleet.bursts],
  ]) {
    const costs = `${spread(plain)} ns without, ${spread(leased)} ns`;
    console.log(`  ${title.padEnd(20)} ${costs}: ${spread(ratio)}`);
  }
  const { forTheLease, inCalls } = fleet.requests;
  console.log(`  requests for permits: ${forTheLease} for the lease,`);
  console.log(`  ${inCalls} in ${fleet.callsInALease} calls under it`);

  console.log(`\nA request through a guard, ${guard.rounds} rounds of ${guard.requests}`);
  for (const [client, runs] of Object.entries(guard.clients)) {
    for (const { atOnce, bare, guarded, ratio, ratioOfRetry } of runs) {
      const costs = `${spread(bare)} ns bare, ${spread(guarded)} ns: ${spread(ratio)}`;
      console.log(`  ${`${client}, ${atOnce} at once`.padEnd(20)} ${costs}`);
      console.log(`  ${"".padEnd(20)} undici's retry interceptor: ${spread(ratioOfRetry)}`);
    }
  }

  for (const { name, calls, servable, subjects } of results.load.scenarios) {
    console.log(`\nLoad, ${name}: ${calls} calls, of which ${servable} can be served`);
    for (const { name, served, p50, p99, opened, inVain, mostAtOnce } of subjects) {
      const share = `${Math.round((100 * served) / servable)} % served, p50 ${p50} ms, p99 ${p99} ms`;
      console.log(
        `  ${name.padEnd(36)} ${share}, opened ${opened}, in vain ${inVain}, most at once ${mostAtOnce}`,
      );
    }
  }

  console.log("\nThe heap after a collection, MiB: a sixth of the time in, and at the end");
  for (const [name, { calls, mebibytes, secondsPerSample }] of Object.entries(memory)) {
    const early = mebibytes[Math.floor(mebibytes.length / 6)];
    const seconds = mebibytes.length * secondsPerSample;
    console.log(
      `  ${name.padEnd(10)} ${early} and ${mebibytes.at(-1)}; ${calls} calls in ${seconds} s`,
    );
  }

  console.log("\nTargets");
  for (const { title, unit, seen, limit, met } of results.targets) {
    const verdict = met ? "met" : "NOT MET";
    console.log(`  ${verdict.padEnd(8)} ${title}: ${seen}${unit}, at most ${limit}${unit}`);
  }
}

function printCalls(title, { base, rows }) {
  console.log(`\n${title}`);
  console.log(`  ${"".padEnd(36)} ${"ns".padEnd(24)} ${`of ${base}`.padEnd(38)} guarantees`);
  for (const { name, nanoseconds, ratio, guarantees } of rows) {
    console.log(
      `  ${name.padEnd(36)} ${spread(nanoseconds).padEnd(24)} ${spread(ratio).padEnd(38)} ${guarantees}`,
    );
  }
}

function spread({ median, low, high }) {
  return `${median} (${low} to ${high})`;
}
