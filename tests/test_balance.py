"""What a data plane makes of upstreams and targets. (The recorded cases: test_corpus.py.)"""

import concurrent.futures
import random
import ssl
import threading
import time
from collections import Counter

import pytest
from conftest import Cluster
from weir import certs, http, ports
from weir.names import NameServer
from weir.node import wait_until

BAD = ("[alert]", "[emerg]", "exited on signal", "Sanitizer")


@pytest.fixture(scope="module")
def names():
    made = NameServer(ttl=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def cluster(module_nodes, names):
    made = Cluster(module_nodes, data_settings={"dns_resolver": names.address, "nginx_worker_processes": "2"})
    made.nodes = module_nodes
    yield made
    log = made.data.log()
    assert not any(word in log for word in BAD)


class Balanced:
    """An upstream with its targets, behind a route of its own."""

    def __init__(self, cluster, targets=(), service=None, **fields):
        self.cluster, self.admin = cluster, cluster.admin
        self.name = cluster.name("balanced") + ".test"
        self.made = self.admin.post("/upstreams", name=self.name, **fields)
        for target in targets:
            self.add(target)
        self.service = cluster.service(url=None, host=self.name, **(service or {}))
        self.route, self.path = cluster.route(self.service)

    def add(self, target, **fields):
        return self.admin.post(f"/upstreams/{self.name}/targets", target=target, **fields)

    def change(self, target, **fields):
        return self.admin.patch(f"/upstreams/{self.name}/targets/{target}", **fields)

    def remove(self, target):
        return self.admin.delete(f"/upstreams/{self.name}/targets/{target}")

    def get(self, path="", **options):
        return self.cluster.data.get(self.path + path, **options)

    def ready(self, status=200):
        self.cluster.served(self.path, status)
        return self

    def count(self, times=20, key="port", **options):
        return Counter(self.get(**options).json[key] for _ in range(times))

    def until(self, wanted, key="port"):
        """Until each of so many requests goes to one of `wanted`."""
        wait_until(lambda: set(self.count(12, key)) == set(wanted), what=f"only {wanted}")


def at(upstream):
    return f"{upstream.host}:{upstream.port}"


@pytest.fixture(scope="module")
def three(cluster):
    return [cluster.nodes.upstream() for _ in range(3)]


# -- targets come and go ------------------------------------------------------------------------


@pytest.mark.sanitized
def test_a_change_of_a_target_is_served_as_any_other_change(cluster, three):
    one, two, _ = three
    balanced = Balanced(cluster, [at(one)]).ready()
    assert set(balanced.count()) == {one.port}
    balanced.add(at(two))
    balanced.until({one.port, two.port})
    balanced.change(at(one), weight=0)
    balanced.until({two.port})
    balanced.change(at(one), weight=5)
    balanced.remove(at(two))
    balanced.until({one.port})
    balanced.remove(at(one))
    reply = cluster.served(balanced.path, 503)
    assert reply.json["message"] == "failure to get a peer from the ring-balancer"


def test_a_service_follows_its_name_to_an_upstream_and_back(cluster, three, names):
    name = cluster.name("later") + ".test"
    _, path = cluster.route(cluster.service(url=None, host=name))
    assert cluster.served(path, 503).json["message"] == "name resolution failed"
    cluster.admin.post("/upstreams", name=name)
    cluster.admin.post(f"/upstreams/{name}/targets", target=at(three[0]))
    assert cluster.served(path).json["port"] == three[0].port
    cluster.admin.patch(f"/upstreams/{name}", name="other-" + name)
    assert cluster.served(path, 503).json["message"] == "name resolution failed"
    cluster.admin.patch(f"/upstreams/other-{name}", name=name)
    assert cluster.served(path).json["port"] == three[0].port
    cluster.admin.delete(f"/upstreams/{name}")
    cluster.served(path, lambda reply: reply.status == 503 and "name resolution" in reply.json["message"])


def test_weights_are_what_a_turn_is_made_of(nodes):
    """One worker: a turn is exact."""
    alone = Cluster(nodes, data_settings={"nginx_worker_processes": "1"})
    alone.nodes = nodes
    one, two = nodes.upstream(), nodes.upstream()
    balanced = Balanced(alone, [], slots=10)
    balanced.add(at(one), weight=65000)
    balanced.add(at(two), weight=6500)
    balanced.ready()
    balanced.until({one.port, two.port})
    assert balanced.count(110) == {one.port: 100, two.port: 10}


# -- retries ----------------------------------------------------------------------------------------


@pytest.mark.sanitized
def test_a_retry_has_the_host_and_the_body_for_its_target(cluster, three, names):
    names.table.update({"dead.test": ["127.0.0.1"], "live.test": ["127.0.0.1"]})
    dead, live = f"dead.test:{ports.free()}", f"live.test:{three[0].port}"
    balanced = Balanced(cluster, [dead, live]).ready()
    body = "b" * 100000
    for _ in range(10):
        reply = balanced.get("/x", method="PUT", body=body)
        assert reply.status == 200 and reply.json["body"] == body
        assert dict(reply.json["headers"])["Host"] == live


def test_a_retry_goes_to_another_target_even_on_a_ring(cluster, three):
    dead = f"127.0.0.1:{ports.free()}"
    balanced = Balanced(cluster, [dead, at(three[0])], hash_on="header", hash_on_header="x-key").ready()
    assert {balanced.get(headers={"x-key": str(n)}).status for n in range(20)} == {200}


def test_who_has_left_while_a_request_is_under_way_changes_nothing_for_it(cluster, three):
    balanced = Balanced(cluster, [at(three[0])], algorithm="least-connections").ready()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(balanced.get, "/delay/1.5") for _ in range(4)]
        time.sleep(0.3)
        balanced.add(at(three[1]))
        balanced.remove(at(three[0]))
        balanced.until({three[1].port})
        assert {reply.result().json["port"] for reply in slow} == {three[0].port}


