"""One bad entity blocks nobody: it is named on both planes, and heals when it is corrected."""

import json
import re

import pytest
from weir import http, ports, wire
from weir.entities import consumer, ident, key, plugin, route, service
from weir.node import wait_until


@pytest.fixture(scope="module")
def played(module_nodes):
    upstream = module_nodes.upstream()
    plane = wire.ControlPlane(ports.free(), module_nodes.pair).start()
    plane.batch(("services", service(1, upstream.port)), ("routes", route(2, "a", ["/a"], 1)))
    data = module_nodes.data(("127.0.0.1", plane.port))
    data.poll("/a", 200)
    plane.wait_applied()
    yield plane, data, upstream
    plane.stop()


BAD = {
    # kind of fault: (type, entity, the field that is to blame)
    "a path without a slash": ("routes", route(10, "bad10", ["nope"], 1), "paths"),
    "a regex that does not compile": ("routes", route(11, "bad11", ["~/(["], 1), "paths"),
    "paths that are a string": ("routes", route(12, "bad12", "/x", 1), "paths"),
    "an unknown field": ("routes", route(13, "bad13", ["/x"], 1, surprise=1), "surprise"),
    "a service that does not exist": ("routes", route(14, "bad14", ["/x14"], 999), "service"),
    "a reference as a string": ("routes", route(15, "bad15", ["/x"], 1, service=ident(1)), "service"),
    "a port that is none": ("services", service(16, 123456, name="bad16"), "port"),
    "a plugin that is not known": ("plugins", plugin(17, "flux-capacitor", {}), "name"),
    "a plugin with a bad value": (
        "plugins", plugin(18, "request-termination", {"status_code": 5}), "config.status_code"),
    "an entity of an unknown type": ("teapots", {"id": ident(19), "name": "bad19"}, None),
    "a protocol that is none": ("routes", route(20, "bad20", ["/x"], 1, protocols=["smoke"]), "protocols"),
}


def reports_of(plane, number, since):
    return [entry for report in plane.reports[since:] for entry in report.get("quarantined", [])
            if ident(number) in json.dumps(entry)]


def wait_quarantined(plane, number, wanted, timeout=5):
    """Until the newest report names the entity, or does not."""
    plane.wait(lambda: plane.reports and wanted == (ident(number) in json.dumps(plane.reports[-1])),
               timeout, f"the {'beginning' if wanted else 'end'} of the quarantine of {number}")


def number_of(entity):
    return int(entity["id"][-12:])


@pytest.mark.sanitized
@pytest.mark.parametrize("fault", BAD)
def test_the_others_of_the_batch_are_served_and_the_bad_one_is_named(played, fault):
    plane, data, _ = played
    kind, entity, field = BAD[fault]
    number, since = number_of(entity), len(plane.reports)
    before, after = f"/before{number}", f"/after{number}"
    plane.batch(("routes", route(100 + number, before[1:], [before], 1)), (kind, entity),
                ("routes", route(200 + number, after[1:], [after], 1)))
    data.poll(before, 200)
    data.poll(after, 200)
    plane.wait_applied()
    assert not plane.ends or plane.sessions, plane.ends
    # On the data plane …
    line = data.wait_log("quarantined", ident(number))
    assert field is None or field.split(".")[0] in line, line
    # … and for its control plane.
    plane.wait(lambda: reports_of(plane, number, since), 5, f"a report of {ident(number)}")
    entry = reports_of(plane, number, since)[-1]
    assert entry["type"] == kind
    assert field is None or field.split(".")[0] in entry["field"], entry
    assert entry["reason"]
    # What is wrong and what is good again are deltas like any others: no full set was needed.
    assert not any(full for full, _ in plane.answers()[1:])
    plane.delete(kind, ident(number))
    wait_quarantined(plane, number, False)


def test_sync_status_names_every_bad_entity(played):
    plane, data, _ = played
    plane.put("routes", route(37, "named", ["nope"], 1))
    plane.wait_applied()
    wait_quarantined(plane, 37, True)
    status = data.sync_status()
    plane.delete("routes", ident(37))
    line = next((text for text in status.splitlines() if ident(37) in text), "")
    assert "paths" in line and "routes" in line, status


def test_a_quarantined_plugin_lets_nobody_in(played):
    """What may keep somebody out does so also when this data plane can't accept it."""
    plane, data, _ = played
    plane.put("routes", route(38, "kept", ["/kept"], 1))
    data.poll("/kept", 200)
    for bad in (plugin(39, "key-auth", {"surprise": 1}, route={"id": ident(38)}),
                plugin(39, "never-heard-of", {}, route={"id": ident(38)})):
        plane.put("plugins", bad)
        data.poll("/kept", 500)
        assert data.get("/a").status == 200
    plane.put("plugins", plugin(39, "key-auth", {}, route={"id": ident(38)}))
    data.poll("/kept", 401)
    plane.delete("plugins", ident(39))
    data.poll("/kept", 200)


