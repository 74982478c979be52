"""The campaign of faults: a handful of its runs, and proofs that its checks can fail."""

import os
import random
import subprocess
import sys
import time

import pytest
from campaign import check, faults, fleet as fleets
from campaign.readers import Reader
from campaign.writers import Ledger, Writer
from weir.node import ROOT, SANITIZE, built

RUNS = 8
SECONDS_MAX = 240  # of all of them, on a machine that does other things as well
SEED = os.environ.get("WEIR_SEED", "brief")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory, pair):
    if not built() or not fleets.DUMP.exists():
        pytest.skip("no binaries: build first, or set WEIR_BUILD")
    if SANITIZE:
        pytest.skip("the preloaded clock and the sanitizer's library do not go together")
    made = fleets.Fleet(tmp_path_factory.mktemp("campaign"), pair, random.Random(SEED))
    try:
        yield made.start()
    finally:
        made.end()


@pytest.mark.slow
def test_a_handful_of_runs_loses_nothing():
    if not built():
        pytest.skip("no binaries: build first, or set WEIR_BUILD")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "campaign", "--runs", str(RUNS), "--seed", SEED],
        capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert f"{RUNS} passed, 0 failed" in done.stdout


def written(fleet):
    """A ledger of some writes, of every kind, without any fault, and nothing wrong with it."""
    ledger = Ledger()
    writer = Writer(fleet, ledger, 0, f"t{time.monotonic_ns()}", "test", 0)
    for _ in range(1000):
        writer.one()
        if ledger.acknowledged > 20 and all(known(ledger, kind) for kind in ("route", "consumer", "bundle")):
            break
    wrong, _ = check.check(fleet, ledger)
    assert wrong == []
    return ledger


def known(ledger, kind):
    return [name for (k, name), values in ledger.values.items()
            if k == kind and len(values) == 1 and None not in values]


def test_a_lost_write_is_found(fleet):
    ledger = written(fleet)
    name = known(ledger, "route")[0]
    fleet.control.admin.delete(f"/routes/{name}")  # behind the ledger's back
    wrong, _ = check.check(fleet, ledger)
    assert any(name in line for line in wrong)


def test_an_older_value_is_found(fleet):
    ledger = written(fleet)
    name = known(ledger, "consumer")[0]
    fleet.control.admin.patch(f"/consumers/{name}", custom_id=f"{name}older")
    wrong, _ = check.check(fleet, ledger)
    assert any(name in line for line in wrong)


def test_another_set_is_found(fleet):
    written(fleet)
    version, held = check.control_set(fleet)
    check.wait_same(fleet, version)
    node = fleet.data[0]
    assert check.same_set(fleet, node, version, held) == []
    key, entity = next((k, e) for k, e in held.items() if k[0] == "routes")
    changed = {**held, key: {**entity, "tags": ["another"]}}
    assert len(check.same_set(fleet, node, version, changed)) == 1
    less = {k: e for k, e in held.items() if k != key}
    assert len(check.same_set(fleet, node, version, less)) == 1
    more = {**held, ("routes", "x"): entity}
    assert len(check.same_set(fleet, node, version, more)) == 1
    assert check.same_set(fleet, node, version + 1, held) != []


def test_a_route_without_its_plugin_is_seen(fleet):
    """What a reader must never see, made on purpose: the route first, then its plugin."""
    admin = fleet.control.admin
    admin.post("/routes", name="half", paths=["/half"], service={"id": fleet.service})
    fleet.data[0].poll("/half", 200)
    ledger = Ledger()
    ledger.bundles.append("half")
    reader = Reader(fleet.data[0], ledger, "test", time.monotonic() + 0.3)
    reader.run()
    assert reader.wrong and reader.wrong[0][2] == "half"
    admin.delete("/routes/half")


def test_the_clock_of_a_node_can_be_set(fleet):
    clock, admin = fleet.clocks[fleet.control], fleet.control.admin
    clock.jump(86400)
    try:
        made = admin.post("/consumers", username="tomorrow")
        assert abs(made["created_at"] - time.time() - 86400) < 60
    finally:
        clock.jump(0)
        admin.delete("/consumers/tomorrow")


@pytest.mark.skipif(not fleets.disks_possible(), reason="mounting a small file system needs root")
def test_a_full_disk_refuses_writes_and_loses_none(tmp_path, pair):
    class Full(fleets.Fleet):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.disk_of, self.planes = "control", 1

    if SANITIZE or not built():
        pytest.skip("not with a sanitizer's library, not without binaries")
    fleet = Full(tmp_path / "f", pair, random.Random(1))
    try:
        fleet.start()
        ledger = written(fleet)
        fleet.disks["control"].fill()
        reply = fleet.control.client().request("PUT", "/consumers/full", {"custom_id": "x" * 100000})
        assert reply.status >= 500
        fleet.heal()
        fleet.control.admin.put("/consumers/full", custom_id="fits")
        assert check.check(fleet, ledger)[0] == []
    finally:
        fleet.end()


def test_every_fault_ends_by_itself_and_heals(fleet):
    """Each of them once, in turn, and the fleet is as it was."""
    ledger = written(fleet)
    for fault in faults.FAULTS:
        fault(fleet, random.Random(fault.__name__))
    fleet.heal()
    assert check.check(fleet, ledger)[0] == []
