"""rate-limiting, as its users see it: on a data plane of several workers.

What single answers say is in the recordings (test_corpus.py), what a clock does to windows in the plugin's
unit test; here is what takes processes: exactness, and counters that nothing resets."""

import threading
import uuid
from collections import Counter

import pytest
from weir import http
from weir.changes import Writer
from weir.node import wait_until

WORKERS = 3
MANY = 10**9


def data_plane(nodes, control, **settings):
    plane = nodes.data(control.cluster_address, start=False, nginx_worker_processes=str(WORKERS), **settings)
    # Else one idle worker accepts all that comes in.
    plane.settings["proxy_listen"] = "%s:%d reuseport" % plane.proxy_address
    return plane.start().wait_ready()


@pytest.fixture(scope="module")
def planes(module_nodes):
    control = module_nodes.control()
    data = data_plane(module_nodes, control)
    control.admin.post("/services", name="s", url=module_nodes.upstream().url)
    wait_until(lambda: len(control.data_planes()) == 1, what="the data plane")
    return control, data


def confirmed(control, method, path, body=None):
    """A write that all data planes have when this returns."""
    reply = control.admin.request(method, path + "?wait_for=all", body)
    assert reply.status in (200, 201, 204), reply.text
    return reply.json if reply.text else None


def limited(control, name, **config):
    """A route of that name with the plugin, whose id it returns."""
    confirmed(control, "PUT", f"/services/s/routes/{name}", {"paths": [f"/{name}"]})
    return confirmed(control, "POST", f"/routes/{name}/plugins",
                     {"name": "rate-limiting", "config": config})["id"]


class Asking(threading.Thread):
    """Asks until told to stop, or so many times; each request has a connection of its own."""

    def __init__(self, data, path, times=None):
        super().__init__(daemon=True)
        self.data, self.path, self.left, self.stop = data, path, times, False
        self.statuses, self.remaining = [], []

    def run(self):
        while not self.stop and self.left != 0:
            reply = self.data.get(self.path)
            self.statuses.append(reply.status)
            if reply.status == 200:
                self.remaining.append(int(reply.headers.get("x-ratelimit-remaining-year", -1)))
            if self.left is not None:
                self.left -= 1


def ask_at_once(data, path, clients, times):
    """So many clients, each so many times: how often there was which status."""
    asking = [Asking(data, path, times) for _ in range(clients)]
    for client in asking:
        client.start()
    for client in asking:
        client.join(120)
    return Counter(status for client in asking for status in client.statuses)


def changes_of_the_instance(name, plugin):
    """Another message, another limit of no consequence; each tenth time a new instance in its place."""
    ids = [plugin]

    def operations(number):
        config = {"year": MANY, "minute": MANY - 1 - number % 2, "limit_by": "service",
                  "error_message": f"no {number}"}
        if number % 10 != 9:
            return [{"op": "update", "path": f"/plugins/{ids[-1]}", "body": {"config": config}}]
        old, new = ids[-1], str(uuid.uuid4())
        ids.append(new)
        return [{"op": "delete", "path": f"/plugins/{old}"},
                {"op": "create", "path": f"/routes/{name}/plugins",
                 "body": {"id": new, "name": "rate-limiting", "config": config}}]

    operations.ids = ids
    return operations


