#!/usr/bin/env python3
"""The first sync of a data plane that has nothing, from a control plane with 1,000,000 entities.

From the start command to the first acknowledgement with an equal digest, and to the first 200; bytes on the wire
(of the kernel, for the agent's connection); the highest memory of both planes' processes meanwhile. The database is
made once through the Admin API and kept in data/ for the next run of the same version. Its ids and keys are random."""

import hashlib
import shutil
import statistics
import time
import uuid

from common import DATA, ENTITIES, Pair, Report, Set, arguments, fill, pss_kib, say
from sampler import Sampler
from weir import ports
from weir.upstream import Upstream
from wire import received

KEPT_PORT = 9  # of the services in the kept database
MIB_150_MB = 143
# Both planes have two processors to fill, and whoever looks on takes of them: at fifty looks a second it was a sixth.
LOOK_EVERY_S, WIRE_EVERY_S = 0.1, 1.0


def digits(*what):
    return hashlib.md5(repr(what).encode()).hexdigest()


class Scattered(Set):
    """Ids and keys as real ones are: no two look alike, so that they compress and are ordered as badly."""

    @staticmethod
    def ident(kind, number):
        return str(uuid.UUID(hex=digits(kind, number), version=4))

    def key(self, number):
        return digits("key", number)


def make(kept, entities):
    """The database of a control plane that got the set through the Admin API, into data/."""
    pair = Pair()  # only its control plane; ports of the nodes to come would be long taken when this is done
    try:
        control = pair.control.bootstrap().start()
        fill(control, entities)
        control.stop()
        if (control.prefix / "weir.db-wal").exists():
            raise SystemExit("the database was not closed")
        partial = kept.with_suffix(".part")
        shutil.copyfile(control.prefix / "weir.db", partial)
        partial.rename(kept)
    finally:
        pair.__exit__()


def filled(control, entities):
    """A stopped control plane gets the set: from data/, or made anew if that is of another version."""
    DATA.mkdir(exist_ok=True)
    kept, database = DATA / f"first-{entities.total}.db", control.prefix / "weir.db"
    for fresh in (False, True):
        if fresh or not kept.exists():
            make(kept, entities)
        shutil.copyfile(kept, database)
        if control.weir("migrations", "up", fail=fresh).returncode == 0:
            break
    say(f"database: {kept.name}, {database.stat().st_size / 2**20:.0f} MiB")


def first_sync(pair, path, host, version):
    """Starts the data plane; when it answered 200 and when its digest was equal, and what both planes used."""
    data, control = pair.data, pair.control
    sampler = Sampler(pair.nodes())
    sampler.start()
    data.weir("start")
    data.remember()
    served = equal = None
    wire, counted = (0, 0), 0
    while served is None or equal is None:
        now = sampler.now()
        if served is None and data.get(path, headers={"Host": host}).status == 200:
            served = sampler.now()
        if equal is None:
            row = next(iter(control.data_planes().values()), {})
            if row.get("digest_equal") and row["config_version"] == row["newest_version"] >= version:
                equal = sampler.now()
        if now - counted >= WIRE_EVERY_S:
            counted = now
            wire = max(wire, received(control.cluster_address[1]))
        if now > 180:
            raise SystemExit(f"200: {served}, equal digest: {equal}, after {now:.0f} s\n{data.logs()}")
        time.sleep(LOOK_EVERY_S)
    wire = max(wire, received(control.cluster_address[1]))
    time.sleep(1)
    return served, equal, wire, sampler.end()


def main():
    options = arguments(__doc__, rounds=(int, 2, "first syncs"))
    if options.entities == ENTITIES:  # the usual of the other benchmarks
        options.entities = 1000000
    report = Report("first", options)
    report.name = "first" if options.entities == 1000000 else f"first-{options.entities}"
    upstream = Upstream(ports.free())
    entities = Scattered(options.entities, ("127.0.0.1", KEPT_PORT))
    last = entities.routes - 1
    path, host = entities.path(last), entities.host(last)
    pair = Pair(options.keep)
    try:
        filled(pair.control, entities)
        began = time.monotonic()
        pair.control.start()
        report.figure("control plane: start command to answering", time.monotonic() - began, "s")
        pair.control.admin.patch(f"/services/s{last % entities.services}", host="127.0.0.1", port=upstream.port)
        time.sleep(2)
        measure(pair, entities, path, host, options, report)
    finally:
        pair.__exit__()
    report.finish()


def measure(pair, entities, path, host, options, report):
    before = sum(map(pss_kib, pair.control.all_pids())) / 1024
    report.figure("control plane: memory before", before, "MiB")
    runs = []
    for number in range(options.rounds):
        if number:
            pair.data.stop()
            for folder in ("image",):
                shutil.rmtree(pair.data.prefix / folder)
            time.sleep(1)
        served, equal, wire, sampler = first_sync(pair, path, host, entities.total)
        run = {"served_s": served, "equal_s": equal, "down_bytes": wire[0], "up_bytes": wire[1]}
        for name in pair.nodes():
            run[name] = {"pss": max(sampler.column(name, 1)), "private": max(sampler.column(name, 2)),
                         "cpu_s": sampler.column(name, 3)[-1]}
        say(str(run))
        runs.append(run)
        report.note(f"samples {number}: seconds, PSS, private MiB, seconds of processor time", sampler.rows())
    report.note("runs", runs)

    def middle(value):
        return statistics.median(map(value, runs))

    took = middle(lambda run: run["equal_s"])
    report.figure("start to an acknowledged equal digest", took, "s", 15)
    report.figure("start to first 200", middle(lambda run: run["served_s"]), "s", 15)
    report.figure("entities", entities.total / took, "1/s")
    report.figure("to the data plane, on the wire", middle(lambda run: run["down_bytes"]) / 1e6, "MB")
    report.figure("from the data plane, on the wire", middle(lambda run: run["up_bytes"]) / 1e6, "MB")
    report.figure("bytes on the wire for one entity", middle(lambda run: run["down_bytes"]) / entities.total, "B")
    for name in pair.nodes():
        report.figure(f"{name}: memory peak", middle(lambda run: run[name]["pss"]), "MiB", MIB_150_MB)
        report.figure(f"{name}: memory peak, not from files", middle(lambda run: run[name]["private"]), "MiB", MIB_150_MB)
        report.figure(f"{name}: processor time", middle(lambda run: run[name]["cpu_s"]), "s")


if __name__ == "__main__":
    main()
