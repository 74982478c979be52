#!/usr/bin/env python3
"""Life with 1,000 and with 90,000 entities: a service and a route are made, served, deleted, gone; N times.

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


def measure(options, report, total):
    """Everything at one size; the p50 from answer to served, and processor time of one consumer."""
    upstream = Upstream(ports.free())
    with Pair(options.keep) as pair:
        entities = Set(total, ("127.0.0.1", upstream.port))
        fill(pair.control, entities)
        last = entities.routes - 1
        pair.wait_served(entities.path(last), headers={"Host": entities.host(last)})
        time.sleep(2)
        label = f"{entities.total:,}"
        before = {name: node_pss_mib(node) for name, node in pair.nodes().items()}
        ticks = {name: cpu_ms(node) for name, node in pair.nodes().items()}
        peak = Peak(pair.nodes())
        peak.start()
        made, gone, answers = cycles(pair, entities, options.cycles)
        highest = peak.end()
        time.sleep(2)
        report.note(f"{label}: ms to the first 200", made)
        report.note(f"{label}: ms to the first 404", gone)
        report.figure(f"{label}: answer to a write, p50", percentile(answers, 0.5), "ms")
        for what, values in (("made: answer to first 200", made), ("deleted: answer to first 404", gone)):
            report.figure(f"{label}: {what}, p50", percentile(values, 0.5), "ms", 2)
            report.figure(f"{label}: {what}, p99", percentile(values, 0.99), "ms", 10)
        for name, node in pair.nodes().items():
            report.figure(f"{label}: {name}: memory before", before[name], "MiB")
            report.figure(f"{label}: {name}: memory peak / before", highest[name] / before[name], "x", 1.02)
            report.figure(f"{label}: {name}: memory after / before", node_pss_mib(node) / before[name],
                          "x", 1.02)
            report.figure(f"{label}: {name}: of it not from files", node_private_mib(node), "MiB")
            report.figure(f"{label}: {name}: processor time per cycle of 4 writes",
                          (cpu_ms(node) - ticks[name]) / options.cycles, "ms")
        costs = one_consumer(pair)
        for name, cost in costs.items():
            report.figure(f"{label}: {name}: processor time for one consumer", cost, "us")
        return percentile(made, 0.5), costs


def main():
    options = arguments(__doc__, cycles=(int, 200, "how often"), small=(int, 1000, "the small size"))
    report = Report("scenario", options)
    few, few_costs = measure(options, report, options.small)
    many, many_costs = measure(options, report, options.entities)
    report.figure("made, p50: large / small", many / few, "x", 1.2)
    for name in few_costs:
        report.figure(f"{name}: processor time for one consumer, large / small",
                      many_costs[name] / max(few_costs[name], 1), "x")
    report.compared("made: answer to first 200, incumbent (3.9 / 3.10)", "12.1 / 6.7 s")
    report.compared("data plane: processor time for one route (3.9 / 3.10)", "4.3 / 1.7 s")
    report.compared("data plane: memory, incumbent", "1389-1553 / 1600 MiB")
    report.finish()


if __name__ == "__main__":
    main()
