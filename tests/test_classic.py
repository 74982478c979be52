"""The classic full sync at both ends: what is pushed and when, and switching to it and back."""

import json
import threading
import time
import uuid

import pytest
from weir import certs, classic, http, ports, websocket
from weir.entities import ident
from weir.node import wait_until
from weir.websocket import BINARY, PING, PONG, Refused

OFF = {"cluster_rpc_sync": "off"}


@pytest.fixture(scope="module")
def plane(module_nodes):
    """A control plane that pushes quickly."""
    return module_nodes.control(db_update_frequency="0.3")


@pytest.fixture
def fresh(plane):
    """A control plane without entities."""
    for path in ("/plugins", "/routes", "/services", "/consumers", "/upstreams"):
        for entity in plane.admin.list(path):
            plane.admin.delete(f"{path}/{entity['id']}")
    return plane


def joined(plane, **options):
    info = options.pop("info", None)
    return classic.DataPlane(plane.cluster_address, plane.pair, **options).connect(info)


def row(plane, node, timeout=5.0, **wanted):
    """The node's row once it says this."""
    def found():
        got = plane.data_planes().get(node.node_id)
        return got if got and all(got.get(k) == v for k, v in wanted.items()) else None

    return wait_until(found, timeout, f"a row with {wanted}, is {plane.data_planes().get(node.node_id)}")


# -- what is pushed --------------------------------------------------------------------------------


def test_an_empty_set_has_a_workspace_and_the_clusters_id(fresh):
    with joined(fresh) as node:
        push = node.push()
        table = push["config_table"]
        assert sorted(table) == ["_format_version", "_transform", "parameters", "workspaces"]
        assert table["_format_version"] == "3.0" and table["_transform"] is False
        assert table["workspaces"][0]["name"] == "default"
        assert table["parameters"][0]["key"] == "cluster_id"
        assert len(push["config_hash"]) == 32 and push["hashes"]["config"] == push["config_hash"]
        assert push["hashes"]["routes"] == classic.NOTHING


def test_foreign_keys_are_bare_ids_and_nulls_are_kept(fresh):
    service = fresh.admin.post("/services", name="a", url="http://127.0.0.1:1/")
    route = fresh.admin.post("/routes", name="a", paths=["/a"], service={"id": service["id"]})
    plugin = fresh.admin.post("/plugins", name="key-auth", route={"id": route["id"]})
    with joined(fresh) as node:
        table = node.table()
    assert table["routes"][0]["service"] == service["id"]
    assert table["routes"][0]["methods"] is None and "ws_id" not in table["routes"][0]
    assert table["plugins"][0]["route"] == route["id"] and table["plugins"][0]["service"] is None
    assert table["plugins"][0]["id"] == plugin["id"]
    assert {**table["services"][0]} == {**service}


def test_what_is_disabled_is_left_out_with_all_that_hangs_on_it(fresh):
    kept = fresh.admin.post("/services", name="kept", url="http://127.0.0.1:1/")
    gone = fresh.admin.post("/services", name="gone", url="http://127.0.0.1:1/", enabled=False)
    for service in (kept, gone):
        route = fresh.admin.post("/routes", name=service["name"], paths=["/x"],
                                 service={"id": service["id"]})
        fresh.admin.post("/plugins", name="key-auth", route={"id": route["id"]})
        fresh.admin.post("/plugins", name="key-auth", service={"id": service["id"]})
    fresh.admin.post("/plugins", name="request-termination", enabled=False)
    with joined(fresh) as node:
        table = node.table()
    assert [s["name"] for s in table["services"]] == ["kept"]
    assert [r["name"] for r in table["routes"]] == ["kept"]
    assert sorted(p["name"] for p in table["plugins"]) == ["key-auth", "key-auth"]


def test_the_hash_changes_with_what_is_pushed_and_only_then(fresh):
    with joined(fresh) as node:
        first = node.push()
        service = fresh.admin.post("/services", name="s", url="http://127.0.0.1:1/")
        second = node.push()
        assert second["config_hash"] != first["config_hash"]
        assert second["hashes"]["services"] != first["hashes"]["services"]
        assert second["hashes"]["routes"] == first["hashes"]["routes"]
        fresh.admin.delete(f"/services/{service['id']}")
        third = node.push()
        assert third["config_hash"] == first["config_hash"]
        # A disabled one never reaches a data plane: nothing is pushed for it.
        fresh.admin.post("/services", name="off", url="http://127.0.0.1:1/", enabled=False)
        assert node.nothing(1.0)


