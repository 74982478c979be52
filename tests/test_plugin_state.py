"""What plugins remember and count: never out of date, and exact, whatever the configuration does.

The nodes run with two plugins that are not ours: tests/plugins.
"""

import os
import random
import signal
import threading
import time

import pytest
from weir import http
from weir.changes import Writer
from weir.node import BUILD, wait_until

PROGRAM = BUILD / "tests" / "plugins" / "weir"
WORKERS = 3
LONG = 250_000_000  # seconds: a window that ends in 2033


def with_test_plugins(node):
    node.program = PROGRAM
    return node


def data_plane(nodes, control, **settings):
    settings = {"nginx_worker_processes": str(WORKERS), **settings}
    plane = with_test_plugins(nodes.data(control.cluster_address, start=False, **settings))
    # Else one idle worker accepts all that comes in.
    plane.settings["proxy_listen"] = "%s:%d reuseport" % plane.proxy_address
    return plane.start().wait_ready()


@pytest.fixture(scope="module")
def planes(module_nodes):
    if not PROGRAM.exists():
        pytest.skip("no binaries with the test plugins")
    control = with_test_plugins(module_nodes.control(start=False))
    control.bootstrap().start()
    data = data_plane(module_nodes, control)
    upstream = module_nodes.upstream()
    control.admin.post("/services", name="s", url=upstream.url)
    for name in ("lookup", "count"):
        control.admin.post("/services/s/routes", name=name, paths=[f"/{name}"])
    control.admin.post("/routes/lookup/plugins", name="test-lookup")
    control.admin.post("/routes/count/plugins", name="test-count", config={"window": LONG})
    wait_until(lambda: len(control.data_planes()) == 1, what="the data plane")
    data.poll("/lookup", lambda reply: "x-lookup" in reply.headers)
    data.poll("/count", lambda reply: "x-count" in reply.headers)
    return control, data


def confirmed(control, method, path, body=None):
    """A write that all data planes have when this returns."""
    reply = control.admin.request(method, path + "?wait_for=all", body)
    assert reply.status in (200, 201, 204), reply.text
    assert reply.headers["weir-confirmed"] == "true", reply.headers
    return reply


# -- a cache of a plugin's own ------------------------------------------------------------------


class Subject:
    """A consumer with a key, changed at random; `expected` is what test-lookup has to say."""

    def __init__(self, control, name, chance):
        self.control, self.name, self.chance, self.count = control, name, chance, 0
        self.consumer, self.key, self.custom_id = False, False, None

    @property
    def expected(self):
        return (self.custom_id or "-") if self.key else "nobody"

    def change(self):
        consumer = f"/consumers/{self.name}"
        self.count += 1
        if not self.consumer:
            self.custom_id = None
            confirmed(self.control, "PUT", consumer, {})
            self.consumer = True
        elif not self.key:
            confirmed(self.control, "POST", f"{consumer}/key-auth", {"key": self.name})
            self.key = True
        elif self.chance.random() < 0.15:
            confirmed(self.control, "DELETE", f"{consumer}/key-auth/{self.name}")
            self.key = False
        elif self.chance.random() < 0.1:
            confirmed(self.control, "DELETE", consumer)  # the key goes with it
            self.consumer = self.key = False
        else:
            self.custom_id = f"{self.name}-{self.count}" if self.custom_id is None or \
                self.chance.random() < 0.8 else None
            confirmed(self.control, "PATCH", consumer, {"custom_id": self.custom_id})


class Noise(threading.Thread):
    """Writes other consumers, fifty at a time, from `begin` to `end`."""

    def __init__(self, control):
        super().__init__(daemon=True)
        self.admin, self.begin, self.over, self.written = control.client(), threading.Event(), False, 0

    def run(self):
        self.begin.wait()
        while not self.over:
            operations = [{"op": "upsert", "path": f"/consumers/noise{n}",
                           "body": {"custom_id": f"{n}:{self.written}"}} for n in range(50)]
            reply = self.admin.request("POST", "/transactions", {"operations": operations})
            assert reply.status == 200, reply.text
            self.written += 50

    def end(self):
        self.over = True
        self.begin.set()
        self.join(30)
        self.admin.close()


@pytest.fixture
def noise(planes):
    thread = Noise(planes[0])
    thread.start()
    yield thread
    thread.end()