@pytest.mark.slow
def test_limits_are_exact_while_the_configuration_changes_a_thousand_times_a_second(planes):
    """Each request finds what all before it left, in whichever worker, whatever changed, and over a reload."""
    control, data = planes
    plugin = limited(control, "exact", year=MANY, limit_by="service")
    change, mark = changes_of_the_instance("exact", plugin), data.mark()
    writer = Writer(control, 20000, change)
    clients = [Asking(data, "/exact") for _ in range(4)]
    for thread in [writer, *clients]:
        thread.start()
    wait_until(lambda: writer.done >= writer.changes // 2 or writer.failure, timeout=120, what="changes")
    old = data.workers()
    data.weir("reload")
    data.remember()
    wait_until(lambda: len(set(data.workers()) - set(old)) >= WORKERS, what="new workers")
    writer.join(120)
    assert writer.failure is None and writer.done == writer.changes
    for client in clients:
        client.stop = True
    for client in clients:
        client.join(30)
    counts = sorted(MANY - left for client in clients for left in client.remaining)
    print(f"{len(counts)} requests, {writer.done} changes, {len(change.ids)} instances")
    assert {status for client in clients for status in client.statuses} == {200}
    assert len(counts) > 300 and len(change.ids) > 10
    assert data.log(mark).count("applied version=") > 50, "the configuration changed here"
    assert counts == list(range(1, len(counts) + 1))  # each number once, none is missing


@pytest.mark.slow
def test_of_requests_at_once_exactly_the_limit_passes(planes):
    control, data = planes
    writer = Writer(control, 10**6)
    writer.start()
    limited(control, "once", year=300, limit_by="service")
    statuses = ask_at_once(data, "/once", 4, 150)
    writer.changes = 0
    writer.join(30)
    assert writer.failure is None
    assert statuses == {200: 300, 429: 300}
    reply = data.get("/once")
    assert (reply.headers["ratelimit-limit"], reply.headers["ratelimit-remaining"]) == ("300", "0")
    assert int(reply.headers["retry-after"]) == int(reply.headers["ratelimit-reset"]) > 0
    assert reply.json["message"] == "API rate limit exceeded"


def test_another_limit_goes_on_from_what_was_counted(planes):
    control, data = planes
    plugin = limited(control, "change", year=10, limit_by="service")
    assert ask_at_once(data, "/change", 1, 12) == {200: 10, 429: 2}
    confirmed(control, "PATCH", f"/plugins/{plugin}", {"config": {"year": 15, "day": 14}})
    assert ask_at_once(data, "/change", 1, 12) == {200: 5, 429: 7}  # the day's counter began just now
    confirmed(control, "DELETE", f"/plugins/{plugin}")
    assert ask_at_once(data, "/change", 1, 3) == {200: 3}
    confirmed(control, "POST", "/routes/change/plugins",
              {"name": "rate-limiting", "config": {"year": 17, "limit_by": "service"}})
    assert ask_at_once(data, "/change", 1, 4) == {200: 2, 429: 2}


def test_each_consumer_has_a_limit_and_an_instance_of_its_own_goes_before(planes):
    control, data = planes
    limited(control, "who", year=3)
    confirmed(control, "POST", "/routes/who/plugins", {"name": "key-auth"})
    for name in ("anna", "bob", "eve"):
        confirmed(control, "PUT", f"/consumers/{name}", {})
        confirmed(control, "POST", f"/consumers/{name}/key-auth", {"key": name})
    own = confirmed(control, "POST", "/consumers/eve/plugins",
                    {"name": "rate-limiting", "config": {"year": 5}})["id"]
    client = http.Client(data.proxy_address)

    def passes(key):
        return [client.get("/who", headers={"apikey": key}).status for _ in range(7)].count(200)

    assert [passes("anna"), passes("bob"), passes("anna")] == [3, 3, 0]
    assert passes("eve") == 5
    confirmed(control, "PATCH", f"/plugins/{own}", {"enabled": False})
    assert passes("eve") == 3  # the route's has a counter of its own
    assert passes("eve") == 0
    client.close()


def test_the_address_is_what_a_trusted_proxy_says(planes, nodes):
    control, _ = planes
    limited(control, "ip", year=2, limit_by="ip")
    trusting = data_plane(nodes, control, trusted_ips="127.0.0.0/8", real_ip_header="X-Forwarded-For")
    client = http.Client(trusting.proxy_address)
    found = [client.get("/ip", headers={"X-Forwarded-For": address}).status
             for address in ("10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2", "2001:db8::1", "10.0.0.1")]
    client.close()
    assert found == [200, 200, 429, 200, 200, 429]


# -- what cannot be counted -----------------------------------------------------------------------


def metric(data, name):
    lines = http.once(data.status_address, "/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))


def test_full_counters_are_counted_and_fault_tolerant_decides(planes, nodes):
    control, _ = planes
    plugin = limited(control, "full", year=2, limit_by="header", header_name="x-group")
    small = data_plane(nodes, control, plugin_counters_size="64k")
    client = http.Client(small.proxy_address)

    def ask(group):
        return client.get("/full", headers={"x-group": str(group)})

    assert metric(small, "weir_plugin_counters_full_total") == 0
    passed = 0
    while "ratelimit-limit" in ask(passed).headers and passed < 3000:
        passed += 1
    assert 1000 < passed <= metric(small, "weir_plugin_counters_capacity")
    mark = small.mark()
    reply = ask(passed)
    assert reply.status == 200 and not [name for name in reply.headers if "ratelimit" in name]
    assert metric(small, "weir_plugin_counters_full_total") == 2
    assert "plugin_counters_size is too small" in small.log()
    assert [ask(0).status, ask(0).status] == [200, 429], "those that are there count on"
    confirmed(control, "PATCH", f"/plugins/{plugin}", {"config": {"fault_tolerant": False}})
    reply = ask(passed)
    assert reply.status == 500 and reply.json["message"] == "An unexpected error occurred"
    assert [ask(1).status, ask(1).status] == [200, 429]
    assert metric(small, "weir_plugin_counters_full_total") == 3
    assert small.log(mark).count("plugin_counters_size is too small") <= 3 * WORKERS, "not for each request"
    client.close()


def test_without_counters_nothing_is_limited_unless_that_is_a_fault(planes, nodes):
    control, _ = planes
    plugin = limited(control, "none", year=1)
    none = data_plane(nodes, control, plugin_counters_size="0")
    assert ask_at_once(none, "/none", 1, 3) == {200: 3}
    confirmed(control, "PATCH", f"/plugins/{plugin}", {"config": {"fault_tolerant": False}})
    assert ask_at_once(none, "/none", 1, 3) == {500: 3}
    assert "weir_plugin_counters" not in http.once(none.status_address, "/metrics").text


def test_a_policy_that_shares_counters_between_nodes_is_refused_by_name(planes):
    control, _ = planes
    for policy in ("redis", "cluster"):
        reply = control.admin.request("POST", "/plugins", {
            "name": "rate-limiting", "config": {"minute": 1, "policy": policy, "redis": {"host": "h"}}})
        assert reply.status == 400
        why = reply.json["fields"]["config"]["policy"]
        assert policy in why and "use 'local'" in why
