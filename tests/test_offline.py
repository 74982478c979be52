"""Without a control plane: a data plane serves what it has, and catches up by what is missing."""

import time

import pytest
from weir import ports, wire
from weir.entities import ident, route, service
from weir.node import wait_until

RECONNECT_MAX = 15  # the delay is 5 to 10 s


@pytest.fixture
def played(nodes):
    """A control plane of ours that is played, and a data plane that has got its first set."""
    upstream = nodes.upstream()
    plane = wire.ControlPlane(ports.free(), nodes.pair).start()
    plane.batch(("services", service(1, upstream.port)), ("routes", route(2, "a", ["/a"], 1)))
    data = nodes.data(("127.0.0.1", plane.port))
    data.wait_ready()
    data.poll("/a", 200)
    plane.wait_applied()
    yield plane, data, upstream
    plane.stop()


def restarted(plane):
    """The same control plane, back on the same port; its log of what went over starts anew."""
    plane.log.clear()
    plane.calls.clear()
    plane.start()
    plane.wait(lambda: plane.sessions, RECONNECT_MAX, "a new connection of the data plane")


def test_first_contact_is_one_full_answer(played):
    plane, _, _ = played
    assert plane.answers()[0] == (True, 4)
    assert not any(full for full, _ in plane.answers()[1:])


def test_it_offers_what_a_control_plane_expects(played):
    plane, _, _ = played
    path, headers = plane.requests[0]
    assert path == "/v2/outlet" and headers["sec-websocket-protocol"] == "kong.meta.v1"
    hello = plane.sessions[0].hello["params"][0]
    assert set(hello["rpc_capabilities"]) == {"kong.sync.v2", "weir.report.v1", "weir.sync.v1"}
    assert set(hello["rpc_frame_encodings"]) == {"x-snappy-framed", "x-zstd"}
    assert hello["kong_version"] == "3.9.1" and isinstance(hello["kong_conf"], dict)
    assert len(plane.sessions) == 1


def test_secrets_are_not_told_to_the_control_plane(played):
    plane, data, _ = played
    conf = str(plane.sessions[0].hello["params"][0]["kong_conf"])
    assert data.pair[1] not in conf and "PRIVATE KEY" not in conf


@pytest.mark.sanitized
def test_it_serves_on_while_the_control_plane_is_away(played):
    plane, data, _ = played
    plane.stop()
    for _ in range(20):
        assert data.get("/a").status == 200
        time.sleep(0.02)


def test_it_serves_after_a_restart_of_its_own_without_a_control_plane(played):
    plane, data, _ = played
    plane.stop()
    data.restart()
    data.wait_ready(10)
    assert data.get("/a").status == 200


def test_it_serves_from_the_first_answer_after_a_cold_start(played):
    """Never a 404 because the configuration is still arriving."""
    plane, data, _ = played
    plane.stop()
    data.stop()
    data.weir("start")
    statuses = set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and 200 not in statuses:
        statuses.add(data.get("/a").status)
    assert statuses <= {0, 200} and 200 in statuses
    data.remember()


@pytest.mark.slow
def test_it_catches_up_by_the_deltas_it_missed(played):
    plane, data, _ = played
    plane.stop()
    plane.put("routes", route(3, "b", ["/b"], 1), notify=False)
    plane.put("routes", route(4, "c", ["/c"], 1), notify=False)
    plane.delete("routes", ident(2), notify=False)
    restarted(plane)
    data.poll("/b", 200)
    data.poll("/c", 200)
    data.poll("/a", 404)
    plane.wait_applied()
    assert plane.answers()[0] == (False, 3)
    assert not any(full for full, _ in plane.answers())


@pytest.mark.slow
def test_it_catches_up_by_deltas_after_a_restart_of_its_own(played):
    plane, data, _ = played
    data.stop()
    plane.put("routes", route(3, "b", ["/b"], 1), notify=False)
    plane.log.clear()
    data.start()
    data.poll("/b", 200)
    assert plane.answers()[0] == (False, 1)


@pytest.mark.slow
def test_it_takes_everything_when_the_log_does_not_reach_back(played):
    plane, data, upstream = played
    plane.stop()
    plane.delete("routes", ident(2), notify=False)
    plane.put("routes", route(3, "b", ["/b"], 1), notify=False)
    plane.floor, plane.deltas = plane.version, []
    restarted(plane)
    data.poll("/b", 200)
    data.poll("/a", 404)  # what was deleted in between is gone, although no delta said so
    assert plane.answers()[0][0] is True


