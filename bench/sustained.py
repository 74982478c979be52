#!/usr/bin/env python3
"""5,000 changes a second for a minute, with 90,000 entities: how far the data plane lags, what a change costs on the
wire, and what clients of the proxy notice.

Clients must not be slowed by the writers merely because both want the same processor, so the machine is parted: the
worker, wrk and the upstream have processor 0, and priority there, everything else (control plane, sync agent,
writers, and what measures here) the others. What is compared is the same traffic quiet and under changes, in turns of some
seconds, after the minute: what else a machine does within minutes moves throughput by a tenth, quiet or not, so each run
under changes stands beside a quiet one, and the median of their ratios counts. Single ratios lie between 0.8 and 1.1, so
there are many short turns. Latency is measured at a fixed moderate rate, throughput with wrk as fast as it gets. The
percentiles of latency are of the requests of all turns together: that of one run differs by a quarter from the next one.
The upstream, a bare nginx that no change concerns, is on the same processor: by how much its time for a request grows
tells what the other processor's work (they share caches and memory) does to any program there.

Three processes on one processor take turns, and how many turns a request takes is the mood of the scheduler, nothing that a
gateway does: it weighs a worker less while the agent of its session is busy elsewhere, and 20 connections go round in one
bunch (0.2 turns a request) until anything disturbs that, then in two (0.3) for good. So they do not preempt each
other: at the fixed rate they are SCHED_FIFO; for throughput SCHED_BATCH, with 100 connections. The turns are told beside the
figures: a comparison holds if they are equal.

Each request of the writers is one transaction of --operations changes (1: a plain PUT); the changes have the mix
of the set (services, routes, plugins, consumers, keys; a route's change also changes its paths, a key's the key)."""

import json
import os
import re
import statistics
import subprocess
import threading
import time
from collections import Counter

from common import (DATA, Pair, Report, Set, arguments, cpu_ms, fill, ident, percentile, schedstat, tool,
                    upstream_nginx)
from sampler import Sampler
from weir import http, ports
from weir.node import children
from wire import received

PRIORITY = -10  # of the traffic (nice; needs root): what else the machine does must not hide what is compared
TRAFFIC, OTHERS = {0}, set(range(1, os.cpu_count() or 1)) or {0}
WRITERS = 16
USED_ROUTES = 100  # in turn
CLIENTS, PAUSE_MS = 20, 10  # at the fixed rate: nearly CLIENTS * 1000 / PAUSE_MS requests a second
THROUGHPUT_CLIENTS = 100
LONE_PAUSE_S = 0.1
# The scheduling of the traffic: (policy, priority, as chrt has it); at a fixed rate needs root, else it is the usual one.
AT_A_RATE = (os.SCHED_FIFO, 1, "--fifo") if os.geteuid() == 0 else (os.SCHED_OTHER, 0, "--other")
AS_FAST_AS_IT_GETS = (os.SCHED_BATCH, 0, "--batch")
RUNS = 6  # of each kind of traffic, in the minute
TURNS, TURN_S = 20, 2  # of quiet and load; seconds of each kind of traffic in it
# This process, too, uses the processor of those who are looked at: PSS of two nodes ten times a second is a twelfth of it.
SAMPLES_EVERY_S, LOOK_AGAIN_S = 1, 0.01
WARM_S, SLACK_S = 1, 2  # of the writers: before a turn's traffic, and after it


def pin(pids, processors):
    for pid in pids:
        subprocess.run(["taskset", "-acp", ",".join(map(str, processors)), str(pid)], capture_output=True, check=False)


def as_traffic(pids):
    """Where the traffic is, with its priority."""
    pin(pids, TRAFFIC)
    for pid in pids:
        try:
            os.setpriority(os.PRIO_PROCESS, pid, PRIORITY)
        except PermissionError:
            pass


# -- changes ---------------------------------------------------------------------------------------


KINDS = ("service", "route", "plugin", "consumer", "consumer", "consumer", "key", "key", "key")


