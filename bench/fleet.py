#!/usr/bin/env python3
"""A fleet of 1,000 and of 5,000 data planes (weir-fleet): one change to the last of them, what a data plane
costs its control plane in memory and processor time, and the herd after the control plane was killed.

All on one machine: the fleet's own work (TLS, JSON) takes processor time from the control plane, so moments
are upper bounds. Memory is compared with bare nginx that holds as many TLS connections which say nothing."""

import subprocess
import tempfile
import time
from pathlib import Path

from common import (Report, Set, arguments, cpu_ms, fill, node_pss_mib, percentile, precise_cpu_ns, pss_kib, say)
from scenario import Peak
from weir import certs, http, ports
from weir.fleet import PROGRAM, Fleet
from weir.node import ControlNode

ENTITIES = 1000  # each node of the fleet gets and parses them all at first
SETTLE_S = 3


class Control:
    """A control plane in a folder of its own."""

    def __init__(self, keep):
        self.folder = tempfile.mkdtemp(prefix="weir-bench-")
        self.keep = keep
        self.pair = certs.self_signed(self.folder, "cluster")
        self.node = ControlNode(Path(self.folder) / "cp", self.pair, log_level="notice")

    def __enter__(self):
        self.node.bootstrap().start()
        return self

    def __exit__(self, *_):
        self.node.end()
        if self.keep:
            say(f"left in {self.folder}")
        else:
            subprocess.run(["rm", "-rf", self.folder], check=False)

    def fleet(self, nodes, **options):
        return Fleet(self.node.cluster_address, self.pair, nodes, log=subprocess.DEVNULL, quiet=True, **options)


def connect(fleet, count, timeout):
    """All are there and have what there is; the newest version."""
    fine, numbers = fleet.connected(count, timeout)
    if not fine:
        raise SystemExit(f"{numbers} within {timeout} s: {fleet.stats()}")
    version = fleet.stats()["newest_version"]
    fine, numbers = fleet.wait(version, timeout)
    if not fine:
        raise SystemExit(f"{numbers} within {timeout} s: {fleet.stats()}")
    return version


# -- memory of TLS alone -----------------------------------------------------------------------


def bare_nginx(folder, pair, port):
    """nginx with the TLS of the cluster listener and nothing else; its Popen."""
    folder = Path(folder) / "bare"
    (folder / "logs").mkdir(parents=True)
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/logs/error.log;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log off;
    server {{ listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate {pair[0]}; ssl_certificate_key {pair[1]};
        ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:bare:10m; ssl_verify_client optional_no_ca;
        client_header_timeout 600s; location / {{ return 200 "ok\\n"; }} }}
}}
""")
    return subprocess.Popen(["nginx", "-p", f"{folder}/", "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)


def tree(pid):
    from weir.node import children
    return [pid, *children(pid)]


def tls_alone(control, nodes):
    """KiB of bare nginx for one TLS connection that says nothing."""
    port = ports.free()
    process = bare_nginx(tempfile.mkdtemp(prefix="bare-", dir=control.folder), control.pair, port)
    try:
        http.poll(("127.0.0.1", port), "/", 400, 5)  # plain HTTP on a TLS port
        before = sum(map(pss_kib, tree(process.pid)))
        with Fleet(("127.0.0.1", port), control.pair, nodes, log=subprocess.DEVNULL, quiet=True, half_open=100) as fleet:
            deadline = time.monotonic() + 60
            while fleet.stats()["tls_open"] < nodes and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(1)
            held = fleet.stats()["tls_open"]
            return (sum(map(pss_kib, tree(process.pid))) - before) / max(held, 1)
    finally:
        process.terminate()
        process.wait(10)


# -- what is measured ----------------------------------------------------------------------------


def one_change(report, label, control, fleet, version, repetitions, goal):
    """From the Admin API's answer to the moment at which the last data plane has it."""
    pids = control.node.all_pids()
    waits, spreads, answers = [], [], []
    used = 0
    for number in range(repetitions):
        time.sleep(0.05)
        before = precise_cpu_ns(pids)
        asked = time.monotonic()
        control.node.admin.post("/consumers", username=f"fleet-{label}-{number}")
        answered_us = time.monotonic_ns() // 1000
        answers.append((answered_us / 1e6 - asked) * 1000)
        version += 1
        fine, numbers = fleet.wait(version, 30)
        if not fine:
            raise SystemExit(f"version {version}: {numbers}")
        time.sleep(0.05)  # what is acknowledged
        used += precise_cpu_ns(pids) - before
        waits.append(max(numbers["last_us"] - answered_us, 0) / 1000)
        spreads.append(numbers["max_us"] / 1000)
    report.note(f"{label}: ms from the answer to the last data plane", waits)
    report.figure(f"{label}: answer to the write, p50", percentile(answers, 0.5), "ms")
    report.figure(f"{label}: answer to last data plane, p50", percentile(waits, 0.5), "ms", goal)
    report.figure(f"{label}: answer to last data plane, p99", percentile(waits, 0.99), "ms")
    report.figure(f"{label}: first to last data plane, p50", percentile(spreads, 0.5), "ms")
    report.figure(f"{label}: control plane: processor time, change and data plane",
                  used / repetitions / fleet.nodes / 1000, "us")
    return version