def test_a_corrected_version_heals(played):
    plane, data, _ = played
    plane.put("routes", route(30, "heal", ["nope"], 1))
    plane.wait_applied()
    wait_quarantined(plane, 30, True)
    assert data.get("/heal").status == 404
    plane.put("routes", route(30, "heal", ["/heal"], 1))
    data.poll("/heal", 200)
    wait_quarantined(plane, 30, False, 5)


def test_the_last_good_version_serves_on_while_the_new_one_is_bad(played):
    plane, data, _ = played
    plane.put("routes", route(31, "last", ["/last"], 1))
    data.poll("/last", 200)
    plane.put("routes", route(31, "last", ["nope"], 1))
    plane.wait_applied()
    wait_quarantined(plane, 31, True)
    assert data.get("/last").status == 200
    plane.put("routes", route(31, "last", ["/last-moved"], 1))
    data.poll("/last-moved", 200)
    data.poll("/last", 404)


def test_it_heals_when_what_it_refers_to_arrives(played):
    plane, data, upstream = played
    plane.put("routes", route(32, "early", ["/early"], 900))
    plane.wait_applied()
    wait_quarantined(plane, 32, True)
    assert data.get("/early").status in (404, 503)
    plane.put("services", service(900, upstream.port))
    data.poll("/early", 200)
    wait_quarantined(plane, 32, False, 5)


def test_a_key_without_its_consumer_lets_nobody_in(played):
    plane, data, _ = played
    plane.batch(("routes", route(33, "locked", ["/locked"], 1)),
                ("plugins", plugin(34, "key-auth", {}, route={"id": ident(33)})),
                ("keyauth_credentials", key(35, "orphan-key", 901)))
    data.poll("/locked", 401)
    plane.wait_applied()
    assert data.get("/locked", headers={"apikey": "orphan-key"}).status == 401
    plane.put("consumers", consumer(901, "late"))
    data.poll("/locked", 200, headers={"apikey": "orphan-key"})


def test_quarantine_outlives_a_restart(played):
    plane, data, _ = played
    plane.put("routes", route(36, "stays", ["nope"], 1))
    plane.wait_applied()
    wait_quarantined(plane, 36, True)
    data.restart()
    data.wait_ready()
    assert re.search(r"quarantined\s+[1-9]", data.sync_status()), data.sync_status()
    plane.delete("routes", ident(36))
    wait_quarantined(plane, 36, False, 20)


@pytest.mark.sanitized
def test_the_control_plane_shows_what_a_data_plane_reports(control_plane):
    """Our control plane, a data plane that is played and reports a bad entity."""
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair,
                        capabilities=("kong.sync.v2", "weir.report.v1")) as plane:
        assert "weir.report.v1" in plane.capabilities
        plane.sync()
        bad = {"type": "routes", "id": ident(50), "name": "bad", "field": "paths[1]",
               "reason": "should start with: /", "serving": False}

        def report(entries):
            plane.send({"jsonrpc": "2.0", "method": "weir.report.v1.status", "params": [
                {"version": plane.version, "quarantined": entries, "quarantined_total": len(entries),
                 "error": None, "last_error": None}]})

        def row():
            return json.dumps(control_plane.data_planes().get(plane.node_id, {}))

        report([bad])
        wait_until(lambda: ident(50) in row(), 5, f"the bad entity in {row()}")
        assert "paths[1]" in row() and "should start with: /" in row()
        report([])
        wait_until(lambda: ident(50) not in row(), 5, "its end")


def test_who_does_not_offer_the_extension_is_not_given_it(control_plane):
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair) as plane:
        assert plane.capabilities == ["kong.sync.v2"] or "weir.report.v1" not in plane.hello_options
        plane.sync()
        assert plane.node_id in control_plane.data_planes()


def test_with_both_planes_ours_a_bad_entity_is_seen_at_the_control_plane(cluster):
    """What our control plane accepts, our data plane accepts: nothing is ever quarantined."""
    route_, path = cluster.route()
    cluster.served(path)
    wait_until(lambda: cluster.control.data_planes(), 5, "a data plane")
    assert route_["id"] not in json.dumps(cluster.control.data_planes())
    assert http.once(cluster.data.status_address, "/status/ready").status == 200
