"""Runs the campaign. Exit status: 0 all runs passed, 1 some failed, 2 it could not run."""

import argparse
import concurrent.futures
import multiprocessing
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaign import fleet as fleets  # noqa: E402
from campaign.run import Result, one_run  # noqa: E402
from weir import certs, ports  # noqa: E402
from weir.node import ROOT, built  # noqa: E402

GROUP = 8  # runs that share a fleet
KEPT = ROOT / "run" / "campaign"
PORTS_APART = 120  # between the jobs
SLOW_SECONDS = 10  # healing that takes longer is worth a look, though it is no failure


def run_seed(seed, index):
    return f"{seed}-{index}"


def start_fleet(folder, pair, seed, first):
    fleet = fleets.Fleet(folder, pair, random.Random(f"{seed} fleet {first}"))
    try:
        return fleet.start()
    except BaseException:
        fleet.end()
        raise


def keep(fleet, result, seed):
    result.kept = KEPT / f"{'' if result.wrong else 'slow-'}{seed}-{result.index}"
    text = [f"seed {result.seed}, fleet: {result.fleet}",
            f"faults: {dict(result.faults)}", f"ended at {time.time():.2f}",
            f"healed in {result.healed_seconds:.1f} s", *result.wrong,
            f"again: ./dev campaign --seed {seed} --first {result.index} --runs 1"]
    fleet.keep(result.kept, "\n".join(text) + "\n")


def group(seed, indexes, group_first, deadline):
    """Runs on one fleet; a run that fails ends it, and the rest gets a new one."""
    results = []
    indexes = list(indexes)
    with tempfile.TemporaryDirectory(prefix="weir-campaign-") as folder:
        pair = certs.self_signed(folder, "cluster", days=3650)
        count = 0
        while indexes and time.time() < deadline:
            count += 1
            fleet = start_fleet(Path(folder) / f"f{count}", pair, seed, group_first)
            try:
                while indexes and time.time() < deadline:
                    index = indexes.pop(0)
                    result = one_run(fleet, index, run_seed(seed, index))
                    results.append(result)
                    if result.wrong or result.healed_seconds > SLOW_SECONDS:
                        keep(fleet, result, seed)
                    if result.wrong:
                        break
            finally:
                strays = fleet.end()
                if strays and results:
                    results[-1].wrong.append(f"processes that `weir stop` does not know: {strays}")
    return results


def one_group(arguments):
    seed, indexes, first, deadline = arguments
    try:
        return group(seed, indexes, first, deadline)
    except Exception as error:  # noqa: BLE001: a fleet that does not start is a failure of a run
        result = Result(indexes[0], run_seed(seed, indexes[0]))
        result.wrong.append(f"the fleet does not start: {error}")
        return [result]


def place_ports(counter):
    """Jobs look for free ports at different places."""
    with counter.get_lock():
        number = counter.value
        counter.value += 1
    ports._next = ports.FIRST + number * PORTS_APART % (ports.LAST - ports.FIRST)


def show(result):
    state = "FAILED" if result.wrong else "passed"
    print(f"run {result.index} seed {result.seed}: {state} in {result.seconds:.1f} s, healed in "
          f"{result.healed_seconds:.1f} s, {result.acknowledged} of {result.writes} writes "
          f"acknowledged, {result.answers} answers; {' '.join(sorted(result.faults.elements()))}",
          flush=True)
    for line in result.wrong:
        print(f"   {line}", flush=True)
    if result.kept:
        print(f"   logs: {result.kept}")
    if result.wrong:
        seed, _, index = result.seed.rpartition("-")
        print(f"   again: ./dev campaign --seed {seed} --first {index} --runs 1", flush=True)


def campaign(options):
    """Every result."""
    deadline = time.time() + options.minutes * 60 if options.minutes else float("inf")
    tasks = []
    first = options.first
    while first < options.first + options.runs:
        group_first = first - first % GROUP
        last = min(group_first + GROUP, options.first + options.runs)
        tasks.append((options.seed, list(range(first, last)), group_first, deadline))
        first = last
    results = []
    counter = multiprocessing.Value("i", 0)
    with concurrent.futures.ProcessPoolExecutor(
            options.jobs, multiprocessing.get_context("fork"), place_ports, (counter,)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one_group, t) for t in tasks]):
            for result in done.result():
                show(result)
                results.append(result)
    return results


def summary(options, results):
    faults = sum((r.faults for r in results), Counter())
    failed = [r for r in results if r.wrong]
    slowest = max((r.healed_seconds for r in results), default=0)
    print(f"\nseed {options.seed}: {len(results)} runs, {len(failed)} failed; "
          f"{sum(r.acknowledged for r in results)} of {sum(r.writes for r in results)} writes "
          f"acknowledged, {sum(r.answers for r in results)} answers read, slowest healing "
          f"{slowest:.1f} s")
    for name, count in sorted(faults.items(), key=lambda item: -item[1]):
        print(f"  {count:6d} {name}")
    if not fleets.disks_possible():
        print("  no full disks: mounting a small file system needs root")
    for result in failed:
        print(f"  failed: run {result.index}, logs in {result.kept}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed", flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="./dev campaign", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", default=str(int(time.time())), help="repeats a campaign")
    parser.add_argument("--first", type=int, default=0, help="index of the first run")
    parser.add_argument("--jobs", type=int, default=2, help="fleets at once")
    parser.add_argument("--minutes", type=float, default=0, help="no new run after so long")
    options = parser.parse_args(arguments)
    if not built() or not fleets.DUMP.exists():
        print("campaign: build first", file=sys.stderr)
        return 2
    print(f"seed {options.seed}", flush=True)
    results = campaign(options)
    summary(options, results)
    return 1 if not results or any(r.wrong for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