def test_a_data_plane_that_has_it_already_is_not_sent_it_again(fresh):
    with joined(fresh) as node:
        node.push()
        held = node.hash
    again = classic.DataPlane(fresh.cluster_address, fresh.pair, node_id=node.node_id).open()
    parts, channel = [], again.websocket.channel  # both frames arrive together
    channel.send, send = parts.append, channel.send
    again.send(BINARY, json.dumps(classic.basic_info()).encode())
    again.ping(held)
    send(b"".join(parts))
    channel.send = send
    with again:
        row(fresh, again, config_hash=held)
        fresh.admin.post("/consumers", username="new")
        assert again.table()["consumers"][0]["username"] == "new"


# -- when --------------------------------------------------------------------------------------------


def test_the_first_change_goes_at_once_and_the_next_ones_together(nodes):
    plane = nodes.control(db_update_frequency="2")
    with joined(plane) as node:
        node.push()
        begun = time.monotonic()
        for i in range(20):
            plane.admin.post("/consumers", username=f"c{i}")
        first, second = node.wait(BINARY), node.wait(BINARY)
        assert first.time - begun < 1.0
        assert 1.8 < second.time - first.time < 3.5
        assert len(classic.unpack(second.payload)["config_table"]["consumers"]) == 20
        assert node.nothing(2.5)


def test_nothing_is_exported_without_a_data_plane(plane):
    """J 08: lazy export; the next one gets what there is then."""
    mark = plane.mark()
    for i in range(3):
        plane.admin.post("/consumers", username=f"lazy{i}-{uuid.uuid4()}")
    time.sleep(0.7)
    assert "connected" not in plane.log(mark)
    with joined(plane) as node:
        assert len([c for c in node.table()["consumers"] if c["username"].startswith("lazy")]) >= 3


def test_a_lost_push_is_sent_again(nodes):
    plane = nodes.control()
    with joined(plane) as node:
        node.answers = False
        node.push()
        node.ping()  # too soon to say anything
        assert node.nothing(1.0)
        time.sleep(5)
        node.ping()
        assert node.push()["config_table"]["parameters"]


# -- who it is pushed to (J 01, 09) ------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_plugin(module_nodes):
    plane = module_nodes.control(name="plugins", db_update_frequency="0.2")
    plane.admin.post("/plugins", name="key-auth")
    return plane


@pytest.mark.parametrize("version, plugins", [
    ("3.9.1", classic.PLUGINS),
    ("3.9.1", ("key-auth",)),
    ("3.9.1", ({"name": "key-auth", "version": "3.8.0"},)),
    ("3.9.1", ({"name": "key-auth", "version": "3.9.7"},)),
    ("3.9.1", ({"name": "key-auth"},)),
    ("3.9.1", ({"name": "key-auth", "version": "new"},)),
    ("3.9.1", classic.PLUGINS + ("banana",)),
    ("3.0.4", classic.PLUGINS),
    ("3.9.0", classic.PLUGINS),
    ("3.9.1000", classic.PLUGINS),
    ("3.9.1-enterprise-version", classic.PLUGINS),
])
def test_who_is_served(with_plugin, version, plugins):
    info = classic.basic_info("3.9.1", plugins)
    with joined(with_plugin, version=version, info=info) as node:
        assert node.table()["plugins"][0]["name"] == "key-auth"
        row(with_plugin, node, sync_status="normal", version=version, config_hash=node.hash)


@pytest.mark.parametrize("plugins, status", [
    ((), "plugin_set_incompatible"),
    (("acl",), "plugin_set_incompatible"),
    (({"name": "key-auth", "version": "2.9.1"},), "plugin_version_incompatible"),
    (({"name": "key-auth", "version": "4.0.0"},), "plugin_version_incompatible"),
    (({"name": "key-auth", "version": "3.10.0"},), "plugin_version_incompatible"),
])
def test_who_is_sent_nothing_but_pongs(with_plugin, plugins, status):
    with joined(with_plugin, info=classic.basic_info("3.9.1", plugins)) as node:
        node.wait(PONG)
        row(with_plugin, node, sync_status=status, config_hash=classic.NOTHING)
        node.ping()
        node.wait(PONG)
        assert BINARY not in [frame.opcode for frame in node.log]


