#!/usr/bin/env python3
"""Writes 90,000 entities through the Admin API over 16 keep-alive connections.

How many writes a second, how far the data plane is behind at the end, what both planes have in memory,
and what one more change costs on the wire."""

import time

from common import Pair, Report, Set, arguments, cpu_ms, fill, node_pss_mib, say
from weir import ports
from weir.relay import Relay
from weir.upstream import Upstream


def main():
    options = arguments(__doc__)
    report = Report("load", options)
    upstream = Upstream(ports.free())
    with Pair(options.keep) as pair:
        relay = Relay(ports.free(), pair.control.cluster_address)
        pair.data.stop()
        pair.data.settings["cluster_control_plane"] = f"127.0.0.1:{relay.port}"
        pair.data.start().wait_ready(30)
        entities = Set(options.entities, ("127.0.0.1", upstream.port))
        say(f"{entities.total} entities: {vars(entities)}")
        before = {name: (node_pss_mib(node), cpu_ms(node)) for name, node in pair.nodes().items()}
        measured = fill(pair.control, entities)
        last = entities.routes - 1
        start = time.monotonic()
        pair.wait_served(entities.path(last), headers={"Host": entities.host(last)})
        behind = time.monotonic() - start
        report.note("weir_load", measured)
        report.figure("writes", measured["per_second"], "1/s", 5000, ">=")
        report.compared("writes, incumbent (3.9 / 3.10)", "912 / 176 1/s")
        report.figure("refused", measured["refused"], "", 0)
        report.figure("answer of the Admin API, p50", measured["p50_us"] / 1000, "ms")
        report.figure("answer of the Admin API, p99", measured["p99_us"] / 1000, "ms")
        report.figure("data plane behind at the end", behind, "s", 1)
        for name, node in pair.nodes().items():
            memory, time_used = node_pss_mib(node), cpu_ms(node)
            report.figure(f"{name}: memory before", before[name][0], "MiB")
            report.figure(f"{name}: memory after", memory, "MiB")
            report.figure(f"{name}: processor time per write",
                          (time_used - before[name][1]) * 1000 / measured["requests"], "us")
        report.compared("data plane: memory, incumbent", "1389-1553 / 1600 MiB")
        report.figure("database", (pair.control.prefix / "weir.db").stat().st_size / 2**20, "MiB")
        report.figure("image", sum(
            p.stat().st_blocks * 512 for p in (pair.data.prefix / "image").iterdir()) / 2**20, "MiB")
        one_change(pair, entities, relay, report)
    report.finish()


def one_change(pair, entities, relay, report):
    """Bytes on the wire, both ways, for one change among all of these."""
    costs = []
    for number in range(20):
        time.sleep(0.3)
        before = relay.total()
        pair.control.admin.put(f"/routes/one-{number}", paths=[f"/one-{number}"],
                               service={"name": "s0"})
        pair.wait_served(f"/one-{number}")
        time.sleep(0.3)
        costs.append(relay.total() - before)
    report.note("bytes per change", costs)
    report.figure("bytes on the wire for one change, p50", sorted(costs)[len(costs) // 2], "B", 4096)
    report.figure("bytes on the wire for one change, max", max(costs), "B")
    report.figure("connections to the control plane", relay.connections, "", 2)


if __name__ == "__main__":
    main()
