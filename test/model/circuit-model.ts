import type { SharedCircuitState } from "../../src/circuit/shared-circuit-state.js";
import type { CircuitTransition } from "../../src/circuit/transition.js";
import type { CircuitRecord } from "../../src/storage/circuit-storage.js";
import type { Model } from "./checker.js";
import { WorldEncoding } from "./circuit-encoding.js";
import { InstantMessages } from "./circuit-instant.js";
import { type CircuitCode, CircuitProcess, NOW_MS, type Timer } from "./circuit-process.js";
import {
  brokenByRecord,
  disagreement,
  isClosedEverywhere,
  isClosedInProcesses,
  unleased,
} from "./circuit-properties.js";
import { carryOut, lateMoves, type Report, storageMoves } from "./circuit-storage-moves.js";
import { describeWorld, show, showChange } from "./circuit-text.js";
import {
  die,
  FAULTS,
  type Fault,
  type Faults,
  firstRecord,
  forgedNotices,
  isSick,
  type Member,
  renew,
  replace,
  spend,
  standingQuorum,
  type World,
  withoutOldNews,
} from "./circuit-world.js";

export interface CircuitModelOptions {
  readonly code: CircuitCode;
  readonly processes: number;
  readonly successThreshold: number;
  /** How many hosts open the record. @default 1 */
  readonly openQuorum?: number;
  /** The host of each process. Default: one each. */
  readonly hosts?: readonly string[];
  /** Every call on this host fails, for good. Default: none. */
  readonly sickHost?: string;
  /** How often each of them may happen in one run. Default: never. */
  readonly faults: { readonly [fault in Fault]?: number };
  /**
   * Whether the storage is back in the end. If not, every process is to get its circuit closed by itself.
   * @default true
   */
  readonly recovers?: boolean;
  /**
   * Whether a notice arrives with the change that it is about: fewer orders, for more processes.
   * @default false
   */
  readonly instantNotices?: boolean;
  /**
   * Whether a request is carried out in the step in which its process sends it, unless a notice led to it, or it can still
   * be lost.
   * @default false
   */
  readonly instantRequests?: boolean;
  /**
   * Whether the answer arrives in the step in which the request is carried out.
   * @default false
   */
  readonly instantAnswers?: boolean;
}

/** The circuit of a fleet, by the real code: processes on one storage, and all that can go wrong. */
export class CircuitModel implements Model<World> {
  readonly initial: World;
  readonly #processes: readonly CircuitProcess[];
  readonly #recovers: boolean;
  readonly #successThreshold: number;
  readonly #instant: InstantMessages;
  /** The process that runs, as it was before this step. */
  #judged: Member | undefined = undefined;
  /** The rule that the step under way has broken. */
  #broken: string | undefined = undefined;