@pytest.mark.slow
@pytest.mark.sanitized
def test_a_plugin_that_caches_under_keys_of_its_own_sees_each_change_at_once(planes, noise):
    """Each worker is asked after each confirmed change: no answer may be of before.

    In the last quarter other consumers change all the time: in the middle of look-ups, too."""
    control, data = planes
    chance = random.Random(11)
    subjects = [Subject(control, f"subject{n}", chance) for n in range(3)]
    clients = [http.Client(data.proxy_address) for _ in range(4 * WORKERS)]  # kept, so of every worker
    rounds, stale, answers, hits, most_misses = 1500, [], 0, 0, 0
    for number in range(rounds):
        if number == rounds * 3 // 4:
            noise.begin.set()
        changed = chance.choice(subjects)
        changed.change()
        misses = 0
        for n, client in enumerate(clients):
            subject = changed if n % 4 else chance.choice(subjects)
            reply = client.get("/lookup", headers={"apikey": subject.name})
            assert reply.status == 200, reply.text
            answers += 1
            hits += reply.headers["x-cache"] == "hit"
            if not noise.begin.is_set():
                misses += reply.headers["x-cache"] == "miss" and subject is changed
            if reply.headers["x-lookup"] != subject.expected:
                stale.append((subject.name, subject.expected, reply.headers))
        most_misses = max(most_misses, misses)
    for client in clients:
        client.close()
    print(f"{answers} answers, {hits} from the cache, {len(stale)} stale, {noise.written} other changes")
    assert not stale, stale[:3]
    assert hits > answers // 4, "it is a cache"
    assert most_misses > 1, "several workers answer"


@pytest.mark.sanitized
def test_a_change_between_look_up_and_keeping_is_not_missed(planes):
    """What a request looked up before the change, and keeps after it, is for that request alone."""
    control, data = planes
    confirmed(control, "PUT", "/consumers/between", {"custom_id": "0"})
    confirmed(control, "POST", "/consumers/between/key-auth", {"key": "between"})
    client = http.Client(data.proxy_address)  # one connection, so one worker
    in_between = 0
    for n in range(1, 6):
        confirmed(control, "PATCH", "/consumers/between", {"custom_id": f"{n}"})
        replies = []
        thread = threading.Thread(target=lambda: replies.append(
            client.get("/lookup", headers={"apikey": "between", "x-pause": "400"})))
        thread.start()
        time.sleep(0.1)
        confirmed(control, "PATCH", "/consumers/between", {"custom_id": f"{n}+"})
        in_between += not replies
        thread.join(10)
        assert replies[0].headers["x-cache"] == "miss"
        assert client.get("/lookup", headers={"apikey": "between"}).headers["x-lookup"] == f"{n}+"
    client.close()
    assert in_between > 0


@pytest.mark.sanitized
def test_what_has_not_changed_stays_remembered(planes):
    """Routes, services and plugins come and go: of credentials and consumers nothing changed."""
    control, data = planes
    control.admin.put("/consumers/still", custom_id="still")
    confirmed(control, "POST", "/consumers/still/key-auth", {"key": "still"})
    client = http.Client(data.proxy_address)
    assert client.get("/lookup", headers={"apikey": "still"}).headers["x-lookup"] == "still"
    for n in range(20):
        confirmed(control, "PUT", f"/services/s/routes/other{n % 3}", {"paths": [f"/other{n}"]})
        reply = client.get("/lookup", headers={"apikey": "still"})
        assert (reply.headers["x-lookup"], reply.headers["x-cache"]) == ("still", "hit")
    client.close()


# -- counters that all workers share ------------------------------------------------------------


def changes_of_the_counting_plugin(control):
    rows = control.admin.list("/routes/count/plugins")
    path = f"/plugins/{next(row['id'] for row in rows if row['name'] == 'test-count')}"
    return lambda number: [{"op": "update", "path": path,
                            "body": {"config": {"limit": 10**9 - number % 2, "window": LONG}}}]


class Counting(threading.Thread):
    """Asks until told to stop, or so many times; each request has a connection of its own."""

    def __init__(self, data, group, requests=None, times=1):
        super().__init__(daemon=True)
        self.headers = {"x-group": group, "x-times": str(times)}
        self.data, self.left = data, requests
        self.statuses, self.counts, self.stop = [], [], False

    def run(self):
        while not self.stop and self.left != 0:
            reply = self.data.get("/count", headers=self.headers)
            self.statuses.append(reply.status)
            self.counts.append(int(reply.headers.get("x-count", -1)))
            if self.left is not None:
                self.left -= 1