# -- names --------------------------------------------------------------------------------------------


def test_every_address_of_a_name_serves_and_new_ones_are_seen(cluster, names):
    port = ports.free()
    for host in ("127.0.0.2", "127.0.0.3"):
        cluster.nodes.upstream(port, host=host)
    names.table["svc.test"] = ["127.0.0.2", "127.0.0.3"]
    balanced = Balanced(cluster, [f"svc.test:{port}"]).ready()
    assert set(balanced.count(key="host")) == {"127.0.0.2", "127.0.0.3"}
    names.table["svc.test"] = ["127.0.0.3"]
    balanced.until({"127.0.0.3"}, "host")
    names.table["svc.test"] = "fail"  # what is known serves on
    time.sleep(2.5)
    assert set(balanced.count(key="host")) == {"127.0.0.3"}


def test_the_first_requests_wait_for_the_name(cluster, three, names):
    names.table["slow.test"] = ["127.0.0.1"]
    balanced = Balanced(cluster, [at(three[0])]).ready()
    names.delay_s = 1.0
    try:
        balanced.add(f"slow.test:{three[1].port}")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            wait_until(lambda: "slow.test" in names.asked or balanced.get() is None, what="a question")
            replies = list(pool.map(lambda _: balanced.get(), range(24)))
    finally:
        names.delay_s = 0.0
    assert {reply.status for reply in replies} == {200}
    balanced.until({three[0].port, three[1].port})


