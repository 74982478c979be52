"""What the incumbent's own specifications test of its hybrid mode and is shown nowhere else here. docs/compatibility.md has
the whole list."""

import re
import socket
import time
import uuid

import pytest
from weir import certs, http, ports, wire
from weir.entities import route, service
from weir.fleet import PROGRAM, Fleet
from weir.node import wait_until
from weir.wire import SYNC

ZEROS = "0" * 32


# -- the table of data planes ------------------------------------------------------------------------


def test_a_row_of_a_data_plane(cluster):
    cluster.served(cluster.route()[1])
    row = cluster.control.data_planes()[cluster.data.node_id()]
    assert row["ip"] == "127.0.0.1"
    assert 1209600 - 60 <= row["ttl"] <= 1209600
    assert re.fullmatch(r"\d+\.\d+\.\d+", row["version"])
    assert row["sync_status"] == "normal" and len(row["config_hash"]) == 32
    assert abs(row["last_seen"] - time.time()) < 60 and abs(row["updated_at"] - time.time()) < 60
    assert row["cert_details"] == {"expiry_timestamp": certs.expiry(cluster.control.pair)}
    assert SYNC in row["rpc_capabilities"] and row["hostname"] == socket.gethostname()
    assert row["connected"] is True and row["lag"] == 0


def test_the_old_list_of_data_planes(cluster):
    reply = cluster.admin.request("GET", "/clustering/status")
    assert reply.status == 200 and reply.headers["deprecation"] == "true"
    row = reply.json[cluster.data.node_id()]
    assert row.keys() == {"config_hash", "hostname", "ip", "last_seen"} and row["ip"] == "127.0.0.1"


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
def test_a_row_is_nothing_to_be_written(cluster, method):
    ident = cluster.data.node_id()
    for path in (f"/clustering/data-planes/{ident}", "/clustering_data_planes", f"/clustering_data_planes/{ident}",
                 f"/clustering/data-planes/{ident}/log-level"):
        assert cluster.admin.request(method, path).status == 404, path
    assert ident in cluster.control.data_planes()


def test_a_data_plane_has_no_list_of_them(cluster):
    assert http.once(cluster.data.status_address, "/clustering/data-planes").status == 404
    assert http.once(cluster.data.proxy_address, "/clustering/data-planes").status == 404


def test_capabilities_and_labels_are_those_of_the_hello(cluster):
    address, pair = cluster.control.cluster_address, cluster.control.pair
    odd = ["deployment:mycloud", "region:us-east-1", "a:b:c", "no-colon", "x:" + "y" * 60]
    with wire.DataPlane(address, pair, capabilities=("kong.test", SYNC), labels=odd) as plane:
        plane.sync()
        row = cluster.control.data_planes()[plane.node_id]
        assert row["rpc_capabilities"] == ["kong.test", SYNC] and row["sync_status"] == "normal"
        assert row["labels"] == {"deployment": "mycloud", "region": "us-east-1", "a": "b:c", "x": "y" * 60}


# -- starting, stopping -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind, changes, word", [
    ("control", {"admin_listen": "off"}, "admin_listen"),
    ("control", {"cluster_listen": "off"}, "cluster_listen"),
    ("control", {"database": "off"}, "database"),
    ("control", {"cluster_mtls": "pki"}, "cluster_ca_cert"),
    ("control", {"cluster_cert": None}, "cluster_cert"),
    ("control", {"cluster_cert_key": None}, "cluster_cert_key"),
    ("control", {"cluster_dp_labels": "a:b"}, "cluster_dp_labels"),
    ("control", {"cluster_ocsp": "on"}, "cluster_ocsp"),
    ("control", {"cluster_use_proxy": "on"}, "cluster_use_proxy"),
    ("data", {"proxy_listen": "off"}, "proxy_listen"),
    ("data", {"database": "sqlite"}, "database"),
    ("data", {"cluster_dp_labels": "kong_x:y"}, "cluster_dp_labels"),
    ("data", {"cluster_dp_labels": "a:_b"}, "cluster_dp_labels"),
    ("data", {"cluster_cert": None}, "cluster_cert"),
    ("data", {"cluster_cert_key": None}, "cluster_cert_key"),
    ("data", {"cluster_use_proxy": "on"}, "cluster_use_proxy"),
])
def test_a_node_refuses_to_start(nodes, kind, changes, word):
    node = nodes.control(start=False) if kind == "control" else nodes.data(("127.0.0.1", 1), start=False)
    node.settings.update(changes)
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and word in done.stdout + done.stderr
    assert not node.pids()


