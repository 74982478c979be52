"""Several operations in one request: one version, and no data plane ever serves a part of it."""

import threading

from weir import http, wire

ROUTES = 20
ROUNDS = 12


def transact(admin, *operations, path="/transactions", headers=None):
    return admin.request("POST", path, {"operations": list(operations)}, headers)


def create(path, **body):
    return {"op": "create", "path": path, "body": body}


def protected(cluster, tag):
    """A service with key-auth, and routes to it: the plugin comes last."""
    yield create("/services", name=tag, url=cluster.upstream.url)
    for n in range(ROUTES):
        yield create(f"/services/{tag}/routes", name=f"{tag}-{n}", paths=[f"/{tag}-{n}."])
    yield create(f"/services/{tag}/plugins", name="key-auth")


def test_a_client_never_sees_a_route_without_its_service_or_its_plugin(cluster):
    """Polls the last route first: once one is there, all are, and none is open."""
    for _ in range(ROUNDS):
        tag = cluster.name("txn")
        seen, end = [], threading.Event()

        def poll(tag=tag, seen=seen, end=end):
            client = http.Client(cluster.data.proxy_address)
            while not end.is_set():
                first = client.get(f"/{tag}-{ROUTES - 1}.").status
                rest = [client.get(f"/{tag}-{n}.").status for n in range(ROUTES)]
                seen.append((first, rest))
            client.close()

        poller = threading.Thread(target=poll)
        poller.start()
        reply = transact(cluster.admin, *protected(cluster, tag))
        try:
            assert reply.status == 200, reply.text
            cluster.served(f"/{tag}-0.", 401)
        finally:
            end.set()
            poller.join()
        statuses = {s for first, rest in seen for s in [first, *rest]}
        assert statuses <= {404, 401}, statuses
        for first, rest in seen:
            assert first == 404 or set(rest) == {401}, (first, rest)


def test_it_is_one_version_and_one_batch_on_the_wire(cluster):
    tag = cluster.name("txn")
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        before = wire.number(plane.version)
        plane.notified.clear()
        reply = transact(cluster.admin, *protected(cluster, tag))
        assert reply.json["version"] == before + 1
        assert reply.headers["weir-version"] == str(before + 1)
        assert len(reply.json["entities"]) == ROUTES + 2
        assert wire.number(plane.wait_notified()) == before + 1
        deltas = wire.items(plane.get_delta()["deltas"])
        assert {wire.number(d["version"]) for d in deltas} == {before + 1}
        assert [d["type"] for d in deltas] == ["services"] + ["routes"] * ROUTES + ["plugins"]


def test_what_is_refused_leaves_nothing_behind(cluster):
    tag = cluster.name("txn")
    operations = [*protected(cluster, tag), create("/routes", name="bad", paths=["no slash"])]
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        plane.notified.clear()
        reply = transact(cluster.admin, *operations)
        assert reply.status == 400
        error = reply.json
        assert error["operation"] == {"index": ROUTES + 2, "op": "create", "path": "/routes"}
        assert error["code"] == 2 and error["name"] == "schema violation" and "paths" in error["fields"]
        assert "weir-version" not in reply.headers
        plane.idle(0.3)
        assert not plane.notified
    assert cluster.admin.get(f"/services/{tag}").status == 404
    assert cluster.data.get(f"/{tag}-0.").status == 404


def test_a_large_one_fits_and_a_larger_one_is_refused_by_name(cluster):
    tag = cluster.name("txn")
    many = [create("/consumers", username=f"{tag}-{n}", tags=[tag]) for n in range(10000)]
    reply = transact(cluster.admin, *many)
    assert reply.status == 200, reply.text[:500]
    reply = transact(cluster.admin, *many, {"op": "delete", "path": "/consumers/x"})
    assert reply.status == 400
    assert "admin_transaction_operations" in reply.json["fields"]["operations"]
    reply = transact(cluster.admin, *({"op": "delete", "type": "consumers", "name": f"{tag}-{n}"}
                                      for n in range(10000)))
    assert reply.status == 200
    assert cluster.admin.read(f"/consumers?tags={tag}")["data"] == []