def test_a_client_that_does_not_wait_leaves_nothing_behind(cluster, three, names):
    import socket
    names.table["later.test"] = ["127.0.0.1"]
    balanced = Balanced(cluster, [f"later.test:{three[0].port}"])
    names.delay_s = 1.5
    try:
        wait_until(lambda: balanced.cluster.data.get("/").status == 404, what="the data plane")
        time.sleep(0.3)  # the change has arrived
        for _ in range(6):
            with socket.create_connection(cluster.data.proxy_address, 5) as client:
                client.sendall(f"GET {balanced.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        time.sleep(2)
    finally:
        names.delay_s = 0.0
    balanced.ready()


def test_a_name_that_does_not_exist_has_no_addresses(cluster, three, names):
    balanced = Balanced(cluster, ["absent.test:80"])
    reply = cluster.served(balanced.path, 503)
    wait_until(lambda: "ring-balancer" in balanced.get().json["message"], what="the upstream's own answer")
    balanced.add(at(three[0]))
    balanced.ready()
    assert reply.status == 503 and set(balanced.count()) == {three[0].port}


# -- health ------------------------------------------------------------------------------------------


def passive(**unhealthy):
    return {"healthchecks": {"passive": {"unhealthy": unhealthy}}}


def test_all_workers_know_who_is_out_and_a_reload_does_not_forget(cluster):
    one, two = cluster.nodes.upstream(), cluster.nodes.upstream()
    balanced = Balanced(cluster, [at(one), at(two)], **passive(http_failures=1)).ready()
    balanced.until({one.port, two.port})
    one.status = 500
    wait_until(lambda: balanced.get().status == 500, what="a failure")
    before = one.requests
    assert set(balanced.count(60)) == {two.port}  # each on a connection of its own: both workers
    assert f"target {at(one)} of upstream" in cluster.data.log()
    cluster.data.weir("reload")
    assert set(balanced.count(60)) == {two.port} and one.requests == before
    balanced.change(at(two), weight=7)  # the upstream is read anew
    time.sleep(0.5)
    assert set(balanced.count(30)) == {two.port}


def test_a_retry_that_finds_nobody_is_a_503(cluster):
    balanced = Balanced(cluster, [f"127.0.0.1:{ports.free()}"], **passive(tcp_failures=1))
    reply = cluster.served(balanced.path, 503, headers={"Accept": "application/json"})
    seen = [reply.json["message"]]
    seen += [balanced.get(headers={"Accept": "application/json"}).json["message"] for _ in range(3)]
    assert seen == ["The upstream server is currently unavailable"] + 3 * [
        "failure to get a peer from the ring-balancer"]


def test_what_the_gateway_answers_itself_says_nothing_of_a_target(cluster, three):
    balanced = Balanced(cluster, [at(three[0])], **passive(http_failures=1)).ready()
    cluster.admin.post(f"/routes/{balanced.route['id']}/plugins", name="request-termination",
                       config={"status_code": 500})
    cluster.served(balanced.path, 500)
    for _ in range(10):
        assert balanced.get().status == 500
    plugin = cluster.admin.get(f"/routes/{balanced.route['id']}/plugins").json["data"][0]
    cluster.admin.delete(f"/plugins/{plugin['id']}")
    balanced.ready()


def active(**fields):
    checks = {"healthy": {"interval": 0.1, "successes": 1},
              "unhealthy": {"interval": 0.1, "http_failures": 1, "tcp_failures": 1, "timeouts": 1}, **fields}
    return {"healthchecks": {"active": checks}}


def test_active_checks_take_out_and_bring_back(cluster):
    one, two = cluster.nodes.upstream(), cluster.nodes.upstream()
    checks = active(http_path="/alive", headers={"x-probe": ["a", "b"]})
    balanced = Balanced(cluster, [at(one), at(two)], host_header="fixed.test", **checks).ready()
    wait_until(lambda: one.requests > 2, what="probes")
    one.status = 503
    wait_until(lambda: set(balanced.count(10)) == {two.port}, what="one is out")
    one.status = 200
    balanced.until({one.port, two.port})
    cluster.admin.patch(f"/upstreams/{balanced.name}", **active(healthy={"interval": 0}, unhealthy={"interval": 0}))
    time.sleep(1.5)
    before = one.requests
    time.sleep(0.7)
    assert one.requests == before, "nobody asks any more"


def test_a_probe_that_takes_too_long_is_a_time_out(cluster):
    one, two = cluster.nodes.upstream(), cluster.nodes.upstream()
    balanced = Balanced(cluster, [at(one), at(two)], **active(http_path="/delay/3", timeout=0.2))
    cluster.served(balanced.path, 503)
    assert "is unhealthy" in cluster.data.log()


def test_probes_over_tls_verify_or_not(cluster, tmp_path):
    crt, key = certs.self_signed(tmp_path, "probe", subject="probe.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    asked = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    secure = cluster.nodes.upstream(tls=context)
    wanted = {"type": "https", "https_sni": "probe.test"}
    strict = Balanced(cluster, [at(secure)], service={"protocol": "https"}, **active(**wanted))
    cluster.served(strict.path, 503)
    loose = Balanced(cluster, [at(secure)], service={"protocol": "https"},
                     **active(https_verify_certificate=False, **wanted)).ready()
    before = secure.requests
    wait_until(lambda: secure.requests > before + 3, what="probes")
    assert loose.get().status == 200 and "probe.test" in asked


def test_checks_that_are_not_run_are_named(cluster, three):
    mark = cluster.data.mark()
    balanced = Balanced(cluster, [at(three[0])], **active(type="tcp")).ready()
    cluster.data.wait_log(balanced.name, "of type tcp", mark=mark)


# -- settings --------------------------------------------------------------------------------------------


def test_upstreams_that_are_not_remembered_are_read_again(nodes, cluster, three):
    small = nodes.data(cluster.control.cluster_address, upstream_cache_size="0").wait_ready()
    several = [Balanced(cluster, [at(upstream)]).ready() for upstream in three]
    for _ in range(10):
        for balanced, upstream in zip(several, three):
            assert small.poll(balanced.path, 200).json["port"] == upstream.port


def test_without_shared_memory_everybody_is_healthy(nodes, cluster):
    one = cluster.nodes.upstream()
    none = nodes.data(cluster.control.cluster_address, upstream_health_size="0").wait_ready()
    balanced = Balanced(cluster, [at(one)], **passive(http_failures=1)).ready()
    none.poll(balanced.path, 200)
    one.status = 500
    assert [none.get(balanced.path).json["port"] for _ in range(5)] == [one.port] * 5
    assert balanced.get().json["port"] == one.port
    assert balanced.get().status == 503


# -- all at once ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_no_request_is_lost_while_targets_come_and_go(cluster, three, names):
    """One target always serves; the others, some of them dead, some names, come and go."""
    names.table.update({f"n{n}.test": ["127.0.0.1"] for n in range(4)})
    chance = random.Random(7)
    dead = [f"127.0.0.1:{ports.free()}" for _ in range(2)]
    others = dead + [f"n{n}.test:{three[n % 3].port}" for n in range(4)] + [at(three[1]), at(three[2])]
    algorithms = ["round-robin", "least-connections", "latency", "consistent-hashing"]
    all_of_them = [Balanced(cluster, [at(three[0])], algorithm=algorithm, service={"retries": 8},
                            **({"hash_on": "ip"} if algorithm == "consistent-hashing" else {})).ready()
                   for algorithm in algorithms]
    over = threading.Event()
    bad = []

    def ask(balanced):
        while not over.is_set():
            reply = balanced.get()
            if reply.status != 200:
                bad.append((balanced.made["algorithm"], reply.status, reply.body[:200]))

    threads = [threading.Thread(target=ask, args=(balanced,)) for balanced in all_of_them * 2]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 6
    there = {balanced.name: set() for balanced in all_of_them}
    while time.monotonic() < end:
        balanced = chance.choice(all_of_them)
        target = chance.choice(others)
        if target not in there[balanced.name]:
            balanced.add(target, weight=chance.randrange(200))
            there[balanced.name].add(target)
        elif chance.random() < 0.5:
            balanced.change(target, weight=chance.randrange(200))
        else:
            balanced.remove(target)
            there[balanced.name].discard(target)
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert not bad, bad[:5]
