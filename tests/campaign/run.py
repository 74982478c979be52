"""One run: writers, readers and faults for some seconds, then peace, then the checks."""

import concurrent.futures
import random
import time
import traceback
from collections import Counter

from . import check, faults
from .fleet import pause
from .readers import Reader
from .writers import Ledger, Writer


class Result:
    def __init__(self, index, seed):
        self.index, self.seed = index, seed
        self.faults = Counter()
        self.wrong = []  # sentences; none: it passed
        self.writes = self.acknowledged = self.answers = 0
        self.seconds = self.healed_seconds = 0.0
        self.fleet = ""
        self.kept = None  # where the logs are


def troubles(fleet, rng, result, until):
    """Faults one after the other, or two at a time. Whether clients may have lost connections."""
    lanes = [random.Random(rng.random()) for _ in range(rng.choice([1, 1, 2]))]
    with concurrent.futures.ThreadPoolExecutor(len(lanes)) as pool:
        return any([*pool.map(lambda lane: trouble(fleet, lane, result, until), lanes)])


def trouble(fleet, rng, result, until):
    disturbed = False
    while time.monotonic() < until:
        pause(until, rng.uniform(0.05, 0.7))
        if time.monotonic() >= until:
            break
        fault = rng.choice(faults.DISK_FAULTS if fleet.disks and rng.random() < 0.25 else faults.FAULTS)
        disturbed = disturbed or fault in faults.DISTURBING
        if fault(fleet, rng) is not False:
            result.faults[fault.__name__] += 1
    return disturbed


def one_run(fleet, index, seed):
    result = Result(index, seed)
    result.fleet = fleet.described
    rng = random.Random(f"{seed} run")
    started = time.monotonic()
    until = started + rng.uniform(2.0, 4.0)
    ledger = Ledger()
    writers = [Writer(fleet, ledger, n, f"r{index}", seed, until)
               for n in range(rng.randint(2, 8))]
    readers = [Reader(node, ledger, seed, until) for node in fleet.data]
    try:
        for thread in [*writers, *readers]:
            thread.start()
        disturbed = troubles(fleet, rng, result, until)
        for thread in [*writers, *readers]:
            thread.join(30)
        healing = time.monotonic()
        fleet.heal()
        result.healed_seconds = time.monotonic() - healing
        wrong, seconds = check.check(fleet, ledger, fleet.ledgers)
        fleet.ledgers.append(ledger)
        result.healed_seconds += seconds
        result.wrong += wrong
        for writer in writers:
            result.wrong += [f"writer: {error}" for error in writer.errors]
        for reader in readers:
            result.wrong += [f"seen by a reader: {what}" for what in reader.wrong[:3]]
            if reader.unanswered and not disturbed:
                result.wrong.append(f"{reader.node.title} left {len(reader.unanswered)} requests "
                                    f"without an answer: {reader.unanswered[:3]}")
    except Exception:  # noqa: BLE001: whatever it was, it belongs into the report
        result.wrong.append(traceback.format_exc())
    result.writes, result.acknowledged = ledger.writes, ledger.acknowledged
    result.answers = sum(reader.answers for reader in readers)
    if not result.wrong and (result.acknowledged == 0 or result.answers == 0):
        result.wrong.append("nothing was written or nothing was read: this run proves nothing")
    result.seconds = time.monotonic() - started
    return result