@pytest.mark.slow
def test_it_follows_a_control_plane_that_was_set_back(played):
    plane, data, upstream = played
    for number in range(10, 30):
        plane.put("routes", route(number, f"n{number}", [f"/n{number}"], 1))
    data.poll("/n29", 200)
    plane.wait_applied()
    plane.stop()
    with plane.change:
        for number in range(20, 30):
            del plane.entities[("routes", ident(number))]
        plane.version, plane.floor, plane.deltas = 12, 12, []
    restarted(plane)
    data.poll("/n29", 404, timeout=15)
    data.poll("/n19", 200)
    plane.wait_applied(12)


@pytest.mark.slow
def test_the_old_set_serves_while_the_new_one_comes(played):
    """A full resync of thousands: no request of the old set fails meanwhile."""
    plane, data, upstream = played
    changes = [("routes", route(1000 + i, f"m{i}", [f"/m{i}"], 1)) for i in range(3000)]
    plane.batch(*changes, notify=False)
    plane.floor, plane.deltas = plane.version, []
    plane.notify()
    statuses = set()
    deadline = time.monotonic() + 30
    while data.get("/m2999").status != 200:
        statuses.add(data.get("/a").status)
        assert time.monotonic() < deadline, "the new set does not come"
    assert statuses <= {200}
    assert plane.answers()[-1][0] is True or (True, 3004) in plane.answers()


def test_an_empty_data_plane_is_not_ready_before_its_first_set(nodes):
    data = nodes.data(("127.0.0.1", ports.free()))
    from weir import http

    assert http.once(data.status_address, "/status/ready").status == 503
    assert http.once(data.status_address, "/status").status == 200


@pytest.mark.slow
def test_with_our_control_plane_it_does_all_of_that_too(nodes):
    upstream = nodes.upstream()
    control = nodes.control()
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    made = control.admin.post("/services", name="s", url=upstream.url)
    control.admin.post("/routes", name="a", paths=["/a"], service={"id": made["id"]})
    data.poll("/a", 200)
    control.stop()
    assert data.get("/a").status == 200
    data.restart()
    data.wait_ready(10)
    assert data.get("/a").status == 200
    control.start()
    control.admin.post("/routes", name="b", paths=["/b"], service={"id": made["id"]})
    data.poll("/b", 200, timeout=RECONNECT_MAX + 5)


def test_our_control_plane_sends_increments_after_its_own_death(nodes):
    control = nodes.control()
    service_id = control.admin.post("/services", name="s", host="a.example")["id"]
    with wire.DataPlane(control.cluster_address, control.pair) as plane:
        plane.sync()
    control.admin.post("/routes", name="a", paths=["/a"], service={"id": service_id})
    killed = control.kill("nginx")
    wait_until(lambda: control.pid("nginx") not in (None, *killed), 10, "nginx, started again")
    control.wait_listening()
    control.admin.post("/routes", name="b", paths=["/b"], service={"id": service_id})
    again = wire.DataPlane(control.cluster_address, control.pair)
    again.version, again.held = plane.version, plane.held
    with again.connect():
        answers = again.sync()
    assert [len(wire.items(a["deltas"])) for a in answers] == [2, 0]
    assert not any(a["full_sync"] for a in answers)


def test_our_control_plane_sends_everything_to_who_is_behind_its_log(nodes):
    control = nodes.control(cluster_sync_log_entries="10")
    with wire.DataPlane(control.cluster_address, control.pair) as plane:
        plane.sync()
        for index in range(30):
            control.admin.post("/consumers", username=f"c{index}")
        answers = plane.sync()
        assert answers[0]["full_sync"] is True
        assert sum(kind == "consumers" for kind, _ in plane.held) == 30


@pytest.mark.parametrize("version", ["v02_" + "f" * 28, "v02_000000000000000000000000000z", "", None, 7,
                                     "0" * 32, "97f6988d722e0e87b79b4ba96e00eabd"])
def test_who_reports_an_unknown_version_gets_everything(control_plane, version):
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair) as plane:
        plane.call("kong.sync.v2.get_delta", {"default": {"version": "0" * 32}})
        answer = plane.get_delta(version if version is not None else "v02_x")
        assert answer.get("full_sync") or answer.get("wipe")
        assert {d["type"] for d in answer["deltas"]} >= {"workspaces", "parameters"}
