"""A control plane and a data plane together: what is written is served, at the cost of the change."""

import json
import time

import pytest
from weir import ports, wire
from weir.node import wait_until
from weir.relay import Relay

CHANGE_BYTES_MAX = 4096  # on the wire, TLS and TCP payload of both directions, for one change
ENTITIES = 3000


@pytest.fixture(scope="module")
def relayed(module_nodes):
    """A cluster whose data plane reaches its control plane through a counting relay."""
    control = module_nodes.control()
    relay = Relay(ports.free(), control.cluster_address)
    data = module_nodes.data(("127.0.0.1", relay.port))
    data.wait_ready()
    yield control, data, relay, module_nodes.upstream()
    relay.close()


@pytest.mark.sanitized
def test_a_route_is_served_after_it_was_made_and_not_after_it_was_deleted(cluster):
    route, path = cluster.route()
    reply = cluster.served(path)
    assert reply.json["path"] == "/"
    cluster.admin.delete(f"/routes/{route['id']}")
    cluster.served(path, 404)
    assert cluster.data.get(path).json["message"] == "no Route matched with those values"


def test_a_change_is_served_soon(cluster):
    """No timer may delay a lone change. A second is far above what it takes and below any timer."""
    took = []
    for _ in range(10):
        service = cluster.service()
        start = time.monotonic()
        _, path = cluster.route(service)
        cluster.served(path)
        took.append(time.monotonic() - start)
    assert sorted(took)[5] < 1.0, took


def test_a_changed_service_and_a_changed_route_are_served(cluster):
    service = cluster.service(path="/a")
    route, path = cluster.route(service)
    cluster.served(path, lambda r: r.status == 200 and r.json["path"] == "/a")
    cluster.admin.patch(f"/services/{service['id']}", path="/b")
    cluster.served(path, lambda r: r.status == 200 and r.json["path"] == "/b")
    cluster.admin.patch(f"/routes/{route['id']}", paths=[path + "-moved"])
    cluster.served(path + "-moved")
    cluster.served(path, 404)


def test_a_disabled_service_is_not_served_until_it_is_enabled(cluster):
    service = cluster.service()
    _, path = cluster.route(service)
    cluster.served(path)
    cluster.admin.patch(f"/services/{service['id']}", enabled=False)
    cluster.served(path, 404)
    cluster.admin.patch(f"/services/{service['id']}", enabled=True)
    cluster.served(path)


def test_a_deleted_consumer_takes_its_keys_along(cluster):
    route, path = cluster.route()
    cluster.admin.post(f"/routes/{route['id']}/plugins", name="key-auth")
    cluster.served(path, 401)
    name = cluster.name("consumer")
    cluster.admin.post("/consumers", username=name)
    cluster.admin.post(f"/consumers/{name}/key-auth", key=name + "-key")
    cluster.served(path, headers={"apikey": name + "-key"})
    cluster.admin.delete(f"/consumers/{name}")
    cluster.served(path, 401, headers={"apikey": name + "-key"})


def test_targets_of_an_upstream_are_balanced_and_can_be_taken_out(cluster, module_nodes):
    first, second = module_nodes.upstream(), module_nodes.upstream()
    name = cluster.name("upstream")
    cluster.admin.post("/upstreams", name=name)
    for upstream in (first, second):
        cluster.admin.post(f"/upstreams/{name}/targets", target=f"127.0.0.1:{upstream.port}")
    service = cluster.service(url=None, host=name)
    _, path = cluster.route(service)
    cluster.served(path)
    seen = {cluster.data.get(path).json["port"] for _ in range(20)}
    assert seen == {first.port, second.port}
    cluster.admin.delete(f"/upstreams/{name}/targets/127.0.0.1:{first.port}")
    wait_until(lambda: {cluster.data.get(path).json["port"] for _ in range(8)} == {second.port},
               what="only the target that is left")


def test_a_write_that_changes_nothing_makes_no_version(cluster):
    service = cluster.service()
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        before = plane.version
        cluster.admin.put(f"/services/{service['id']}", name=service["name"], url=cluster.upstream.url)
        cluster.admin.patch(f"/services/{service['id']}", name=service["name"])
        assert plane.get_delta()["deltas"] in ([], {})
        assert plane.version == before and not plane.notified