def change(entities, kind, place, number):
    """(path, body) of a change of the kind's entity `place`, other than all with other numbers."""
    n = place % {"service": entities.services, "route": entities.routes, "plugin": entities.plugins,
                 "consumer": entities.consumers, "key": entities.keys}[kind]
    if kind == "service":
        return f"/services/{ident(1, n)}", {"name": f"s{n}", "host": entities.upstream[0], "port": entities.upstream[1],
                                            "connect_timeout": 10000 + number}
    if kind == "route":
        return f"/routes/{ident(2, n)}", {"name": f"r{n}", "hosts": [entities.host(n)],
                                          "paths": [entities.path(n), f"/also{number}"],
                                          "service": {"id": ident(1, n % entities.services)}}
    if kind == "plugin":
        return f"/routes/{ident(2, n)}/plugins/{ident(5, n)}", {"name": "request-termination",
                                                                "config": {"trigger": f"x-never-{number}"}}
    if kind == "consumer":
        return f"/consumers/{ident(3, n)}", {"username": f"c{n}", "custom_id": f"id-{number}"}
    return f"/consumers/{ident(3, n)}/key-auth/{ident(4, n)}", {"key": f"key-{n}-{number}"}


def script(path, entities, first, changes, operations):
    with open(path, "w", encoding="ascii") as out:
        batch = []
        for number in range(first, first + changes):
            # 7,919 is a prime: neighbours in time are far apart in the set.
            target, body = change(entities, KINDS[number % len(KINDS)], number // len(KINDS) * 7919 + number, number)
            if operations == 1:
                out.write(f"PUT {target} {json.dumps(body)}\n")
                continue
            batch.append({"op": "upsert", "path": target, "body": body})
            if len(batch) == operations or number == first + changes - 1:
                out.write(f"POST /transactions {json.dumps({'operations': batch})}\n")
                batch = []


class Writers:
    """weir_load at a rate; result() is what it measured. No change is another one's again."""

    made = 0

    def __init__(self, control, entities, options, seconds):
        changes = options.rate * seconds
        path = DATA / "sustained.txt"
        script(path, entities, Writers.made, changes, options.operations)
        Writers.made += changes
        host, port = control.admin_address
        self.process = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, OTHERS)), tool("weir_load"), host, str(port), str(WRITERS), path,
             str(options.rate / options.operations)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def result(self, timeout):
        text, _ = self.process.communicate(timeout=timeout)
        (DATA / "sustained.txt").unlink()
        return json.loads(text)


# -- lag ----------------------------------------------------------------------------------------


class Lag(threading.Thread):
    """Ten times a second: the newest version, and how long after its commit the data plane had it."""

    def __init__(self, control):
        super().__init__(daemon=True)
        self.admin, self.going = control.client(), True
        self.ms, self.unknown = [], 0

    def run(self):
        while self.going:
            time.sleep(0.1)
            newest = self.admin.read("/clustering/changes?size=1")["data"]
            if newest:
                self.follow(newest[0]["version"])

    def follow(self, version):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            reply = self.admin.get(f"/clustering/changes/{version}")
            if reply.status != 200:
                break
            row = reply.json
            planes = row["data_planes"]
            if planes and planes[0]["state"] != "pending":
                if planes[0]["applied_us"] is None:
                    break
                self.ms.append(max(planes[0]["applied_us"] - row["committed_us"], 0) / 1000)
                return
            time.sleep(LOOK_AGAIN_S)  # when it was applied, the trace says
        self.unknown += 1

    def end(self):
        self.going = False
        self.join(40)
        return self.ms


def histogram(control):
    """Cumulative counts by bound, in seconds, of weir_change_applied_seconds."""
    text = http.once(control.status_address, "/metrics").text
    return {float(bound.replace("+Inf", "inf")): int(count) for bound, count in
            re.findall(r'weir_change_applied_seconds_bucket\{le="([^"]+)"\} (\d+)', text)}


def bound_of(before, after, share):
    """The bound that `share` of the pushes between two histograms stays below."""
    counts = {bound: after[bound] - before.get(bound, 0) for bound in after}
    total = counts.get(float("inf"), 0)
    return next((bound for bound in sorted(counts) if total and counts[bound] >= total * share), float("inf"))


# -- the wire --------------------------------------------------------------------------------------


def json_bytes(control, path):
    return len(json.dumps(control.admin.read(path), separators=(",", ":")).encode())


