#!/usr/bin/env python3
"""Life with 90,000 entities: a service and a route are made, served, deleted, gone; N times.

From the Admin API's answer to the first 200, and to the first 404; memory before, at its peak and after;
processor time of both planes around one new consumer."""

import threading
import time

from common import (Pair, Report, Reused, Set, arguments, cpu_ms, fill, node_private_mib, node_pss_mib,
                    percentile, precise_cpu_ns)
from weir import ports
from weir.upstream import Upstream


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


def one_consumer(pair, rounds=20):
    """Processor time, idle rate taken off, that one consumer costs each plane."""
    nodes = pair.nodes()
    time.sleep(1)

    def used():
        return {name: precise_cpu_ns(node.all_pids()) for name, node in nodes.items()}

    start = used()
    time.sleep(rounds * 0.1)
    idle = {name: value - start[name] for name, value in used().items()}
    start = used()
    for number in range(rounds):
        pair.control.admin.post("/consumers", username=f"one-{number}")
        time.sleep(0.1)
    return {name: max(value - start[name] - idle[name], 0) / rounds / 1000
            for name, value in used().items()}


def main():
    options = arguments(__doc__, cycles=(int, 200, "how often"))
    report = Report("scenario")
    upstream = Upstream(ports.free())
    with Pair(options.keep) as pair:
        entities = Set(options.entities, ("127.0.0.1", upstream.port))
        fill(pair.control, entities)
        last = entities.routes - 1
        pair.wait_served(entities.path(last), headers={"Host": entities.host(last)})
        time.sleep(2)
        before = {name: node_pss_mib(node) for name, node in pair.nodes().items()}
        ticks = {name: cpu_ms(node) for name, node in pair.nodes().items()}
        peak = Peak(pair.nodes())
        peak.start()
        made, gone, answers = cycles(pair, entities, options.cycles)
        highest = peak.end()
        time.sleep(2)
        report.note("ms to the first 200", made)
        report.note("ms to the first 404", gone)
        report.figure("entities", entities.total, "")
        report.figure("answer to a write, p50", percentile(answers, 0.5), "ms")
        report.figure("made: answer to first 200, p50", percentile(made, 0.5), "ms", 10)
        report.figure("made: answer to first 200, p99", percentile(made, 0.99), "ms", 50)
        report.figure("deleted: answer to first 404, p50", percentile(gone, 0.5), "ms", 10)
        report.figure("deleted: answer to first 404, p99", percentile(gone, 0.99), "ms", 50)
        for name, node in pair.nodes().items():
            after = node_pss_mib(node)
            report.figure(f"{name}: memory before", before[name], "MiB")
            report.figure(f"{name}: memory at its peak", highest[name], "MiB", before[name] * 1.2)
            report.figure(f"{name}: memory after", after, "MiB", before[name] * 1.1)
            report.figure(f"{name}: of it not from files", node_private_mib(node), "MiB")
            report.figure(f"{name}: processor time per cycle of 4 writes",
                          (cpu_ms(node) - ticks[name]) / options.cycles, "ms")
        for name, cost in one_consumer(pair).items():
            report.figure(f"{name}: processor time for one consumer", cost, "us", 2000)
    report.finish()


if __name__ == "__main__":
    main()