def test_a_plugin_that_goes_makes_a_data_plane_fit_again(nodes):
    plane = nodes.control(db_update_frequency="0.2")
    plugin = plane.admin.post("/plugins", name="key-auth")
    with joined(plane, info=classic.basic_info("3.9.1", ())) as node:
        row(plane, node, sync_status="plugin_set_incompatible")
        plane.admin.delete(f"/plugins/{plugin['id']}")
        assert "plugins" not in node.table()
        row(plane, node, sync_status="normal")


@pytest.mark.parametrize("version", ["2.8.4", "4.0.0", "3.10.0", "3.9"])
def test_a_version_that_does_not_fit_is_closed_and_shown(plane, version):
    node = joined(plane, version=version)
    assert node.ended() is True
    assert BINARY not in [frame.opcode for frame in node.log]
    row(plane, node, sync_status="kong_version_incompatible", version=version)


def test_older_data_planes_get_what_they_know(with_plugin):
    """J 09: key-auth had no realm before 3.7; the hash is that of the original."""
    with joined(with_plugin) as newest, joined(with_plugin, version="3.6.1") as older:
        first, second = newest.push(), older.push()
    assert "realm" in first["config_table"]["plugins"][0]["config"]
    assert "realm" not in second["config_table"]["plugins"][0]["config"]
    assert "updated_at" in second["config_table"]["plugins"][0]
    assert first["config_hash"] == second["config_hash"]


def test_the_row_shows_labels_and_the_end_of_the_certificate(plane):
    labels = {"region": "eu-west-1", "a.b-c_d": "x:y"}
    with joined(plane, info=classic.basic_info(labels=labels)) as node:
        node.push()
        shown = row(plane, node, sync_status="normal", config_hash=node.hash)
    assert shown["labels"] == labels and shown["ip"] == "127.0.0.1"
    assert shown["hostname"] == "mock-dp" and shown["rpc_capabilities"] == []
    assert shown["cert_details"]["expiry_timestamp"] > time.time()
    assert 1209000 < shown["ttl"] <= 1209600 and shown["connected"]
    assert node.node_id in plane.admin.get("/clustering/status").json
    for method in ("DELETE", "PATCH"):
        assert plane.admin.request(method, f"/clustering/data-planes/{node.node_id}").status == 404
    assert plane.admin.get("/clustering_data_planes").status == 404


# -- what is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "?", "?node_version=3.9.1", "?node_id=x", "?nodeid=x&node_version=3"])
def test_a_query_without_id_or_version_is_a_bad_request(plane, query):
    with pytest.raises(Refused) as refused:
        classic.DataPlane(plane.cluster_address, plane.pair).open(query)
    assert refused.value.status == 400


def test_a_stranger_gets_no_answer(plane):
    with pytest.raises(Refused) as refused:
        classic.DataPlane(plane.cluster_address, None).open()
    assert refused.value.status == 0


@pytest.mark.parametrize("opcode, payload, options, close_frame", [
    (BINARY, b"{", {}, True),
    (BINARY, b'"x"', {}, True),
    (BINARY, b'{"type":"hello","plugins":[]}', {}, True),
    (BINARY, b'{"type":"basic_info"}', {}, True),
    (BINARY, b'{"type":"basic_info","plugins":"x"}', {}, True),
    (BINARY, b'{"type":"basic_info"', {"fin": False}, True),
    (websocket.TEXT, b'{"type":"basic_info","plugins":[]}', {}, False),
    (PING, b"0" * 32, {}, False),
    (BINARY, b"{}", {"masked": False}, False),
    (3, b"", {}, False),
])
def test_a_bad_beginning_ends_the_connection(plane, opcode, payload, options, close_frame):
    node = classic.DataPlane(plane.cluster_address, plane.pair).open()
    node.send(opcode, payload, **options)
    assert node.ended() is close_frame


