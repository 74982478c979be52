"""Writes that are answered when data planes serve them, and the way of each change."""

import threading
import time

import pytest
from weir import http, wire
from weir.node import wait_until

REPORT = "weir.report.v1"


@pytest.fixture(scope="module")
def fleet(module_nodes):
    """A control plane, and two data planes of different regions."""
    control = module_nodes.control(admin_threads="2", admin_wait_requests="8")
    upstream = module_nodes.upstream()
    planes = [module_nodes.data(control.cluster_address, name, cluster_dp_labels=f"region:{name}")
              for name in ("eu", "us")]
    for plane in planes:
        plane.wait_ready()
    control.admin.post("/services", name="s", url=upstream.url)
    wait_until(lambda: sum(row["connected"] for row in control.data_planes().values()) == 2,
               what="both data planes")
    return control, planes


def write(control, path, query, body=None, headers=None, method="POST", timeout=30.0):
    client = http.Client(control.admin_address, timeout)
    try:
        return client.request(method, f"{path}?{query}", body or {}, headers)
    finally:
        client.close()


def confirmation(reply):
    """(confirmed, applied, pending, failed)"""
    names = ("weir-confirmed", "weir-applied", "weir-pending", "weir-failed")
    confirmed, *counts = (reply.headers[name] for name in names)
    return confirmed, *map(int, counts)


def late(control):
    """A data plane that is up to date, and then does nothing more."""
    plane = wire.DataPlane(control.cluster_address, control.pair, capabilities=(wire.SYNC, REPORT))
    plane.connect()
    plane.sync()
    plane.get_delta()
    return plane


def test_when_it_is_confirmed_every_data_plane_serves_it(fleet):
    control, planes = fleet
    for n in range(20):
        path = f"/all{n}."
        reply = write(control, "/services/s/routes", "wait_for=all", {"paths": [path]})
        assert reply.status == 201, reply.text
        assert confirmation(reply) == ("true", 2, 0, 0)
        assert [plane.get(path).status for plane in planes] == [200, 200]
        reply = write(control, f"/routes/{reply.json['id']}", "wait_for=2", method="DELETE")
        assert reply.status == 204 and confirmation(reply) == ("true", 2, 0, 0)
        assert [plane.get(path).status for plane in planes] == [404, 404]


def test_a_transaction_waits_too_and_a_header_says_so_as_well(fleet):
    control, planes = fleet
    body = {"operations": [{"op": "create", "path": "/services/s/routes", "body": {"paths": ["/txn."]}}]}
    reply = write(control, "/transactions", "", body, {"Weir-Wait-For": "all"})
    assert reply.status == 200 and confirmation(reply) == ("true", 2, 0, 0)
    assert [plane.get("/txn.").status for plane in planes] == [200, 200]
    assert int(reply.headers["weir-version"]) == reply.json["version"]


def test_a_label_chooses_whom_is_waited_for(fleet):
    control, planes = fleet
    with late(control):
        reply = write(control, "/services/s/routes", "wait_for=label:region=eu", {"paths": ["/eu."]})
        assert confirmation(reply) == ("true", 1, 0, 0)
        assert planes[0].get("/eu.").status == 200
    start = time.monotonic()
    reply = write(control, "/consumers/a", "wait_for=label:region=mars&wait_timeout=0.5", method="PUT")
    assert reply.status == 200 and confirmation(reply) == ("false", 0, 0, 0)
    assert time.monotonic() - start >= 0.5


def test_a_timeout_is_no_error_of_the_write(fleet):
    control, _ = fleet
    with late(control):
        start = time.monotonic()
        reply = write(control, "/consumers", "wait_for=all&wait_timeout=1.2", {"username": "late"})
        took = time.monotonic() - start
        assert reply.status == 201 and confirmation(reply) == ("false", 2, 1, 0)
        assert took >= 1.2
        assert control.admin.get("/consumers/late").status == 200
        reply = write(control, "/consumers/x", "wait_for=all&wait_timeout=0", method="PUT")
        assert reply.status == 200 and reply.headers["weir-confirmed"] == "false"


def test_who_leaves_is_not_waited_for(fleet):
    control, _ = fleet
    plane = late(control)
    threading.Timer(0.5, plane.close).start()
    start = time.monotonic()
    reply = write(control, "/consumers", "wait_for=all&wait_timeout=30", {"username": "leaver"})
    assert confirmation(reply) == ("true", 2, 0, 0)
    assert time.monotonic() - start < 20


def test_who_refuses_an_entity_of_the_version_counts_as_failed(fleet):
    control, _ = fleet
    with late(control) as plane:
        replies = []
        ident = "00000000-0000-4000-8000-0000000000aa"
        thread = threading.Thread(target=lambda: replies.append(
            write(control, "/consumers", "wait_for=all&wait_timeout=30", {"id": ident, "username": "bad"})))
        thread.start()
        plane.wait_notified()
        plane.apply(plane.get_delta())
        plane.call(REPORT + ".status", {"quarantined": [{"type": "consumers", "id": ident, "reason": "no"}],
                                        "quarantined_count": 1, "last_error": None})
        plane.get_delta()  # says which version it has
        thread.join(20)
        assert confirmation(replies[0]) == ("false", 2, 0, 1)
        change = control.admin.read(f"/clustering/changes/{replies[0].headers['weir-version']}")
        states = {row["id"]: row["state"] for row in change["data_planes"]}
        assert states[plane.node_id] == "failed" and change["failed"] == 1