def test_a_control_plane_that_goes_is_no_error_of_a_data_plane(nodes):
    control = nodes.control()
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    wait_until(lambda: control.data_planes(), 10, "a row")
    mark = data.mark()
    control.stop()
    line = data.wait_log("not connected", "tries=1", mark=mark)
    assert " warn " in line and "the control plane" in line, line
    assert not re.search(r"\[(error|crit|alert|emerg)\]|Z (error|crit|alert|emerg) ", data.log(mark)), data.log(mark)


def test_pki_with_a_certificate_for_each_node(nodes, tmp_path):
    ca = certs.authority(tmp_path)
    pki = {"cluster_mtls": "pki", "cluster_ca_cert": ca[0]}
    control = nodes.control(pair=certs.signed(tmp_path, "cp", ca, "cp.example"), **pki)
    own = certs.signed(tmp_path, "dp", ca, "dp.example", end="20480101000000Z")
    data = nodes.data(control.cluster_address, pair=own, cluster_server_name="cp.example", **pki)
    data.wait_ready()
    upstream = nodes.upstream()
    made = control.admin.post("/services", name="s", url=upstream.url)
    control.admin.post("/routes", name="r", paths=["/r"], service={"id": made["id"]})
    data.poll("/r", 200)
    row = control.data_planes()[data.node_id()]
    assert row["sync_status"] == "normal"
    assert row["cert_details"]["expiry_timestamp"] == certs.expiry(own) != certs.expiry(control.pair)
    assert data.node_id() in control.admin.read("/clustering/status")
    control.admin.delete("/routes/r")
    data.poll("/r", 404)


def test_a_node_keeps_its_id(nodes):
    control = nodes.control()
    data = nodes.data(control.cluster_address)
    data.wait_ready()
    ident = data.node_id()
    assert uuid.UUID(ident) and ident in control.data_planes()
    data.restart()
    data.wait_ready()
    assert data.node_id() == ident and list(control.data_planes()) == [ident]
    data.stop()
    (data.prefix / "weir.id").write_text("not an id")
    data.start()
    data.wait_ready()
    assert data.node_id() != ident and uuid.UUID(data.node_id())
    wait_until(lambda: set(control.data_planes()) == {ident, data.node_id()}, 10, "the new id")


def ready(node):
    return http.once(node.status_address, "/status/ready").status


def test_when_a_node_is_ready(nodes):
    control = nodes.control(start=False)
    data = nodes.data(control.cluster_address)
    assert ready(data) == 503
    control.bootstrap().start()
    assert ready(control) == 200
    data.wait_ready(30)  # nothing is configured, and that is a configuration
    control.stop()
    assert ready(data) == 200
    data.restart()
    data.wait_ready()


# -- what is not served ---------------------------------------------------------------------------------


def test_a_plugin_of_a_route_of_a_disabled_service_is_no_obstacle(cluster):
    made = cluster.service()
    route_, path = cluster.route(made)
    cluster.admin.post(f"/routes/{route_['id']}/plugins", name="key-auth")
    cluster.served(path, 401)
    cluster.admin.patch(f"/services/{made['id']}", enabled=False)
    cluster.served(path, 404)
    cluster.served(cluster.route()[1])  # what comes later comes
    row = cluster.control.data_planes()[cluster.data.node_id()]
    assert row["sync_status"] == "normal" and not row.get("quarantined")
    cluster.admin.patch(f"/services/{made['id']}", enabled=True)
    cluster.served(path, 401)


def test_what_is_named_is_changed_and_deleted_by_its_name(cluster):
    route_, path = cluster.route()
    cluster.served(path)
    cluster.admin.patch(f"/routes/{route_['name']}", paths=[f"{path}-moved"])
    cluster.served(f"{path}-moved")
    cluster.admin.delete(f"/routes/{route_['name']}")
    cluster.served(f"{path}-moved", 404)


def test_without_a_data_plane_nothing_is_encoded(nodes):
    control = nodes.control()
    for index in range(5):
        control.admin.post("/consumers", username=f"c{index}")
    before = control.admin.read("/clustering/changes")["data"]
    assert len(before) >= 5 and all(change["encoded_us"] is None for change in before)
    with wire.DataPlane(control.cluster_address, control.pair) as plane:
        plane.sync()
        control.admin.post("/consumers", username="late")
        assert plane.sync()
    newest = control.admin.read("/clustering/changes")["data"][0]
    assert newest["encoded_us"] >= newest["committed_us"]


