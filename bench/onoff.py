#!/usr/bin/env python3
"""Incremental sync (ON: weir.sync.v1) against the classic full sync (OFF: cluster_rpc_sync = off), in one run.

90,000 entities, a data plane with one worker. Of each: quiet, a service and a route are made, asked for until 200,
deleted, asked for until not 200, quiet; then the processor time of one new consumer. Memory and processor time of
all processes of both planes ten times a second; both samples in the same plots."""

import statistics
import time

import plot
from common import RESULTS, Pair, Report, Reused, Set, arguments, cpu_ms, fill, percentile, precise_cpu_ns, say
from sampler import Sampler
from weir import ports
from weir.upstream import Upstream

MODES = {"ON": "on", "OFF": "off"}
PLANES = ("control plane", "data plane")
PORTIONS = 10
MIB_100_MB = 95
SETTLE_S = {"ON": 2, "OFF": 7}  # OFF: more than db_update_frequency (5 s), so that the last push is over


def settle(pair, mode, most=90):
    """Until neither plane does anything: no more than 5 % of a processor, for SETTLE_S."""
    deadline = time.monotonic() + most
    while time.monotonic() < deadline:
        before = sum(used(pair).values())
        time.sleep(SETTLE_S[mode])
        if sum(used(pair).values()) - before < SETTLE_S[mode] * 50:
            return
    say("they do not come to rest")


def touch(pair, entities):
    """Each route once: what is mapped and ever used counts as memory."""
    client = Reused(pair.data.proxy_address)
    for number in range(entities.routes):
        status = client.status(entities.path(number), entities.host(number))
        if status != 200:
            raise SystemExit(f"{entities.path(number)}: {status}")


def until(client, path, wanted, limit=120):
    start = time.monotonic()
    while not wanted(client.status(path)):
        if time.monotonic() - start > limit:
            raise SystemExit(f"{path}: not within {limit} s")
        time.sleep(0.002)
    return time.monotonic() - start


def cycle(pair, entities, name, sampler=None, hold=0.0):
    """Made, served, deleted (`hold` seconds after it was made, or later), gone; seconds to the first 200 and to the
    first other."""
    mark = sampler.mark if sampler else lambda _: None
    admin, client = pair.control.client(), Reused(pair.data.proxy_address)
    mark("made")
    start = time.monotonic()
    service = admin.post("/services", name=name, host=entities.upstream[0], port=entities.upstream[1])
    route = admin.post("/routes", paths=[f"/{name}"], service={"id": service["id"]})
    until(client, f"/{name}", lambda status: status == 200)
    made = time.monotonic() - start
    mark("served")
    time.sleep(max(hold - made, 0))
    mark("deleted")
    start = time.monotonic()
    admin.delete(f"/routes/{route['id']}")
    admin.delete(f"/services/{service['id']}")
    until(client, f"/{name}", lambda status: status != 200)
    mark("gone")
    return made, time.monotonic() - start


def watched(pair, entities, options):
    """Samples over quiet, one cycle, quiet."""
    sampler = Sampler(pair.nodes())
    sampler.start()
    time.sleep(options.quiet)
    times = cycle(pair, entities, "watched", sampler, options.quiet)
    time.sleep(max(4 * options.quiet - sampler.now(), options.quiet))
    return sampler.end(), times


def consumer_watched(pair, options):
    sampler = Sampler(pair.nodes())
    sampler.start()
    time.sleep(2)
    sampler.mark("consumer")
    pair.control.admin.post("/consumers", username="watched")
    time.sleep(options.quiet)
    return sampler.end()


def used(pair):
    return {name: cpu_ms(node) for name, node in pair.nodes().items()}


def precisely_used(pair):
    """Of the threads that are there now: with ON none comes or goes for a change."""
    return {name: precise_cpu_ns(node.all_pids()) / 1e6 for name, node in pair.nodes().items()}


