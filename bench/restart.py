#!/usr/bin/env python3
"""A data plane with 90,000 entities starts again: how long until the first 200.

After `weir stop`, after kill -9 of everything, with the control plane away, and with an empty prefix."""

import math
import shutil
import time

from common import Pair, Report, Set, arguments, fill
from weir import ports
from weir.upstream import Upstream


def first_answer(data, path, host):
    """Seconds from the start command to the first 200 (infinite: none came), how long the command took,
    and what else was answered before."""
    others = set()
    start = time.monotonic()
    data.weir("start")
    returned = time.monotonic() - start
    while True:
        status = data.get(path, headers={"Host": host}).status
        if status == 200:
            data.remember()
            return time.monotonic() - start, returned, others
        others.add(status)
        if time.monotonic() - start > 120:
            return math.inf, returned, others
        time.sleep(0.001)


def main():
    options = arguments(__doc__, rounds=(int, 5, "of each"))
    report = Report("restart", options)
    upstream = Upstream(ports.free())
    with Pair(options.keep) as pair:
        entities = Set(options.entities, ("127.0.0.1", upstream.port))
        fill(pair.control, entities)
        last = entities.routes - 1
        path, host = entities.path(last), entities.host(last)
        pair.wait_served(path, headers={"Host": host})

        def several(label, before, goal, rounds=options.rounds, allowed=frozenset()):
            times, returns, seen = [], [], set()
            for _ in range(rounds):
                before()
                took, returned, others = first_answer(pair.data, path, host)
                times.append(took)
                returns.append(returned)
                seen |= others
            report.note(label, [took if math.isfinite(took) else None for took in times])
            report.figure(f"{label}: start to first 200", sorted(times)[len(times) // 2], "s", goal)
            report.figure(f"{label}: the command returned after", sorted(returns)[len(returns) // 2], "s")
            also = f" and {', '.join(map(str, sorted(allowed)))}" if allowed else ""
            report.figure(f"{label}: answers before it other than none{also}", len(seen - {0, 200} - allowed), "", 0)

        def killed():
            pair.data.kill("all")
            time.sleep(0.2)

        def emptied():
            pair.data.stop()
            shutil.rmtree(pair.data.prefix / "image")

        several("stopped", pair.data.stop, 0.15)
        several("killed", killed, 0.15)
        pair.control.stop()
        several("stopped, control plane away", pair.data.stop, 0.15)
        pair.control.start()
        several("empty, full set from the control plane", emptied, 10, rounds=2,
                allowed={503})  # which is what a data plane without a configuration says
        report.compared("start to first 200, incumbent", "2.3-3.8 s")
    report.finish()


if __name__ == "__main__":
    main()