@pytest.mark.parametrize("opcode, payload", [
    (PING, b""), (PING, b"0" * 31), (PING, b"0" * 33), (PONG, b""), (websocket.TEXT, b"{}"),
    (BINARY, b"{}"), (BINARY, b"x"),
])
def test_an_odd_frame_later_ends_the_connection_with_a_close_frame(plane, opcode, payload):
    node = joined(plane)
    node.push()
    node.send(opcode, payload)
    assert node.ended() is True


def test_what_a_data_plane_refuses_is_shown(plane):
    with joined(plane) as node:
        node.push()
        node.send(BINARY, json.dumps({"type": "error", "error": {
            "name": "declarative configuration parse failure", "message": "no", "source": "s",
            "config_hash": node.hash, "fields": {"routes": "bad"}}}).encode())
        node.ping()
        node.wait(PONG)
        wait_until(lambda: "bad" in (plane.data_planes()[node.node_id]["last_error"] or ""))


@pytest.mark.slow
def test_silence_is_cut_off(plane):
    with joined(plane) as node:
        node.push()
        begun = time.monotonic()
        assert node.ended(60) is True
        assert 43 < time.monotonic() - begun < 52


# -- a data plane of ours ----------------------------------------------------------------------------------


class Pair:
    """A control plane and a data plane that speak the classic push alone."""

    def __init__(self, nodes, control=None, data=None):
        self.upstream = nodes.upstream()
        self.control = nodes.control(db_update_frequency="0.2", **(control or {}))
        self.data = nodes.data(self.control.cluster_address, **(data or {})).wait_ready()
        self.admin = self.control.admin

    def route(self, name):
        service = self.admin.post("/services", name=name, url=self.upstream.url)
        return self.admin.post("/routes", name=name, paths=[f"/{name}"],
                               service={"id": service["id"]})


@pytest.fixture(scope="module")
def off(module_nodes):
    """cluster_rpc_sync is off at both ends."""
    return Pair(module_nodes, control=dict(OFF), data=dict(OFF))


def test_a_route_is_served_changed_and_gone(off):
    route = off.route("one")
    assert off.data.poll("/one", 200).json["path"] == "/"
    off.admin.patch(f"/routes/{route['id']}", paths=["/moved"])
    off.data.poll("/moved", 200)
    off.data.poll("/one", 404)
    off.admin.patch("/services/one", enabled=False)
    off.data.poll("/moved", 404)
    off.admin.patch("/services/one", enabled=True)
    off.data.poll("/moved", 200)
    off.admin.delete(f"/routes/{route['id']}")
    off.data.poll("/moved", 404)


def test_a_plugin_and_a_credential_work(off):
    off.route("auth")
    off.admin.post("/routes/auth/plugins", name="key-auth")
    off.data.poll("/auth", 401)
    consumer = off.admin.post("/consumers", username="jane")
    off.admin.post(f"/consumers/{consumer['id']}/key-auth", key="secret")
    off.data.poll("/auth", 200, headers={"apikey": "secret"})
    off.admin.delete("/consumers/jane")
    off.data.poll("/auth", 401, headers={"apikey": "secret"})


def test_the_row_of_a_data_plane_of_ours(off):
    off.route("row")
    off.data.poll("/row", 200)
    rows = off.control.data_planes()
    shown = rows[off.data.node_id()]
    assert shown["sync_status"] == "normal" and shown["version"] == "3.9.1"
    assert shown["connected"]
    row_of = lambda: off.control.data_planes()[off.data.node_id()]  # noqa: E731
    shown = wait_until(lambda: row_of() if row_of()["lag"] == 0 else None)
    status = http.once(off.data.status_address, "/status").json
    assert status["configuration_hash"] == shown["config_hash"]
    assert shown["config_hash"] in off.data.sync_status()