def lone(pair, entities, rounds):
    """By kind: (bytes of the entity's JSON, bytes to the data plane for its change, bytes back)."""
    port, found = pair.control.cluster_address[1], {}
    for place, kind in enumerate(dict.fromkeys(KINDS)):
        rows = []
        for number in range(rounds):
            path, body = change(entities, kind, 5000 + place * 100 + number, 90000000 + place * 1000 + number)
            before = received(port)
            pair.control.admin.put(path, **body)
            time.sleep(LONE_PAUSE_S)
            after = received(port)
            # A plugin is read as what it is, not as what hangs on a route.
            rows.append((json_bytes(pair.control, path[path.index("/plugins/"):] if kind == "plugin" else path),
                         after[0] - before[0], after[1] - before[1]))
        found[kind] = tuple(statistics.median(column) for column in zip(*rows))
    return found


def of_mix(found, which):
    return sum(found[kind][which] for kind in KINDS) / len(KINDS)


def wire_figures(report, found, changes, down, up):
    size = of_mix(found, 0)
    report.note("lone changes: JSON bytes, to the data plane, back", found)
    report.figure("lone changes: JSON of the entity, mean of the mix", size, "B")
    report.figure("lone changes: to the data plane / JSON", of_mix(found, 1) / size, "x", 2)
    report.figure("lone changes: both ways / JSON", (of_mix(found, 1) + of_mix(found, 2)) / size, "x", 2)
    for kind, (size_one, to, back) in found.items():
        report.figure(f"lone changes: {kind}: JSON, both ways on the wire / JSON", (to + back) / size_one, "x")
    report.figure("under load: to the data plane / JSON", down / changes / size, "x", 0.5)
    report.figure("under load: both ways / JSON", (down + up) / changes / size, "x", 0.5)


# -- traffic -----------------------------------------------------------------------------------------


def lua(pause_ms):
    path = DATA / f"wrk-sustained-{pause_ms}.lua"
    path.write_text(f"""
local requests, at = {{}}, 0
function init(args)
    for n = 0, {USED_ROUTES - 1} do
        requests[n + 1] = wrk.format("GET", "/r" .. n, {{ ["Host"] = "h" .. math.floor(n / 10) .. ".example" }})
    end
end
function request()
    at = at % {USED_ROUTES} + 1
    return requests[at]
end
function done(summary, latency, requests)
    for i = 1, #latency do
        local value, count = latency(i)
        io.write(string.format("latency %d %d\\n", value, count))
    end
end
""" + (f"function delay() return {pause_ms} end\n" if pause_ms else ""))
    return path


def traffic(data, upstream, pause_ms, seconds):
    """One run of wrk: requests a second, p50, p99; for a request the worker's time, and the turns of worker and upstream on
    their processor; answers other than 2xx and 3xx."""
    port, workers = data.proxy_address[1], data.workers()
    policy, priority, option = AT_A_RATE if pause_ms else AS_FAST_AS_IT_GETS
    for pid in (*workers, *upstream):  # of one thread each
        os.sched_setscheduler(pid, policy, os.sched_param(priority))
    clients = CLIENTS if pause_ms else THROUGHPUT_CLIENTS
    before, before_upstream = schedstat(workers), schedstat(upstream)
    done = subprocess.run(["nice", "-n", str(PRIORITY), "chrt", option, str(priority),
                           "taskset", "-c", ",".join(map(str, TRAFFIC)), "wrk", "-t1", f"-c{clients}", f"-d{seconds}s",
                           "-s", lua(pause_ms), f"http://127.0.0.1:{port}/"],
                          capture_output=True, text=True, check=True, timeout=seconds + 30)
    (used, turns), (used_upstream, turns_upstream) = (
        [now - then for now, then in zip(schedstat(pids), start)]
        for pids, start in ((workers, before), (upstream, before_upstream)))
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    per_second = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    latency = Counter({int(us): int(count) for us, count in re.findall(r"latency (\d+) (\d+)", done.stdout)})
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    errors = re.search(r"Socket errors: (.*)", done.stdout)
    return {"rps": per_second, "latency": latency, "p50_ms": at_share([latency], 0.5), "p99_ms": at_share([latency], 0.99),
            "cpu_us": used / requests / 1000, "upstream_us": used_upstream / requests / 1000,
            "turns": (turns + turns_upstream) / requests, "bad": int(bad[1]) if bad else 0,
            "errors": errors[1] if errors else None}