def memory(report, label, control, fleet, before_mib, tls_kib):
    time.sleep(SETTLE_S)
    each = (node_pss_mib(control.node) - before_mib) * 1024 / fleet.nodes
    report.figure(f"{label}: control plane: memory of one data plane", each, "KiB")
    report.figure(f"{label}: ... of TLS alone (bare nginx)", tls_kib, "KiB")
    report.figure(f"{label}: ... beside TLS", each - tls_kib, "KiB", 32)
    report.figure(f"{label}: fleet: memory of one node", pss_kib(fleet.process.pid) / fleet.nodes, "KiB")


def herd(report, label, control, fleet, version):
    """kill -9 of everything, start: until all are there again and have the next change."""
    before = fleet.stats()
    control.node.kill("all")
    time.sleep(0.5)
    start = time.monotonic()
    control.node.start()
    started = time.monotonic()
    peak = Peak({"cp": control.node})
    peak.start()
    fine, numbers = fleet.connected(fleet.nodes, 120)
    took = numbers["changed_us"] / 1e6 - start
    connected_cpu = cpu_ms(control.node)
    control.node.admin.post("/consumers", username=f"herd-{label}")
    current, _ = fleet.wait(version + 1, 30)
    highest = peak.end()["cp"]
    after = fleet.stats()
    report.note(f"{label}: herd", {"before": before, "after": after})
    report.figure(f"{label}: herd: the start command returned after", started - start, "s")
    report.figure(f"{label}: herd: all connected again", took if fine else float("inf"), "s")
    report.figure(f"{label}: herd: missing, or without the next change",
                  fleet.nodes - numbers["connected"] + (0 if current else 1), "", 0)
    report.figure(f"{label}: herd: TLS handshakes, for each data plane",
                  (after["handshakes"] - before["handshakes"]) / fleet.nodes, "")
    report.figure(f"{label}: herd: control plane: processor time", connected_cpu / 1000, "s")
    report.figure(f"{label}: herd: control plane: memory peak", highest, "MiB")
    return version + 1


def measure(options, report, nodes):
    label = f"{nodes:,} data planes"
    with Control(options.keep) as control:
        fill(control.node, Set(options.entities, ("127.0.0.1", 9)))
        tls_kib = tls_alone(control, min(nodes, 1000))
        before = node_pss_mib(control.node)
        ticks, start = cpu_ms(control.node), time.monotonic()
        with control.fleet(nodes, connect_rate=options.rate) as fleet:
            version = connect(fleet, nodes, 120)
            report.figure(f"{label}: connected, with everything, at {options.rate}/s", time.monotonic() - start, "s")
            report.figure(f"{label}: control plane: processor time to connect one",
                          (cpu_ms(control.node) - ticks) / nodes, "ms")
            memory(report, label, control, fleet, before, tls_kib)
            version = one_change(report, label, control, fleet, version, options.repetitions,
                                 150 if nodes <= 1000 else None)
            herd(report, label, control, fleet, version)
            report.note(f"{label}: fleet", fleet.stats())


def main():
    options = arguments(__doc__, nodes=(str, "1000,5000", "sizes of the fleet"),
                        repetitions=(int, 50, "changes"), rate=(int, 250, "new connections a second"))
    if not PROGRAM.exists():
        raise SystemExit(f"no {PROGRAM}: build first")
    if options.entities == 90000:  # the default of the other benchmarks
        options.entities = ENTITIES
    report = Report("fleet", options)
    report.name = "fleet" if options.entities == ENTITIES else f"fleet-{options.entities}"
    for nodes in options.nodes.split(","):
        measure(options, report, int(nodes))
    report.finish()


if __name__ == "__main__":
    main()