@pytest.mark.skipif(not PROGRAM.exists(), reason="no weir-fleet: build first")
def test_the_six_hundredth_data_plane_hears_of_a_change(nodes, pair):
    """The incumbent notifies 512 at the most; the others wait for their next poll."""
    control = nodes.control()
    with Fleet(control.cluster_address, pair, 600, quiet=True, threads=2, protocol="kong.sync.v2") as fleet:
        fine, numbers = fleet.connected(600, 60)
        assert fine, numbers
        fine, numbers = fleet.wait(1, 60)
        assert fine, numbers
        for number in range(3):
            control.admin.post("/consumers", username=f"c{number}")
            fine, numbers = fleet.wait(2 + number, 20)  # well before the next poll
            assert fine and numbers["nodes"] == 600, numbers
        assert fleet.stats()["disconnects"] == 0


# -- calls of a data plane ----------------------------------------------------------------------------------


@pytest.fixture
def peer(cluster):
    """A data plane that is played, of the 3.10 dialect, with the newest version."""
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        yield plane


def call(method, ident=None, *params):
    message = {"jsonrpc": "2.0", "method": method, "params": list(params)}
    return message if ident is None else {**message, "id": ident}


def exchange(plane, message, timeout=5.0):
    plane.send(message)
    return plane.receive(timeout)


def lives(plane):
    """A call still gets its answer, and nothing else came before."""
    plane.ids = 9000
    return plane.get_delta()["full_sync"] is False


@pytest.mark.parametrize("method", ["kong.test.echo", f"{SYNC}.get_nothing", "get_delta", "",
                                    "kong.debug.log_level.v1.get_log_level"])
def test_an_unknown_method_is_an_error(peer, method):
    with pytest.raises(wire.RpcError, match="-32601: Method not found"):
        peer.call(method, {})
    assert lives(peer)


def test_the_message_of_a_handler_is_passed_on(peer):
    with pytest.raises(wire.RpcError, match="-32000: default namespace does not exist inside params"):
        peer.call(f"{SYNC}.get_delta", {})
    assert lives(peer)


def test_a_batch_of_nothing_and_of_what_is_no_call(peer):
    empty = exchange(peer, [])
    assert empty["error"] == {"code": -32600, "message": "empty batch array"}
    odd = exchange(peer, [7])
    assert odd["error"]["code"] == -32600 and "not a valid object" in odd["error"]["message"]
    assert lives(peer)


def test_a_batch_is_answered_as_one(peer):
    ask = {"default": {"version": peer.version}}
    one = exchange(peer, [call(f"{SYNC}.get_delta", 41, ask)])
    assert [answer["id"] for answer in one] == [41]
    two = exchange(peer, [call(f"{SYNC}.get_delta", 42, ask), call("kong.test.none", 43)])
    assert [answer["id"] for answer in two] == [42, 43] and "error" in two[1]
    peer.send([call(f"{SYNC}.get_delta", None, ask), call("kong.test.none")])
    assert lives(peer)


def test_a_notification_gets_no_answer(peer):
    peer.send(call("kong.test.unknown", None, {}))
    peer.send(call(f"{SYNC}.get_delta", None, {"default": {"version": ZEROS}}))
    assert lives(peer)
    assert not [m for m in peer.log[-2:] if m.json and m.json.get("result", {}).get("default", {}).get("deltas")]


def test_which_versions_get_everything(peer):
    newest = wire.number(peer.version)
    for version in ("A" * 32, ZEROS, wire.token(newest + 1000)):
        answer = peer.get_delta(version)
        assert answer["full_sync"] is True and answer["deltas"], version
    assert peer.get_delta(peer.version) == {"full_sync": False, "deltas": [], "latest_version": peer.version}


def test_a_change_is_told_and_then_asked_for(cluster, peer):
    route_, _ = cluster.route()
    told = peer.wait_notified()
    deltas = [delta for answer in peer.sync() for delta in wire.items(answer["deltas"])]
    assert deltas[-1]["entity"]["id"] == route_["id"] and deltas[-1]["version"] == peer.version >= told