def test_the_deltas_add_up_to_the_full_set(cluster):
    """One data plane from the beginning, one that comes late: both hold the same."""
    address, pair = cluster.control.cluster_address, cluster.control.pair
    with wire.DataPlane(address, pair) as early:
        early.sync()
        routes = [cluster.route()[0] for _ in range(20)]
        for route in routes[::2]:
            cluster.admin.patch(f"/routes/{route['id']}", tags=["changed"])
        for route in routes[::3]:
            cluster.admin.delete(f"/routes/{route['id']}")
        early.sync()
        with wire.DataPlane(address, pair) as late:
            late.sync()
            assert early.version == late.version
            assert early.held == late.held


def test_both_planes_tell_the_version_that_is_served(cluster):
    cluster.served(cluster.route()[1])
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        newest = plane.version

    def row_of():
        return cluster.control.data_planes().get(cluster.data.node_id(), {})

    wait_until(lambda: row_of().get("config_hash") == newest, 5,
               f"config_hash {newest} in /clustering/data-planes")
    row = row_of()
    assert row["sync_status"] == "normal" and row["version"].count(".") == 2
    assert 1209600 - 60 <= row["ttl"] <= 1209600
    status = cluster.data.sync_status()
    assert str(wire.number(newest)) in status or newest in status, status


def test_labels_of_a_data_plane_are_shown(module_nodes, cluster):
    data = module_nodes.data(cluster.control.cluster_address, name="labelled",
                             cluster_dp_labels="region:eu,tier:x-1")
    data.wait_ready()
    labels = [row.get("labels") for row in cluster.control.data_planes().values()]
    assert {"region": "eu", "tier": "x-1"} in labels


@pytest.mark.slow
def test_one_change_costs_less_than_4_kib_on_the_wire_among_thousands(relayed):
    control, data, relay, upstream = relayed
    admin = control.admin
    service = admin.post("/services", name="s", url=upstream.url)
    for index in range(ENTITIES // 2):
        admin.post("/routes", name=f"r{index}", paths=[f"/r{index}"], service={"id": service["id"]})
        admin.post("/consumers", username=f"c{index}")
    data.poll(f"/r{ENTITIES // 2 - 1}", 200)
    costs = []
    for index in range(5):
        time.sleep(0.5)
        before = relay.total()
        admin.post("/routes", name=f"new{index}", paths=[f"/new{index}"],
                   service={"id": service["id"]})
        data.poll(f"/new{index}", 200)
        time.sleep(0.5)  # what is reported afterwards counts too
        costs.append(relay.total() - before)
    assert relay.connections == 1
    assert sorted(costs)[2] < CHANGE_BYTES_MAX, costs


def test_a_change_at_the_same_time_as_others_goes_along_with_them(relayed):
    """Bursts are coalesced: 200 writes are not 200 round trips."""
    control, data, relay, upstream = relayed
    admin = control.admin
    service = admin.post("/services", name="burst", url=upstream.url)
    with wire.DataPlane(control.cluster_address, control.pair) as plane:
        plane.sync()
        plane.answer = None  # a data plane that does not answer yet
        for index in range(200):
            admin.post("/routes", name=f"burst{index}", paths=[f"/burst{index}"],
                       service={"id": service["id"]})
        plane.idle(0.3)
        assert 1 <= len(plane.notified) <= 5, len(plane.notified)
        plane.answer = True
        assert sum(len(wire.items(a["deltas"])) for a in plane.sync()) >= 200
    data.poll("/burst199", 200)


@pytest.mark.slow
def test_a_second_data_plane_gets_everything_without_disturbing_the_first(relayed, module_nodes):
    control, data, _, upstream = relayed
    service = control.admin.post("/services", name="second", url=upstream.url)
    control.admin.post("/routes", name="second", paths=["/second"], service={"id": service["id"]})
    data.poll("/second", 200)
    other = module_nodes.data(control.cluster_address, name="dp2")
    other.wait_ready(30)
    assert other.get("/second").status == 200
    assert data.get("/second").status == 200


def test_the_answer_of_the_admin_api_is_what_the_data_plane_is_sent(cluster):
    """The document of a delta is the entity, complete, references as objects."""
    route, _ = cluster.route(tags=["x"], headers={"x-a": ["1"]})
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        assert plane.held[("routes", route["id"])] == json.loads(json.dumps(route))


def test_a_data_plane_that_claims_a_number_gets_numbers(cluster):
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair, "3.9") as plane:
        answers = plane.sync()
        assert answers[0]["wipe"] is True
        assert all(isinstance(d["version"], int) for d in answers[0]["deltas"])
        route, _ = cluster.route()
        assert isinstance(plane.wait_notified(), int)
        deltas = [d for a in plane.sync() for d in wire.items(a["deltas"])]
        assert all("pk" in d for d in deltas)
        assert ("routes", route["id"]) in plane.held