def no_runs():
    return {"fixed": [], "fast": []}


def both_kinds(data, upstream, seconds, runs):
    """One run more of each: at the fixed rate, and as fast as it gets."""
    runs["fixed"].append(traffic(data, upstream, PAUSE_MS, seconds))
    runs["fast"].append(traffic(data, upstream, 0, seconds))


def by_turns(pair, upstream, entities, options):
    """Runs quiet and under changes, each first in every other turn; and what the writers of each turn measured."""
    quiet, loaded, measured = no_runs(), no_runs(), []
    for turn in range(TURNS):
        for with_changes in (turn % 2 == 1, turn % 2 == 0):
            if with_changes:
                writers = Writers(pair.control, entities, options, WARM_S + 2 * TURN_S + SLACK_S)
                time.sleep(WARM_S)
            both_kinds(pair.data, upstream, TURN_S, loaded if with_changes else quiet)
            if with_changes:
                measured.append(writers.result(120))
            time.sleep(1)
    return quiet, loaded, measured


def middle(runs, key):
    return statistics.median(run[key] for run in runs)


def beside(loaded, quiet, key):
    return statistics.median(one[key] / other[key] for one, other in zip(loaded, quiet, strict=True))


def at_share(histograms, share):
    """Milliseconds that `share` of the requests of all these histograms stay within."""
    total, seen = sum(map(Counter.total, histograms)), 0
    for us, count in sorted(sum(histograms, Counter()).items()):
        seen += count
        if seen >= total * share:
            return us / 1000
    return 0.0


def traffic_figures(report, quiet, loaded, minute):
    latency = {}
    for run in minute["fixed"] + minute["fast"]:
        run.pop("latency")
    for kind in ("fixed", "fast"):
        for state, runs in (("quiet", quiet), ("under load", loaded)):
            histograms = [run.pop("latency") for run in runs[kind]]
            latency[kind, state] = {share: at_share(histograms, share) for share in (0.5, 0.99)}
    report.note("traffic", {"quiet": quiet, "under load": loaded, "in the minute": minute})
    for kind, label in (("fixed", "fixed rate"), ("fast", "as fast as it gets")):
        for state, runs in (("quiet", quiet), ("under load", loaded)):
            report.figure(f"{label}: {state}: requests", middle(runs[kind], "rps"), "1/s")
            report.figure(f"{label}: {state}: worker's time for a request", middle(runs[kind], "cpu_us"), "us")
            report.figure(f"{label}: {state}: turns of worker and upstream for a request", middle(runs[kind], "turns"), "")
            report.figure(f"{label}: {state}: p50", latency[kind, state][0.5], "ms")
            report.figure(f"{label}: {state}: p99", latency[kind, state][0.99], "ms")
    report.figure("p99 at a fixed rate, under load / quiet",
                  latency["fixed", "under load"][0.99] / latency["fixed", "quiet"][0.99], "x", 1.05)
    report.figure("as fast as it gets: worker's time for a request, under load / quiet",
                  beside(loaded["fast"], quiet["fast"], "cpu_us"), "x")
    report.figure("as fast as it gets: upstream's time for a request, under load / quiet",
                  beside(loaded["fast"], quiet["fast"], "upstream_us"), "x")
    report.figure("throughput, under load / quiet", beside(loaded["fast"], quiet["fast"], "rps"), "x", 0.95, ">=")
    report.figure("answers other than 2xx and 3xx",
                  sum(run["bad"] for part in (quiet, loaded, minute) for runs in part.values() for run in runs), "", 0)


# -- the run -------------------------------------------------------------------------------------------


def run_seconds(options):
    return max(int((options.seconds - 4) / (2 * RUNS)), 1)