def test_counters_are_exact_while_the_configuration_changes_and_nginx_reloads(planes):
    control, data = planes
    writer, mark = Writer(control, 20000, changes_of_the_counting_plugin(control)), data.mark()
    clients = [Counting(data, "exact") for _ in range(4)]
    for thread in [writer, *clients]:
        thread.start()
    for quarter in (1, 2):
        wait_until(lambda q=quarter: writer.done >= q * writer.changes // 3 or writer.failure,
                   timeout=120, what="changes")
        old = data.workers()
        data.weir("reload")
        data.remember()
        wait_until(lambda o=old: len(set(data.workers()) - set(o)) >= WORKERS, what="new workers")
    writer.join(120)
    assert writer.failure is None and writer.done == writer.changes
    for client in clients:
        client.stop = True
    for client in clients:
        client.join(30)
    counts = sorted(count for client in clients for count in client.counts)
    print(f"{len(counts)} requests, {writer.done} changes")
    assert {status for client in clients for status in client.statuses} == {200}
    assert len(counts) > 300
    applied = data.log(mark).count("applied version=")
    assert applied > 50, "the configuration changed here, not only on the control plane"
    assert counts == list(range(1, len(counts) + 1))  # each number once, none is missing
    assert not [line for line in data.log().splitlines() if "[alert]" in line or "[emerg]" in line]


def set_limit(control, limit, window=LONG):
    plugin = next(row for row in control.admin.list("/routes/count/plugins") if row["name"] == "test-count")
    confirmed(control, "PATCH", f"/plugins/{plugin['id']}", {"config": {"limit": limit, "window": window}})


@pytest.mark.sanitized
def test_no_count_is_lost_between_workers_that_count_at_the_same_time(planes):
    _, data = planes
    clients = [Counting(data, "together", 25, times=10000) for _ in range(2 * WORKERS)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(120)
    assert {status for client in clients for status in client.statuses} == {200}
    assert max(count for client in clients for count in client.counts) == len(clients) * 25 * 10000


def test_a_limit_is_hit_exactly_at_its_value(planes, noise):
    control, data = planes
    set_limit(control, 500)
    noise.begin.set()
    clients = [Counting(data, "limit", 250) for _ in range(4)]
    for client in clients:
        client.start()
    for client in clients:
        client.join(120)
    statuses = [status for client in clients for status in client.statuses]
    assert (statuses.count(200), statuses.count(429)) == (500, 500)


def test_workers_that_are_killed_while_they_count_take_nothing_with_them(planes):
    """Neither what was counted, nor the lock that one of them may hold."""
    control, data = planes
    set_limit(control, 10**9)
    before = 0
    for _ in range(6):
        busy = Counting(data, "killed", 1, times=999999)
        busy.start()
        time.sleep(0.15)
        data.remember()
        victims = data.workers()
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda v=victims: len(set(data.workers()) - set(v)) >= WORKERS, what="new workers")
        busy.join(30)
        count = int(data.poll("/count", 200, headers={"x-group": "killed"}).headers["x-count"])
        assert count > before
        before = count
    again = Counting(data, "killed", 50)
    again.run()
    assert again.counts == list(range(before + 1, before + 51))


def test_windows_pass(planes):
    control, data = planes
    set_limit(control, 10**9, window=1)
    reply = data.poll("/count", lambda reply: int(reply.headers.get("x-count", 0)) == 2,
                      headers={"x-group": "window"})
    assert reply.status == 200
    data.poll("/count", lambda reply: int(reply.headers.get("x-count", 0)) == 1, every=0.3,
              headers={"x-group": "window"})
    set_limit(control, 10**9, window=0)
    assert "cannot count" in data.get("/count").text  # no window of nothing
    set_limit(control, 10**9)


def test_full_counters_are_an_error_and_those_that_are_there_count_on(planes, nodes):
    control, _ = planes
    small = data_plane(nodes, control, plugin_counters_size="64k", nginx_worker_processes="2")
    small.poll("/count", 200)
    client = http.Client(small.proxy_address)
    for n in range(3000):
        reply = client.get("/count", headers={"x-group": str(n)})
        if reply.status != 200:
            break
    assert reply.status == 503 and "counters are full" in reply.text
    assert n > 1000
    assert client.get("/count", headers={"x-group": "0"}).headers["x-count"] == "2"
    client.close()


def test_without_counters_a_plugin_is_told(planes, nodes):
    control, _ = planes
    none = data_plane(nodes, control, plugin_counters_size="0", plugin_cache_size="0")
    assert "there are no counters" in none.poll("/count", 503).text
    replies = [none.get("/lookup", headers={"apikey": "still"}) for _ in range(5)]
    assert {reply.headers["x-cache"] for reply in replies} == {"miss"}  # and nothing is remembered
    assert {reply.headers["x-lookup"] for reply in replies} == {"still"}