# -- calls of a control plane -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played(module_nodes):
    """A control plane of the 3.10 dialect that is played, and a data plane that claims 3.10 and holds its set."""
    upstream = module_nodes.upstream()
    plane = wire.ControlPlane(ports.free(), module_nodes.pair, capabilities=(SYNC,)).start()
    plane.batch(("services", service(1, upstream.port)), ("routes", route(2, "a", ["/a"], 1)))
    data = module_nodes.data(("127.0.0.1", plane.port), cluster_compat_version="3.10.0")
    data.poll("/a", 200)
    plane.wait_applied()
    yield plane, data
    plane.stop()


@pytest.fixture(autouse=True)
def honest(request):
    """A control plane that is played answers as it should again after each test."""
    yield
    if "played" in request.fixturenames:
        request.getfixturevalue("played")[0].odd = None


def session_of(plane):
    plane.wait(lambda: plane.sessions, 15, "a connection")
    return plane.sessions[-1]


def asked(plane, mark, least=1, timeout=5.0):
    plane.wait(lambda: len(plane.get_deltas()) >= mark + least, timeout, f"{least} more get_delta")


@pytest.mark.parametrize("params, text", [
    ([{}], "default namespace does not exist inside params"),
    ([{"default": {}}], "'new_version' key does not exist"),
])
def test_a_notification_without_a_version_is_an_error(played, params, text):
    answer = session_of(played[0]).call(f"{SYNC}.notify_new_version", *params)
    assert answer["error"]["code"] == -32000 and answer["error"]["message"] == text


@pytest.mark.parametrize("token", ["." * 32, ZEROS, "v02_" + "0" * 28])
def test_a_lower_version_is_not_asked_for(played, token):
    plane, _ = played
    mark = len(plane.get_deltas())
    answer = session_of(plane).call(f"{SYNC}.notify_new_version", {"default": {"new_version": token}})
    assert answer["result"] is True
    time.sleep(0.3)
    assert len(plane.get_deltas()) == mark


def test_a_higher_version_is_asked_for(played):
    plane, data = played
    mark = len(plane.get_deltas())
    plane.notify(plane.version + 1)  # there is none yet: it is looked for again, not without end
    asked(plane, mark, 6)
    time.sleep(0.5)
    assert len(plane.get_deltas()) - mark == 6
    plane.put("routes", route(4, "d", ["/d"], 1))
    data.poll("/d", 200)


def test_what_fails_is_tried_again_but_not_without_end(played):
    plane, data = played
    plane.odd = lambda session, message: {"error": {"code": -32000, "message": "not now"}}
    mark = len(plane.get_deltas())
    plane.put("routes", route(3, "b", ["/b"], 1))
    asked(plane, mark, 6)
    time.sleep(1.0)
    assert len(plane.get_deltas()) - mark == 6, "once, and five times more"
    plane.odd = None
    plane.notify()
    data.poll("/b", 200)


def test_a_data_plane_answers_calls_that_it_does_not_know(played):
    plane, _ = played
    session = session_of(plane)
    assert session.call("kong.test.echo", {})["error"]["message"] == "Method not found"
    mark = len(plane.log)
    session.send([])
    session.send(call("kong.test.unknown", None, {}))
    session.send([call("kong.test.a", None, {}), call("kong.test.b", None, {})])
    session.send([call("kong.test.echo", 77, {})])
    plane.wait(lambda: any(isinstance(m.json, list) for m in plane.log[mark:] if not m.sent), 5, "one answer")
    came = [m.json for m in plane.log[mark:] if not m.sent and m.json]
    assert came[0]["error"] == {"code": -32600, "message": "empty batch array"}
    assert [answer["id"] for answer in came[1]] == [77] and len(came) == 2


@pytest.mark.parametrize("bad, field", [
    (service(20, 80, name=7), "name"),
    (service(21, "many"), "port"),
    (service(22, 80, protocol=None), "protocol"),
])
def test_what_is_refused_is_told_by_field(played, bad, field):
    plane, data = played
    mark = len(plane.calls)
    plane.put("services", bad)

    def told():
        return [m for _, m in plane.calls[mark:] if m["method"] == f"{SYNC}.notify_validation_error"]
    plane.wait(told, 5, "notify_validation_error")
    error = told()[0]["params"][0]["error"]
    assert error["code"] == 21 and "id" not in told()[0]
    faults = [fault for entry in error["flattened_errors"] for fault in entry["errors"]]
    assert [entry["entity_id"] for entry in error["flattened_errors"]] == [bad["id"]]
    assert field in [fault["field"] for fault in faults]
    assert data.get("/a").status == 200
    plane.delete("services", bad["id"])
