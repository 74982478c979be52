#!/usr/bin/env python3
"""Life with 1,000 and with 90,000 entities: a service and a route are made, served, deleted, gone; N times.

From the Admin API's answer to the first 200, and to the first 404; memory before, at its peak and after;
processor time of both planes for one new consumer. Both sizes are there all the time and take turns, of 20 cycles
and of one consumer: what a machine needs for the same work changes from minute to minute by more than what is
compared."""

import contextlib
import statistics
import threading
import time

from common import (Pair, Report, Reused, Set, arguments, cpu_ms, fill, node_private_mib, node_pss_mib,
                    percentile, precise_cpu_ns)
from weir import ports
from weir.upstream import Upstream

TURN = 20  # cycles
GAP = 0.1  # seconds from one consumer to the next: each is a change of its own, on nodes that slept
IDLE = 4  # seconds, before and after


class Peak(threading.Thread):
    """The highest memory of each node, looked at ten times a second."""

    def __init__(self, nodes):
        super().__init__(daemon=True)
        self.nodes, self.going = nodes, True
        self.peak = dict.fromkeys(nodes, 0.0)

    def run(self):
        while self.going:
            for name, node in self.nodes.items():
                self.peak[name] = max(self.peak[name], node_pss_mib(node))
            time.sleep(0.1)

    def end(self):
        self.going = False
        self.join(5)
        return self.peak


def until(client, path, wanted, limit=10.0):
    start = time.monotonic()
    while client.status(path) != wanted:
        if time.monotonic() - start > limit:
            raise SystemExit(f"{path} is not {wanted} after {limit} s")
    return (time.monotonic() - start) * 1000


def cycles(pair, entities, count):
    admin, client = pair.control.client(), Reused(pair.data.proxy_address)
    made, gone, answers = [], [], []
    for number in range(count):
        start = time.monotonic()
        service = admin.post("/services", name=f"cycle{number}", host=entities.upstream[0],
                             port=entities.upstream[1])
        route = admin.post("/routes", paths=[f"/cycle{number}"], service={"id": service["id"]})
        answers.append((time.monotonic() - start) * 500)
        made.append(until(client, f"/cycle{number}", 200))
        admin.delete(f"/routes/{route['id']}")
        gone.append(until(client, f"/cycle{number}", 404))
        admin.delete(f"/services/{service['id']}")
    return made, gone, answers


def used(node_pids):
    return {name: precise_cpu_ns(pids) for name, pids in node_pids.items()}


def less(after, before, scale=1.0):
    return {name: (value - before[name]) * scale for name, value in after.items()}


def idle_rates(pairs_pids):
    """Nanoseconds a second that nodes use which have nothing to do."""
    time.sleep(2)  # what a change leaves for later is done once a second
    before, began = [used(pids) for pids in pairs_pids], time.monotonic()
    time.sleep(IDLE)
    return [less(used(pids), start, 1 / (time.monotonic() - began)) for pids, start in zip(pairs_pids, before)]


def one_consumer(pairs, rounds):
    """Processor time, in microseconds, that one consumer costs each plane of each pair: (means, single values).
    The pairs take turns. The mean is of all that a node used meanwhile, whenever it did, less its idle rate before
    and after; a single value is what it used until the other pair's turn, less nothing."""
    pairs_pids = [{name: node.all_pids() for name, node in pair.nodes().items()} for pair in pairs]
    single = [{name: [] for name in pids} for pids in pairs_pids]
    for pair in pairs:
        pair.control.admin.post("/consumers", username="one")  # opens the connection
    rates = [idle_rates(pairs_pids)]
    before, began = [used(pids) for pids in pairs_pids], time.monotonic()
    for number in range(rounds):
        for pair, pids, values in zip(pairs, pairs_pids, single):
            start = used(pids)
            pair.control.admin.post("/consumers", username=f"one-{number}")
            time.sleep(GAP)
            for name, value in less(used(pids), start, 1e-3).items():
                values[name].append(value)
    time.sleep(1)
    totals, took = [less(used(pids), start) for pids, start in zip(pairs_pids, before)], time.monotonic() - began
    rates.append(idle_rates(pairs_pids))
    means = [{name: (value - took * (first[name] + last[name]) / 2) / rounds / 1000 for name, value in total.items()}
             for total, first, last in zip(totals, *rates)]
    return means, single