@pytest.mark.parametrize("query, field", [
    ("wait_for=most", "wait_for"), ("wait_for=0", "wait_for"), ("wait_for=label:x", "wait_for"),
    ("wait_for=all&wait_timeout=soon", "wait_timeout"), ("wait_for=all&wait_timeout=61", "wait_timeout")])
def test_a_bad_word_is_named_and_nothing_is_written(fleet, query, field):
    control, _ = fleet
    reply = write(control, "/consumers", query, {"username": "never"})
    assert reply.status == 400 and field in reply.json["fields"]
    assert control.admin.get("/consumers/never").status == 404


def test_waiting_takes_no_thread_and_has_a_limit(fleet):
    """Eight requests wait beside two threads: others are answered, a ninth is not let in."""
    control, _ = fleet
    plane = late(control)
    replies = []
    threads = [threading.Thread(target=lambda n=n: replies.append(
        write(control, f"/consumers/w{n}", "wait_for=all&wait_timeout=60", method="PUT")))
        for n in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(control.admin.get(f"/consumers/w{n}").status == 200 for n in range(8)),
               what="the writes of those that wait")
    reply = write(control, "/consumers/w8", "wait_for=all", method="PUT")
    assert reply.status == 503 and "admin_wait_requests" in reply.json["message"]
    assert control.admin.get("/consumers/w8").status == 404
    assert write(control, "/consumers/w8", "", method="PUT").status == 200
    assert not replies
    plane.close()
    for thread in threads:
        thread.join(20)
    assert [confirmation(r) for r in replies] == [("true", 2, 0, 0)] * 8


def test_a_client_that_goes_gives_its_place_back(fleet):
    control, _ = fleet
    with late(control):
        clients = []
        for n in range(8):
            raw = http.Client(control.admin_address)
            raw._connect()
            raw.connection.request("PUT", f"/consumers/g{n}?wait_for=all&wait_timeout=60", "{}",
                                   {"Content-Type": "application/json"})
            clients.append(raw)
        wait_until(lambda: all(control.admin.get(f"/consumers/g{n}").status == 200 for n in range(8)),
                   what="the writes of those that wait")
        for raw in clients:
            raw.close()
        wait_until(lambda: write(control, "/consumers/g9", "wait_for=all&wait_timeout=0.01",
                                 method="PUT").status == 200, what="a place")


def test_every_write_says_its_version(fleet):
    control, _ = fleet
    first = write(control, "/consumers/v", "", method="PUT")
    again = write(control, "/consumers/v", "", method="PUT")
    assert first.headers["weir-version"] == again.headers["weir-version"]
    gone = write(control, "/consumers/v", "", method="DELETE")
    assert int(gone.headers["weir-version"]) == int(first.headers["weir-version"]) + 1
    assert "weir-confirmed" not in gone.headers
    assert "weir-version" not in control.admin.get("/consumers").headers


def test_the_way_of_a_change_can_be_read_by_its_version(fleet):
    control, planes = fleet
    before = time.time() * 1e6
    reply = write(control, "/services/s/routes", "wait_for=all", {"paths": ["/way."]})
    version = int(reply.headers["weir-version"])
    change = control.admin.read(f"/clustering/changes/{version}")
    assert change["version"] == version and change["applied"] == 2 and change["pending"] == 0
    assert before <= change["committed_us"] <= time.time() * 1e6
    assert change["committed_us"] <= change["encoded_us"]
    assert {row["id"] for row in change["data_planes"]} == {plane.node_id() for plane in planes}
    for row in change["data_planes"]:
        assert row["state"] == "applied"
        assert change["committed_us"] - 1e5 <= row["applied_us"] <= time.time() * 1e6
        assert row["sent_us"] <= row["applied_us"] and row["apply_us"] > 0
    rows = control.data_planes().values()
    assert [row["digest_equal"] for row in rows if row["connected"]] == [True, True]
    page = control.admin.read("/clustering/changes?size=2")
    assert [row["version"] for row in page["data"]] == [version, version - 1]
    page = control.admin.read(page["next"])
    assert page["data"][0]["version"] == version - 2
    assert control.admin.get("/clustering/changes/999999").status == 404
    assert control.admin.get("/clustering/changes/x").status == 400
    metrics = http.once(control.status_address, "/metrics").text
    count = next(line for line in metrics.splitlines()
                 if line.startswith("weir_change_applied_seconds_count"))
    assert int(count.split()[1]) > 0


def test_an_answer_that_is_held_comes_when_the_control_plane_ends(nodes):
    control = nodes.control()
    replies = []
    thread = threading.Thread(target=lambda: replies.append(
        write(control, "/consumers", "wait_for=all&wait_timeout=60", {"username": "last"})))
    thread.start()
    wait_until(lambda: control.admin.get("/consumers/last").status == 200, what="the write")
    control.admin.close()
    control.weir("quit")
    thread.join(20)
    assert replies[0].status == 201 and confirmation(replies[0]) == ("false", 0, 0, 0)
