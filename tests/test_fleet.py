"""A fleet of which some are slow, silent, greedy or send garbage: no other data plane suffers."""

import re
import subprocess
import time

import pytest
from weir.fleet import PROGRAM, Fleet
from weir.node import ROOT, wait_until

NODES = 50
CHANGES = 20
ENTITIES = 400  # a set of some 100 KB, so that who asks for it without reading fills its outbox
PAYLOAD = 4194304  # the least; an outbox has room for two and a MiB

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="no weir-fleet: build first")


@pytest.fixture(scope="module")
def filled(module_nodes):
    """A control plane with some entities, and the number of its newest version."""
    control = module_nodes.control(cluster_max_payload=PAYLOAD)
    for number in range(ENTITIES):
        control.admin.put(f"/consumers/00000000-0000-4000-8000-{number:012}",
                          username=f"c{number}", tags=[f"{number:032x}-{part}" for part in range(8)])
    return control


def synced(fleet, healthy):
    """All healthy nodes are there and have the newest version, whose number it is."""
    fine, numbers = fleet.connected(healthy, 20)
    assert fine, (numbers, fleet.stats())
    wait_until(lambda: fleet.stats()["newest_version"] >= ENTITIES, 10, "the first version")
    version = fleet.stats()["newest_version"]
    fine, numbers = fleet.wait(version, 20)
    assert fine, (numbers, fleet.stats())
    return version


def change(control, fleet, version, name):
    """One change reaches every healthy node; it is the only one that makes versions here."""
    control.admin.post("/consumers", username=name)
    fine, numbers = fleet.wait(version + 1, 10)
    assert fine, (numbers, fleet.stats())
    assert numbers["nodes"] == numbers["of"]
    return version + 1


def error_log(control):
    return (control.prefix / "logs" / "error.log").read_text(errors="replace")


@pytest.mark.parametrize("protocol", ["weir.sync.v1", "kong.sync.v2"])
def test_every_change_comes_once_to_every_data_plane(filled, pair, protocol):
    with Fleet(filled.cluster_address, pair, NODES, quiet=True, threads=2, labels="region:eu", seed=len(protocol),
               protocol=protocol) as fleet:
        version = synced(fleet, NODES)
        before = fleet.stats()
        for number in range(5):
            version = change(filled, fleet, version, f"once-{protocol}-{number}")
        after = fleet.stats()
        assert after["updates"] - before["updates"] == 5 * NODES
        assert after["full_updates"] == before["full_updates"]
        assert after["disconnects"] == 0, after["disconnect_reasons"]
        rows = [row for row in filled.data_planes().values() if row.get("labels") == {"region": "eu"} and row["connected"]]
        assert len(rows) == NODES
        record = [v for v in fleet.report()["versions"] if v["version"] == version][0]
        assert record["nodes"] == NODES and record["first_us"] <= record["last_us"]


def test_faulty_data_planes_harm_no_other(filled, pair):
    """The slow, the silent, the greedy, the mute, the half-open and those that send garbage."""
    with Fleet(filled.cluster_address, pair, NODES, quiet=True, seed=2, slow="10:2048", stall=6, greedy=6,
               half_open=6, mute=6, garbage=10, cut_every=1) as fleet:
        faults = fleet.stats()["faults"]
        assert all(count >= 3 for count in faults.values()), faults
        version = synced(fleet, faults["none"])
        assert fleet.stats()["expected"] == faults["none"]
        for number in range(CHANGES):
            version = change(filled, fleet, version, f"faulty{number}")
            time.sleep(0.1)
        # What is owed to a greedy one has its bound, and that is where it ends.
        wait_until(lambda: "its output queue is full: it is too slow" in error_log(filled), 15,
                   "a greedy data plane that is disconnected")
        version = change(filled, fleet, version, "faulty-last")
        stats = fleet.stats()
        assert stats["garbage_sent"] > 0 and stats["cuts"] > 0
    log = error_log(filled)
    refused = re.findall(r'data plane disconnected .* reason="([^"]*)"', log)
    assert len(set(refused)) >= 3, set(refused)  # garbage of several kinds, each by its name
    assert not re.search(r"\[(alert|emerg|crit)\]", log), log[-2000:]


def test_updates_that_take_long_to_apply_are_counted_when_they_are_applied(filled, pair):
    with Fleet(filled.cluster_address, pair, 10, quiet=True, seed=3, apply_ms="300..300") as fleet:
        version = synced(fleet, 10)
        start = time.monotonic_ns() // 1000
        filled.admin.post("/consumers", username="applied-slowly")
        fine, numbers = fleet.wait(version + 1, 10)
        assert fine and numbers["first_us"] - start >= 290000, (start, numbers)


def test_each_option_is_documented():
    """In the man page and in docs/fleet.md, as --help has them."""
    text = subprocess.run([str(PROGRAM), "--help"], capture_output=True, text=True, check=True).stdout
    options = set(re.findall(r"--[a-z][a-z-]+", text))
    assert len(options) > 20
    for page in ("docs/man/weir-fleet.1", "docs/fleet.md"):
        written = (ROOT / page).read_text().replace("\\-", "-")
        assert not [o for o in options if o not in written and o != "--help"], page


def test_a_fleet_that_is_cut_comes_back(filled, pair):
    with Fleet(filled.cluster_address, pair, NODES, quiet=True, seed=4, resume=True) as fleet:
        version = synced(fleet, NODES)
        assert fleet.cut(NODES) == "ok"
        wait_until(lambda: fleet.stats()["cuts"] == NODES, 5, "all are cut")
        version = change(filled, fleet, version, "after-the-cut")
        fine, numbers = fleet.connected(NODES, 20)
        assert fine, numbers
        assert fleet.end() == 0