class Scene:
    """A control plane and a data plane of one size, and what was measured there."""

    def __init__(self, stack, options, total):
        upstream = Upstream(ports.free())
        self.pair = stack.enter_context(Pair(options.keep))
        self.entities = Set(total, ("127.0.0.1", upstream.port))
        self.label = f"{self.entities.total:,}"
        self.made, self.gone, self.answers = [], [], []
        fill(self.pair.control, self.entities)
        last = self.entities.routes - 1
        self.pair.wait_served(self.entities.path(last), headers={"Host": self.entities.host(last)})

    def start(self, warm):
        """The memory before is that of nodes that change: after `warm` cycles, and not of a data plane that has just
        given back what it had mapped."""
        cycles(self.pair, self.entities, warm)
        nodes = self.pair.nodes()
        self.before = {name: node_pss_mib(node) for name, node in nodes.items()}
        self.ticks = {name: cpu_ms(node) for name, node in nodes.items()}
        self.peak = Peak(nodes)
        self.peak.start()

    def turn(self, count):
        made, gone, answers = cycles(self.pair, self.entities, count)
        self.made += made
        self.gone += gone
        self.answers += answers

    def end(self, report, highest):
        label = self.label
        report.note(f"{label}: ms to the first 200", self.made)
        report.note(f"{label}: ms to the first 404", self.gone)
        report.figure(f"{label}: answer to a write, p50", percentile(self.answers, 0.5), "ms")
        for what, values in (("made: answer to first 200", self.made), ("deleted: answer to first 404", self.gone)):
            report.figure(f"{label}: {what}, p50", percentile(values, 0.5), "ms", 2)
            report.figure(f"{label}: {what}, p99", percentile(values, 0.99), "ms", 10)
        for name, node in self.pair.nodes().items():
            before = self.before[name]
            report.figure(f"{label}: {name}: memory before", before, "MiB")
            report.figure(f"{label}: {name}: memory peak / before", highest[name] / before, "x", 1.02)
            report.figure(f"{label}: {name}: memory after / before", node_pss_mib(node) / before, "x", 1.02)
            report.figure(f"{label}: {name}: of it not from files", node_private_mib(node), "MiB")
            report.figure(f"{label}: {name}: processor time per cycle of 4 writes",
                          (cpu_ms(node) - self.ticks[name]) / len(self.made), "ms")


def compare_consumers(report, scenes, rounds):
    means, single = one_consumer([scene.pair for scene in scenes], rounds)
    medians = [{name: statistics.median(values) for name, values in one.items()} for one in single]
    for scene, costs, values in zip(scenes, means, single):
        for name, cost in costs.items():
            report.figure(f"{scene.label}: {name}: processor time for one consumer", cost, "us")
            report.note(f"{scene.label}: {name}: us for each consumer", [round(value) for value in values[name]])
    for what, (small, large) in (("", means), (", p50", medians)):
        for name, cost in small.items():
            report.figure(f"{name}: processor time for one consumer{what}, large / small",
                          large[name] / max(cost, 1), "x")


def main():
    options = arguments(__doc__, cycles=(int, 200, "how often"), small=(int, 1000, "the small size"),
                        consumers=(int, 200, "of how many the processor time is taken"))
    report = Report("scenario", options)
    with contextlib.ExitStack() as stack:
        small, large = (Scene(stack, options, total) for total in (options.small, options.entities))
        time.sleep(2)
        for scene in (small, large):
            scene.start(options.cycles)
        for start in range(0, options.cycles, TURN):
            for scene in (small, large):
                scene.turn(min(TURN, options.cycles - start))
        highest = [scene.peak.end() for scene in (small, large)]
        time.sleep(2)
        for scene, peak in zip((small, large), highest):
            scene.end(report, peak)
        compare_consumers(report, (small, large), options.consumers)
    report.figure("made, p50: large / small", percentile(large.made, 0.5) / percentile(small.made, 0.5), "x", 1.2)
    report.compared("made: answer to first 200, incumbent (3.9 / 3.10)", "12.1 / 6.7 s")
    report.compared("data plane: processor time for one route (3.9 / 3.10)", "4.3 / 1.7 s")
    report.compared("data plane: memory, incumbent", "1389-1553 / 1600 MiB")
    report.finish()


if __name__ == "__main__":
    main()