def test_it_serves_without_a_control_plane_and_over_a_restart(nodes):
    """J 02, 11: ready before, not before the first set, and after the control plane has gone."""
    control = nodes.control(db_update_frequency="0.2", **OFF)
    upstream = nodes.upstream()
    away = nodes.data(("127.0.0.1", ports.free()), name="away", **OFF)
    assert http.once(away.status_address, "/status/ready").status == 503
    data = nodes.data(control.cluster_address, **OFF).wait_ready()
    assert http.once(control.status_address, "/status/ready").status == 200
    service = control.admin.post("/services", name="s", url=upstream.url)
    control.admin.post("/routes", name="r", paths=["/r"], service={"id": service["id"]})
    data.poll("/r", 200)
    control.stop()
    assert data.get("/r").status == 200
    data.restart()
    data.poll("/r", 200)
    assert http.once(data.status_address, "/status/ready").status == 200
    mark = data.mark()
    control.start()
    data.wait_log("connected", "protocol=classic", mark=mark, timeout=30)
    # It has the set: nothing is sent, nothing applied.
    row(control, type("Node", (), {"node_id": data.node_id()}), connected=True, timeout=15)
    time.sleep(0.5)
    assert "applied a push" not in data.log(mark)


def test_certificates_of_an_authority(nodes, tmp_path):
    """J 03: pki, each plane with its own certificate."""
    authority = certs.authority(tmp_path)
    settings = {"cluster_mtls": "pki", "cluster_ca_cert": authority[0], **OFF}
    control = nodes.control(pair=certs.signed(tmp_path, "cp", authority, "cp.example"),
                            db_update_frequency="0.2", **settings)
    pair = certs.signed(tmp_path, "dp", authority, "dp.example")
    upstream = nodes.upstream()
    data = nodes.data(control.cluster_address, pair=pair, cluster_server_name="cp.example",
                      **settings).wait_ready()
    service = control.admin.post("/services", name="s", url=upstream.url)
    control.admin.post("/routes", name="r", paths=["/r"], service={"id": service["id"]})
    data.poll("/r", 200)
    shown = control.data_planes()[data.node_id()]
    assert shown["sync_status"] == "normal" and shown["cert_details"]["expiry_timestamp"] > 2e9
    with pytest.raises(Refused):
        classic.DataPlane(control.cluster_address, certs.self_signed(tmp_path, "stranger")).open()


# -- switching (C.7, C.9; J 14, 15) ---------------------------------------------------------------------------


class Load:
    """Clients that ask all the time and count what is not as it should be."""

    def __init__(self, address, path, clients=4):
        self.address, self.path = address, path
        self.failures, self.requests, self.stop = [], 0, threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(clients)]

    def run(self):
        client = http.Client(self.address, timeout=5)
        while not self.stop.is_set():
            try:
                status = client.get(self.path).status
            except Exception as error:  # noqa: BLE001: a dropped request is what is counted
                status = repr(error)
            self.requests += 1
            if status != 200:
                self.failures.append(status)
        client.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(10)


def switch(node, **settings):
    mark = node.mark()
    node.settings.update(settings)
    node.weir("reload")
    return mark


def served_everywhere(pair, name):
    """A change that is made now arrives."""
    pair.admin.close()  # its connection may be to a worker that has gone
    pair.route(name)
    pair.data.poll(f"/{name}", 200, timeout=20)


@pytest.mark.parametrize("value", ["cluster_rpc_sync", "cluster_rpc"])
def test_the_data_plane_switches_while_requests_come(nodes, value):
    pair = Pair(nodes)
    pair.route("load")
    pair.data.poll("/load", 200)
    with Load(pair.data.proxy_address, "/load") as load:
        for i in range(3):
            mark = switch(pair.data, **{value: "off"})
            pair.data.wait_log("connected", "protocol=classic", mark=mark, timeout=20)
            served_everywhere(pair, f"off{i}")
            mark = switch(pair.data, **{value: "on"})
            pair.data.wait_log("connected", "protocol=rpc", mark=mark, timeout=20)
            # What it has from pushes has no version: it says that it knows nothing.
            pair.data.wait_log("started", "version=0", mark=mark)
            served_everywhere(pair, f"on{i}")
    assert load.requests > 100
    assert load.failures == []


