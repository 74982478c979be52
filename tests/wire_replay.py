#!/usr/bin/env python3
"""Replays recorded exchanges of the wire against nodes of ours and says how they differ.

    wire_replay.py [--only PREFIX]... [--corpus DIR]      starts the nodes itself
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from weir import certs, ports  # noqa: E402
from weir.node import ROOT, ControlNode, DataNode  # noqa: E402
from weir.recording import Catalog, Recording, default_of, entities_of, is_full  # noqa: E402
from weir.classic import ControlPlane as ClassicPlane  # noqa: E402
from weir.replay_classic import PAUSE, ClassicControlReplay, ClassicDataReplay  # noqa: E402
from weir.replay_control import ControlReplay  # noqa: E402
from weir.replay_data import DataReplay, ScriptedPlane  # noqa: E402
from weir.upstream import Upstream  # noqa: E402

CORPUS = Path(os.environ.get("WEIR_CORPUS", ROOT.parent / "shared" / "corpus"))
VERSIONS = {"3.9": "3.9.1", "3.10": "3.10.0"}
SMALL = {"3.9": "v2-3.9-negative", "3.10": "v2-3.10-version-behind"}


def recordings(corpus=CORPUS):
    """Every recording, by name."""
    return {path.stem: Recording(path) for path in sorted((corpus / "wire").glob("v*.jsonl"))}


def skipped(name, recording):
    """Why a recording is not replayed, or None."""
    if recording.both:
        tests = "test_classic.py" if recording.classic else "test_cluster.py"
        return f"both recorded ends are real: {tests} plays such a pair of ours"
    if name == "v1-dp-first-push-lost":
        return "shows a store of the reference that is not there yet: what a control plane makes " \
               "of it is in test_classic.py"
    return None


def first_full(recording):
    for line in recording.lines:
        default = default_of(line)
        if default and is_full(default):
            return entities_of(default)
    return {}


class Bench:
    """The nodes that replays need, each started when the first recording asks for it."""

    def __init__(self, folder, all_recordings):
        self.folder = Path(folder)
        self.recordings = all_recordings
        self.pair = certs.self_signed(folder, "cluster")
        self.other = certs.self_signed(folder, "other")
        self.replays, self.nodes, self.planes, self.upstreams = {}, [], [], []

    def catalog(self, control, dialect):
        chosen = [r for r in self.recordings.values()
                  if not r.classic and r.control == control and (control or r.dialect == dialect)]
        return Catalog(sorted(chosen, key=lambda r: (r.dialect != dialect, r.name)))

    def control(self, dialect, name=None):
        name = name or f"cp-{dialect}"
        if name not in self.replays:
            node = ControlNode(self.folder / name, self.pair,
                               cluster_compat_version=VERSIONS[dialect])
            self.nodes.append(node)
            node.bootstrap().start()
            base = first_full(self.recordings[SMALL[dialect]])
            self.replays[name] = ControlReplay(
                node.admin_address, node.cluster_address, self.pair, self.other,
                self.catalog(True, dialect), dialect, base)
        return self.replays[name]

    def data(self, dialect, name=None):
        name = name or f"dp-{dialect}"
        if name not in self.replays:
            plane = ScriptedPlane(ports.free(), self.pair, dialect, capabilities=["kong.sync.v2"])
            self.planes.append(plane.start())
            if not self.upstreams:
                self.upstreams += [Upstream(ports.free()), Upstream(ports.free())]
            node = DataNode(self.folder / name, self.pair, ("127.0.0.1", plane.port),
                            cluster_compat_version=VERSIONS[dialect])
            self.nodes.append(node)
            node.start()
            self.replays[name] = DataReplay(
                node, plane, self.catalog(False, dialect),
                first_full(self.recordings[f"v2-{dialect}-dp-start"]), self.upstreams)
        return self.replays[name]

    def classic_control(self, recording):
        """Each version that says `cluster_rpc=off` has a control plane of its own."""
        prefix = "v1-3.10" if recording.name.startswith("v1-3.10") else "v1"
        name = "cp-classic" + prefix
        if name not in self.replays:
            node = ControlNode(self.folder / name, self.pair, cluster_rpc="off",
                               db_update_frequency=PAUSE,
                               cluster_compat_version=VERSIONS[prefix[3:] or "3.9"])
            self.nodes.append(node)
            node.bootstrap().start()
            self.replays[name] = ClassicControlReplay(
                node, self.pair, self.other, self.recordings, prefix)
        return self.replays[name]

    def classic_data(self, _recording):
        if "dp-classic" not in self.replays:
            plane = ClassicPlane(ports.free(), self.pair).start()
            self.planes.append(plane)
            if not self.upstreams:
                self.upstreams += [Upstream(ports.free()), Upstream(ports.free())]
            node = DataNode(self.folder / "dp-classic", self.pair, ("127.0.0.1", plane.port),
                            cluster_rpc="off")
            self.nodes.append(node)
            self.replays["dp-classic"] = ClassicDataReplay(
                node, plane, self.recordings, self.upstreams)
            node.start()
        return self.replays["dp-classic"]

    def replay(self, recording):
        if recording.classic:
            side = self.classic_control if recording.control else self.classic_data
            return side(recording).run(recording)
        side = self.control if recording.control else self.data
        return side(recording.dialect).run(recording)

    def close(self):
        for node in self.nodes:
            node.end()
        for plane in self.planes:
            plane.stop()
        for upstream in self.upstreams:
            upstream.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--corpus", type=Path, default=CORPUS)
    options = parser.parse_args()
    found = recordings(options.corpus)
    failed = passed = 0
    with tempfile.TemporaryDirectory(prefix="weir-wire-") as folder:
        bench = Bench(folder, found)
        try:
            for name, recording in found.items():
                if options.only and not name.startswith(tuple(options.only)):
                    continue
                if skipped(name, recording):
                    print(f"SKIP {name}: {skipped(name, recording)}")
                    continue
                differences = bench.replay(recording)
                passed, failed = passed + (not differences), failed + bool(differences)
                print(f"{'FAIL' if differences else 'ok  '} {name}: {recording.head['about']}")
                for text in differences[:15]:
                    print(f"       {text[:400]}")
                sys.stdout.flush()
        finally:
            bench.close()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