def under_load(pair, upstream, entities, options, report):
    """The minute; runs of traffic in it, bytes both ways and changes made."""
    port, control = pair.control.cluster_address[1], pair.control
    sampler, lag, before = Sampler(pair.nodes(), SAMPLES_EVERY_S), Lag(control), histogram(control)
    used = {name: cpu_ms(node) for name, node in pair.nodes().items()}
    wire = received(port)
    sampler.start()
    lag.start()
    writers = Writers(control, entities, options, options.seconds)  # writes its script first, which takes a while
    start = time.monotonic()
    time.sleep(2)
    runs = no_runs()
    for _ in range(RUNS):
        both_kinds(pair.data, upstream, run_seconds(options), runs)
    measured = writers.result(options.seconds * 5 + 60)
    ended = time.monotonic()
    row = pair.control.admin.read("/clustering/changes?size=1")["data"][0]
    while row["pending"] and time.monotonic() - ended < 120:
        time.sleep(0.002)
        row = pair.control.admin.read("/clustering/changes?size=1")["data"][0]
    behind, after = time.monotonic() - ended, histogram(control)
    lags, sampler, down_up = lag.end(), sampler.end(), received(port)
    changes = options.rate * options.seconds
    report.note("writers", measured)
    report.note("lag of samples, ms", lags)
    report.note("samples: seconds, PSS, private MiB, seconds of processor time", sampler.rows())
    report.note("versions whose way was not known any more when asked for", lag.unknown)
    report.figure("changes in a transaction", options.operations, "")
    report.figure("changes", changes / measured["seconds"], "1/s", options.rate * 0.99, ">=")
    report.figure("refused", measured["refused"], "", 0)
    report.figure("answer of the Admin API, p50", measured["p50_us"] / 1000, "ms")
    report.figure("answer of the Admin API, p99", measured["p99_us"] / 1000, "ms")
    report.figure("lag of the data plane, p50", percentile(lags, 0.5), "ms")
    report.figure("lag of the data plane, p99", percentile(lags, 0.99), "ms")
    report.figure("oldest change of a push, p50: at most", bound_of(before, after, 0.5) * 1000, "ms")
    report.figure("oldest change of a push, p99: at most", bound_of(before, after, 0.99) * 1000, "ms")
    report.figure("pushes", (after[float("inf")] - before[float("inf")]) / (ended - start), "1/s")
    report.figure("data plane behind at the end", behind, "s", 1)
    for name, node in pair.nodes().items():
        report.figure(f"{name}: processor time for one change", (cpu_ms(node) - used[name]) * 1000 / changes, "us")
        report.figure(f"{name}: memory peak", max(sampler.column(name, 1)), "MiB")
        report.figure(f"{name}: memory at the end / at the start",
                      sampler.column(name, 1)[-1] / sampler.column(name, 1)[0], "x")
    return runs, (down_up[0] - wire[0], down_up[1] - wire[1]), changes


def main():
    options = arguments(__doc__, seconds=(int, 60, "of changes"), rate=(int, 5000, "changes a second"),
                        operations=(int, 5, "changes in a transaction"))
    report = Report("sustained", options)
    upstream = ports.free()
    server = upstream_nginx(DATA / "upstream", upstream)
    try:
        serving = [server.pid, *children(server.pid)]
        as_traffic(serving)
        with Pair(options.keep, nginx_worker_processes="1", proxy_access_log="off") as pair:
            entities = Set(options.entities, ("127.0.0.1", upstream))
            fill(pair.control, entities)
            last = entities.routes - 1
            pair.wait_served(entities.path(last), headers={"Host": entities.host(last)})
            pin(pair.control.all_pids(), OTHERS)
            pin(pair.data.all_pids(), OTHERS)
            as_traffic(pair.data.workers())
            os.sched_setaffinity(0, OTHERS)  # this process looks at the nodes all the time; its threads inherit it
            time.sleep(2)
            found = lone(pair, entities, 9)
            minute, (down, up), changes = under_load(pair, serving, entities, options, report)
            time.sleep(2)
            quiet, loaded, measured = by_turns(pair, serving, entities, options)
            made = [turn["requests"] * options.operations / turn["seconds"] for turn in measured]
            report.note("turns: changes a second", made)
            report.figure("turns: changes", statistics.median(made), "1/s", options.rate * 0.99, ">=")
            report.figure("turns: changes, the slowest", min(made), "1/s")
            report.figure("turns: refused", sum(turn["refused"] for turn in measured), "", 0)
            wire_figures(report, found, changes, down, up)
            traffic_figures(report, quiet, loaded, minute)
    finally:
        server.terminate()
        server.wait(10)
    report.note("processors", {"traffic": sorted(TRAFFIC), "everything else": sorted(OTHERS)})
    report.finish()


if __name__ == "__main__":
    main()