@pytest.mark.parametrize("value", ["cluster_rpc_sync", "cluster_rpc"])
def test_the_control_plane_switches_while_requests_come(nodes, value):
    """J 15: a data plane falls back to the push, and comes back."""
    pair = Pair(nodes)
    pair.route("load")
    pair.data.poll("/load", 200)
    with Load(pair.data.proxy_address, "/load") as load:
        for i in range(2):
            mark = pair.data.mark()
            switch(pair.control, **{value: "off"})
            pair.data.wait_log("connected", "protocol=classic", mark=mark, timeout=30)
            served_everywhere(pair, f"off{i}")
            mark = pair.data.mark()
            switch(pair.control, **{value: "on"})
            pair.data.wait_log("connected", "protocol=rpc", mark=mark, timeout=30)
            served_everywhere(pair, f"on{i}")
    assert load.failures == []


def test_both_kinds_of_data_planes_are_served_by_one_control_plane(nodes):
    """J 14: RPC and sync are on at the control plane, off at one data plane."""
    pair = Pair(nodes)
    other = nodes.data(pair.control.cluster_address, name="classic", cluster_rpc="off").wait_ready()
    pair.route("both")
    pair.data.poll("/both", 200)
    other.poll("/both", 200)
    assert "protocol=classic" in other.log() and "protocol=classic" not in pair.data.log()


def test_without_rpc_there_is_no_v2_outlet(off, nodes):
    control = nodes.control(cluster_rpc="off")
    with pytest.raises(Refused) as refused:
        classic.DataPlane(control.cluster_address, control.pair).open("/../../v2/outlet")
    assert refused.value.status == 404
    assert control.admin.get("/").json["configuration"]["cluster_rpc_sync"] is False


# -- a data plane of ours and a control plane that is not -----------------------------------------------------------


@pytest.fixture(scope="module")
def scripted(module_nodes, pair):
    plane = classic.ControlPlane(ports.free(), pair).start()
    upstream = module_nodes.upstream()
    plane.greeting = classic.reconfigure({
        "parameters": [{"key": "cluster_id", "value": ident(1), "created_at": None}],
        "services": [{"id": ident(2), "name": "s", "host": "127.0.0.1", "port": upstream.port}],
        "routes": [{"id": ident(3), "name": "r", "paths": ["/r"], "service": ident(2)}],
    }, "h" * 32)
    data = module_nodes.data(("127.0.0.1", plane.port), cluster_dp_labels="a:b,c:d", **OFF)
    data.wait_ready()
    yield plane, data, upstream
    plane.stop()


def test_what_it_says_of_itself(scripted):
    plane, data, _ = scripted
    session = plane.session()
    assert session.target.startswith(f"/v1/outlet?node_id={data.node_id()}&node_hostname=")
    assert session.target.endswith("&node_version=3.9.1")
    info = session.info
    assert info["type"] == "basic_info" and info["labels"] == {"a": "b", "c": "d"}
    names = [p["name"] for p in info["plugins"]]
    assert names == sorted(set(names)) and {"key-auth", "rate-limiting", "ai-proxy"} <= set(names)
    assert {p["version"] for p in info["plugins"]} == {"3.9.1"}
    assert "process_conf" not in info
    plane.wait_ping("h" * 32)
    data.poll("/r", 200)


def test_only_the_newest_of_several_pushes_is_applied(scripted):
    plane, data, upstream = scripted
    session, mark, since = plane.session(), data.mark(), len(plane.frames)
    for i in range(20):
        session.push(classic.reconfigure({
            "parameters": [{"key": "cluster_id", "value": ident(1)}],
            "services": [{"id": ident(2), "name": "s", "host": "127.0.0.1", "port": upstream.port}],
            "routes": [{"id": ident(3), "name": "r", "paths": [f"/n{i}"], "service": "s"}],
        }, f"{i:032d}"))
    plane.wait_ping(f"{19:032d}", since=since)
    data.poll("/n19", 200)
    assert data.log(mark).count("applied a push") <= 20
    session.push(plane.greeting)
    plane.wait_ping("h" * 32, since=since)


def test_a_bomb_is_refused(scripted):
    import gzip

    plane, data, _ = scripted
    mark = data.mark()
    plane.session().push(gzip.compress(b" " * (1 << 30) + b" " * (1 << 26), 9))
    data.wait_log("push could not be applied", "inflates to more", mark=mark, timeout=30)
    plane.wait(lambda: plane.sessions, 20)
    data.poll("/r", 200)