  constructor(options: CircuitModelOptions) {
    const { code, processes, successThreshold, faults, recovers = true } = options;
    this.#recovers = recovers;
    this.#successThreshold = successThreshold;
    const { openQuorum = 1, sickHost } = options;
    const hosts = options.hosts ?? Array.from({ length: processes }, (_, index) => `P${index}`);
    this.#instant = new InstantMessages(options, (...args) => this.#run(...args));
    const record = firstRecord();
    this.#processes = Array.from({ length: processes }, (_, index) => {
      const process = new CircuitProcess(code, {
        ...{ owner: `P${index}`, host: hosts[index] ?? `P${index}`, successThreshold, openQuorum },
      });
      process.onTransition = (transition, now) => this.#judge(transition, now, process.isFailing);
      process.carriedOut({ changed: false, record });
      process.answered();
      return process;
    });
    this.initial = {
      fleet: { applyChange: code.applyChange, hosts, openQuorum, sickHost },
      record,
      previous: undefined,
      floor: 0,
      isUp: true,
      left: Object.fromEntries(FAULTS.map((fault) => [fault, faults[fault] ?? 0])) as Faults,
      members: this.#processes.map((process) => ({
        mode: "live",
        process: process.save(),
        notice: undefined,
        isDisconnected: false,
        late: undefined,
        isTaken: false,
      })),
    };
  }

  encoding(world: World) {
    return new WorldEncoding(world);
  }

  describe(world: World): string {
    return describeWorld(world);
  }

  isJudged({ fleet, members }: World): boolean {
    return members.some(({ mode }, index) => mode === "live" && !isSick(fleet, index));
  }

  isGoal(world: World): boolean {
    const staysOut = !world.isUp && !this.#recovers;
    return staysOut ? isClosedInProcesses(world) : isClosedEverywhere(world);
  }

  broken(world: World): string | undefined {
    return standingQuorum(world) ?? disagreement(world);
  }

  moves(world: World, given: Report): void {
    storageMoves(world, this.#recovers, (move) => given(this.#instant.after(move)));
    for (const index of world.members.keys()) {
      const member = world.members[index];
      if (member === undefined) continue;
      const report: Report = (move) => given(this.#instant.after(move, index));
      lateMoves(world, index, member, report);
      if (member.mode === "dead") continue;
      this.#questionMoves(world, index, member, report);
      if (member.mode === "leaving") continue;
      this.#lifeMoves(world, index, member, report);
      this.#circuitMoves(world, index, member, report);
      this.#noticeMoves(world, index, member, report);
    }
  }

  // Questions

  #questionMoves(world: World, index: number, member: Member, report: Report): void {
    const { outstanding } = member.process;
    if (outstanding === undefined) return;
    const what = () => showChange(outstanding.change);
    const { answer } = outstanding;
    if (answer !== undefined) {
      const result =
        outstanding.change === undefined ? "" : answer.changed ? "made, " : "refused, ";
      const label = () =>
        `P${index} has the answer to its ${what()}: ${result}${show(answer.record)}`;
      this.#run(world, index, label, true, report, (process) => process.answered(), unleased);
      if (world.left.lostAnswers > 0) {
        const lossy = spend(world, "lostAnswers");
        const label = () => `P${index}: the answer to its ${what()} is lost`;
        this.#run(lossy, index, label, false, report, (process) => process.failed());
      }
      return;
    }
    if (!world.isUp) {
      const label = () => `P${index}: no storage for its ${what()}`;
      this.#run(world, index, label, true, report, (process) => process.failed());
      return;
    }
    const done = () => `storage: P${index}'s ${what()} is carried out`;
    const carriedOut = carryOut(world, index, member);
    report({ label: done, isGood: true, ...carriedOut });
    if (world.left.lostAnswers === 0) return;
    if (this.#instant.answers) {
      const lossy = spend(carriedOut.next, "lostAnswers");
      const label = () => `storage: P${index}'s ${what()} is carried out, and the answer is lost`;
      this.#run(lossy, index, label, false, report, (process) => process.failed());
    }
    const label = () => `P${index} gives up its ${what()}`;
    const late =
      outstanding.change === undefined
        ? member.late
        : { change: outstanding.change, openings: outstanding.openings };
    const lossy = replace(spend(world, "lostAnswers"), index, { ...member, late });
    this.#run(lossy, index, label, false, report, (process) => process.failed());
  }

  // One process

  #lifeMoves(world: World, index: number, member: Member, report: Report): void {
    const { process } = member;
    if (world.left.crashes > 0) {
      const { outstanding } = process;
      const isUnsent = outstanding?.change !== undefined && outstanding.answer === undefined;
      const late = isUnsent
        ? { change: outstanding.change, openings: outstanding.openings }
        : member.late;
      const next = replace(spend(world, "crashes"), index, die({ ...member, late }));
      report({ label: () => `P${index} dies`, isGood: false, next, broken: undefined });
    }
    if (world.left.shutdowns > 0) {
      const leaving = replace(spend(world, "shutdowns"), index, { ...member, mode: "leaving" });
      this.#run(
        leaving,
        index,
        () => `P${index} is shut down`,
        false,
        report,
        (process) => {
          process.run((_, sync) => void sync.disconnect());
        },
      );
    }
    for (const timer of process.timers) {
      const isClaim = process.sync.timers.leaseRequest === (timer as unknown);
      if (isClaim && world.left.lateClaims === 0) continue;
      const from = isClaim ? spend(world, "lateClaims") : world;
      const label = () => `P${index}: the timer "${nameOf(timer, process.sync)}" fires`;
      this.#run(from, index, label, !isClaim, report, (process) => process.fire(timer));
    }
  }

  #circuitMoves(world: World, index: number, member: Member, report: Report): void {
    const { circuit, probes, hanging } = member.process;
    const { state } = circuit;
    const run = (
      label: string,
      isGood: boolean,
      act: (process: CircuitProcess) => void,
      from = world,
    ) => this.#run(from, index, () => `P${index}: ${label}`, isGood, report, act);
    const fault = (fault: Fault, label: string, act: (process: CircuitProcess) => void) => {
      if (world.left[fault] > 0) run(label, false, act, spend(world, fault));
    };
    if (state.status !== "CLOSED" && state.until > NOW_MS && state.until < NOW_MS + 1e6) {
      const what = state.status === "OPEN" ? "isolation" : "lease";
      run(`the ${what} is over by its clock`, true, (process) => {
        process.circuit.restore({ ...circuit, state: { ...state, until: NOW_MS } });
        process.run((circuit) => circuit.refresh());
      });
    }
    const isDown = isSick(world.fleet, index);
    if (state.status === "CLOSED") {
      const open = (process: CircuitProcess) => {
        process.run((circuit) => circuit.recordFailure(new Error("down")));
      };
      if (isDown) run("its calls fail as always, it opens", true, open);
      else fault("openings", "calls fail, it opens", open);
    }
    if (state.status === "HALF_OPEN") {
      const isFree = state.until <= NOW_MS;
      // Alone, it probes again after each lease, whatever became of the probes before.
      const isBusy = probes - hanging >= this.#successThreshold;
      if ((isFree || state.probesLeft > 0) && !isBusy) {
        run(isFree ? "a call claims the lease" : "a call probes", true, (process) =>
          process.call(),
        );
      }
      if (state.prober === "ours" && probes > hanging) {
        if (isDown) run("a probe fails as always", true, (process) => process.settle("failure"));
        else run("a probe succeeds", true, (process) => process.settle("success"));
        fault("probeFailures", "a probe fails", (process) => process.settle("failure"));
        fault("hangs", "a probe hangs", (process) => process.settle("hangs"));
      }
    }
    fault("healthFailures", "a health check fails", (process) => {
      process.run((circuit) => circuit.healthCheckFailed(new Error("down")));
    });
    if (state.status === "OPEN") {
      fault("healthPasses", "a health check passes", (process) => {
        process.run((circuit, sync) => {
          if (!sync.isIsolatedByOperator) circuit.healthCheckPassed();
        });
      });
    }
    const steer = state.status === "OPEN" ? "closes" : "opens";
    fault("hands", `a hand ${steer} it`, (process) => {
      process.run((circuit) => {
        if (steer === "closes") circuit.close("by hand", "manual");
        else circuit.open("by hand", "manual");
      });
    });
  }

  #noticeMoves(world: World, index: number, member: Member, report: Report): void {
    const { notice, isDisconnected, process } = member;
    const { openings, opening } = process.sync.reconciler;
    const hear = (label: string, isGood: boolean, from: World, record: CircuitRecord) =>
      this.#run(
        from,
        index,
        () => `P${index} ${label}${show(record)}`,
        isGood,
        report,
        (process) => {
          process.hear(record);
        },
      );
    if (notice !== undefined) {
      const heard = replace(world, index, { ...member, notice: undefined });
      hear("receives the notice ", true, heard, notice);
    }
    if (!isDisconnected && world.left.lostNotices > 0) {
      const deaf = { ...member, notice: undefined, isDisconnected: true };
      const next = replace(spend(world, "lostNotices"), index, deaf);
      const label = () => `P${index} loses its listening connection`;
      report({ label, isGood: false, next, broken: undefined });
    }
    // After a failover an old answer cannot come over the new connection.
    const isBehind = world.floor > 0 && process.outstanding?.answer !== undefined;
    if (isDisconnected && world.isUp && !isBehind) {
      const listening = replace(world, index, { ...member, isDisconnected: false });
      const renewed = renew(listening, index);
      hear("listens again, and reads ", true, renewed, renewed.record);
    }
    if (world.left.forgedNotices > 0) {
      const tag = opening === undefined ? "nobody" : `P${index} ${openings}`;
      for (const forged of forgedNotices(world.record, `P${index}`, tag)) {
        hear("receives a ", false, spend(world, "forgedNotices"), forged);
      }
    }
  }

  #run(
    world: World,
    index: number,
    label: () => string,
    isGood: boolean,
    report: Report,
    act: (process: CircuitProcess) => void,
    judge?: (before: Member, after: Member, owner: string) => string | undefined,
  ): void {
    const member = world.members[index];
    const process = this.#processes[index];
    if (member === undefined || process === undefined) return;
    process.restore(member.process);
    this.#broken = undefined;
    this.#judged = member;
    act(process);
    this.#judged = undefined;
    const saved = process.save();
    const isNew = saved.sync.reconciler.openings !== member.process.sync.reconciler.openings;
    const after = withoutOldNews({
      ...member,
      process: saved,
      isTaken: member.isTaken && !isNew,
    });
    const hasLeft = member.mode === "leaving" && saved.outstanding === undefined;
    const next = replace(world, index, hasLeft ? die(after) : after);
    report({ label, isGood, next, broken: this.#broken ?? judge?.(member, after, `P${index}`) });
  }

  #judge(
    transition: CircuitTransition,
    now: Readonly<SharedCircuitState>,
    isFailing: boolean,
  ): void {
    if (transition.origin !== "storage" || this.#judged === undefined) return;
    this.#broken = brokenByRecord(this.#judged, transition, now, isFailing);
    this.#judged = undefined;
  }
}

function nameOf(timer: Timer, { timers }: Readonly<SharedCircuitState>): string {
  return Object.entries(timers).find(([, set]) => set === (timer as unknown))?.[0] ?? "other";
}