def consumer_cost(pair, rounds, every, portions, clock):
    """(costs, idle, portions): milliseconds of processor time for one new consumer, what both planes use when idle
    taken off: the median of `portions` equal parts of the rounds, so that a moment in which the machine has other
    things to do counts once. One consumer at a time: each is applied before the next is made."""
    length = rounds * every
    before = clock(pair)
    time.sleep(length)
    idle = {name: (value - before[name]) / length for name, value in clock(pair).items()}
    rows, number = [], 0
    for _ in range(portions):
        before, start = clock(pair), time.monotonic()
        for turn in range(rounds // portions):
            pair.control.admin.post("/consumers", username=f"one-{number}")
            number += 1
            time.sleep(max(start + (turn + 1) * every - time.monotonic(), 0))
        took, after = time.monotonic() - start, clock(pair)
        rows.append({name: max(after[name] - before[name] - idle[name] * took, 0) / (rounds // portions)
                     for name in PLANES})
    return {name: statistics.median(row[name] for row in rows) for name in PLANES}, idle, rows


def measure(mode, options, entities, report):
    say(f"{mode}: {entities.total} entities")
    setting = {} if mode == "ON" else {"cluster_rpc_sync": MODES[mode]}
    with Pair(options.keep, setting, nginx_worker_processes="1", **setting) as pair:
        fill(pair.control, entities)
        last = entities.routes - 1
        pair.wait_served(entities.path(last), headers={"Host": entities.host(last)})
        settle(pair, mode)
        touch(pair, entities)
        cycle(pair, entities, "first")  # code and memory that is used for the first time
        settle(pair, mode)
        cycles = [cycle(pair, entities, f"cycle{n}") for n in range(options.cycles if mode == "ON" else 3)]
        settle(pair, mode)
        sampler, times = watched(pair, entities, options)
        settle(pair, mode)
        consumer = consumer_watched(pair, options)
        settle(pair, mode)
        if mode == "ON":
            costs, idle, portions = consumer_cost(pair, options.consumers, 0.03,
                                                   min(PORTIONS, options.consumers), precisely_used)
        else:  # threads of a full set come and go; hundredths of a second are fine enough for it
            costs, idle, portions = consumer_cost(pair, 3, SETTLE_S[mode], 3, used)
    report.note(f"{mode}: samples", {"rows": "seconds, PSS MiB, private MiB, seconds of processor time",
                                     **sampler.rows(), "marks": sampler.marks})
    report.note(f"{mode}: samples around one consumer", consumer.rows())
    report.note(f"{mode}: cycles, s", [times, *cycles])
    report.note(f"{mode}: idle, ms of processor time a second", idle)
    report.note(f"{mode}: ms of processor time for one consumer, portions", portions)
    return {"sampler": sampler, "cycles": [times, *cycles], "consumer": consumer, "costs": costs}


def memory_figures(report, mode, sampler):
    made, gone = sampler.marks[0][0], sampler.marks[-1][0]
    for name in PLANES:
        quiet = sampler.column(name, 1, until=made)
        before = statistics.median(quiet)
        peak = max(sampler.column(name, 1, since=made))
        after = statistics.median(sampler.column(name, 1, since=(gone + sampler.now()) / 2))
        goal = 1.01 if mode == "ON" else None
        report.figure(f"{mode}: {name}: memory before", before, "MiB", MIB_100_MB if (mode, name) == ("ON", PLANES[1]) else None)
        private = statistics.median(sampler.column(name, 2, until=made))
        report.figure(f"{mode}: {name}: of it not from files", private, "MiB")
        report.figure(f"{mode}: {name}: of it not from files, peak / before",
                      max(sampler.column(name, 2, since=made)) / private, "x")
        report.figure(f"{mode}: {name}: memory peak / before", peak / before, "x", goal)
        report.figure(f"{mode}: {name}: memory after / before", after / before, "x", goal)


def figures(report, found):
    for mode, one in found.items():
        made, gone = zip(*one["cycles"])
        report.figure(f"{mode}: made to first 200, p50", percentile(made, 0.5) * 1000, "ms")
        report.figure(f"{mode}: deleted to first other, p50", percentile(gone, 0.5) * 1000, "ms")
        memory_figures(report, mode, one["sampler"])
        for name in PLANES:
            report.figure(f"{mode}: {name}: processor time for one consumer", one["costs"][name], "ms")
    total = {mode: sum(one["costs"].values()) for mode, one in found.items()}
    for name in PLANES:
        report.figure(f"{name}: processor time for one consumer, OFF / ON",
                      found["OFF"]["costs"][name] / max(found["ON"]["costs"][name], 1e-6), "x")
    report.figure("both planes: processor time for one consumer, OFF / ON", total["OFF"] / max(total["ON"], 1e-6),
                  "x", 500, ">=")
    for label, value in (("made to first 200, incumbent, full / incremental", "12.1 / 6.7 s"),
                         ("writes, incumbent", "912 / 176 1/s"),
                         ("data plane: memory, incumbent", "1,389-1,553 / 1,600 MiB"),
                         ("data plane: processor time for one route, incumbent", "4.3 / 1.7 s"),
                         ("data plane: processor time for one consumer, incumbent", "4.6 / ~0 s"),
                         ("data plane: start to first 200, incumbent", "2.3-3.8 s")):
        report.compared(label, value)
    return total


# -- plots --------------------------------------------------------------------------------------


def panels(found, key, column, what, unit, floor=0):
    result = []
    for name in PLANES:
        series = [(label, colour, [row[0] for row in found[mode][key].samples[name]],
                   [row[column] for row in found[mode][key].samples[name]])
                  for mode, label, colour in (("OFF", "OFF: classic full sync", 1), ("ON", "ON: weir.sync.v1", 0))]
        # With ON a change is served and gone at once: its marks stand for both.
        marks = [(at, label) for at, label in found["ON"][key].marks if label in ("made", "deleted", "consumer")]
        marks += [(at, f"OFF: {label}") for at, label in found["OFF"][key].marks if label in ("served", "gone")]
        result.append({"title": f"{name}: {what}", "unit": unit, "x_unit": "seconds", "series": series,
                       "marks": marks, "floor": floor})
    return result


def plots(name, found, total, entities):
    size = f"{entities.total:,} entities"
    plot.lines(RESULTS / f"{name}-memory.svg", f"Memory while a route is made and deleted, {size}",
               panels(found, "sampler", 1, "memory (PSS)", "MiB"))
    plot.lines(RESULTS / f"{name}-cpu.svg", f"Processor time while a route is made and deleted, {size}",
               panels(found, "sampler", 3, "processor time used", "s"))
    plot.lines(RESULTS / f"{name}-consumer.svg", f"Processor time around one new consumer, {size}",
               panels(found, "consumer", 3, "processor time used", "s"))

    def seconds(value):
        return f"{value:.3g} s" if value >= 0.1 else f"{value * 1000:.2g} ms"

    def made(mode):
        return percentile([m for m, _ in found[mode]["cycles"]], 0.5)

    def rows(on, off, full, incremental):
        return [(label, colour, value, seconds(value)) for label, colour, value in (
            ("Weir, ON", 0, on), ("Weir, OFF", 1, off), ("Kong 3.9.1, full sync", 2, full),
            ("Kong 3.9.1, incremental", 3, incremental)) if value]

    plot.bars(RESULTS / f"{name}-bars.svg", f"One change among {size}", "seconds", [
        ("made: to the first 200", rows(made("ON"), made("OFF"), 12.1, 6.7)),
        ("one new consumer: processor time of both planes (Kong: data plane alone)",
         rows(total["ON"] / 1000, total["OFF"] / 1000, 4.6, None))])


def main():
    options = arguments(__doc__, quiet=(float, 10, "seconds of quiet before and after"),
                        cycles=(int, 50, "cycles with ON"), consumers=(int, 500, "consumers with ON"))
    report = Report("onoff", options)
    upstream = Upstream(ports.free())
    entities = Set(options.entities, ("127.0.0.1", upstream.port))
    found = {mode: measure(mode, options, entities, report) for mode in MODES}
    total = figures(report, found)
    report.finish()
    plots(report.name, found, total, entities)


if __name__ == "__main__":
    main()
