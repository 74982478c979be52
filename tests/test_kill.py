"""kill -9 of any process at any moment: nothing acknowledged is lost, nothing is half applied."""

import os
import random
import subprocess
import threading
import time
from pathlib import Path

import pytest
from weir import http, ports, wire
from weir.entities import ident, route, service
from weir.node import BUILD, alive, wait_until

SEED = int(os.environ.get("WEIR_SEED", "20261125"))
WRITERS = 8


class Writer(threading.Thread):
    """Makes, changes and deletes routes of its own; knows what was acknowledged and what is open."""

    def __init__(self, control, number, service, until):
        super().__init__(daemon=True)
        self.control, self.number, self.service, self.until = control, number, service, until
        self.rng = random.Random(SEED + number)
        self.state = {}  # name -> acknowledged tags, or None when deleted
        self.open = {}  # name -> states that are possible after a write without an answer
        self.acknowledged = self.unanswered = self.refused = 0

    def run(self):
        client = self.control.client()
        client.timeout = 5
        while time.monotonic() < self.until:
            try:
                self.one(client)
            except Exception:  # noqa: BLE001: the connection is gone: whether it was written is open
                self.unanswered += 1
                client.close()
                time.sleep(0.05)

    def one(self, client):
        known = [n for n, tags in self.state.items() if tags is not None and n not in self.open]
        choice = self.rng.random()
        if choice < 0.5 or not known:
            name = f"w{self.number}-{len(self.state):06d}"
            tags = [str(self.rng.randrange(10**9))]
            self.write(client, name, tags, "PUT", {
                "paths": [f"/{name}"], "tags": tags, "service": {"id": self.service}})
        elif choice < 0.8:
            name = self.rng.choice(known)
            tags = [str(self.rng.randrange(10**9))]
            self.write(client, name, tags, "PATCH", {"tags": tags})
        else:
            self.write(client, self.rng.choice(known), None, "DELETE", None)

    def write(self, client, name, after, method, body):
        before = self.state.get(name)
        self.open[name] = [before, after]
        self.state.setdefault(name, None)
        reply = client.request(method, f"/routes/{name}", body)
        if reply.status in (200, 201, 204):
            self.state[name] = after
            self.acknowledged += 1
        else:
            # 5xx: the write may have been made or not; 4xx: it was not.
            self.refused += 1
            if reply.status >= 500:
                return
            self.state[name] = before
        del self.open[name]

    def wrong(self, found):
        """Names whose state in `found` (name -> tags) is none that is possible."""
        bad = []
        for name, tags in self.state.items():
            allowed = self.open.get(name, [tags])
            if found.get(name) not in allowed:
                bad.append((name, "is", found.get(name), "allowed", allowed))
        return bad


def newest_version(control):
    with wire.DataPlane(control.cluster_address, control.pair) as plane:
        plane.sync()
        return plane.version


def settle(node):
    """Starts again what does not come back by itself."""
    if node.pid("supervisor") is None:
        node.weir("start")
    wait_until(lambda: node.pid("nginx") and node.workers(), 10, f"nginx of the {node.role}")
    node.wait_listening(30)
    node.remember()


def check_equal(control, data, writers):
    routes = {r["name"]: r["tags"] for r in control.admin.list("/routes") if r["name"][0] == "w"}
    for writer in writers:
        assert writer.wrong(routes) == []
    newest = newest_version(control)
    mine = data.node_id()
    wait_until(lambda: control.data_planes().get(mine, {}).get("config_hash") == newest, 30,
               f"the data plane at {newest}")
    names = [name for writer in writers for name in writer.state]
    for name in names:
        wanted = 200 if name in routes else 404
        got = data.get(f"/{name}").status
        assert got == wanted, (name, got, wanted)
    return len(routes)


@pytest.mark.slow
@pytest.mark.sanitized
@pytest.mark.parametrize("node,pieces", [
    ("control", ["nginx"]), ("control", ["worker"]), ("control", ["supervisor"]), ("control", ["all"]),
    ("data", ["agent"]), ("data", ["worker"]), ("data", ["nginx"]), ("data", ["supervisor"]),
    ("data", ["all"]),
], ids=lambda value: value if isinstance(value, str) else value[0])
def test_no_acknowledged_write_is_lost(cluster, node, pieces):
    victim = getattr(cluster, node)
    rng = random.Random(SEED)
    target = cluster.service()["id"]
    until = time.monotonic() + 5
    first = 1000 * (1 + hash_of(node + pieces[0]))
    writers = [Writer(cluster.control, first + n, target, until) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    kills = 0
    while time.monotonic() < until - 0.5:
        time.sleep(rng.uniform(0.1, 1.2))
        if victim.kill(*pieces):
            kills += 1
        if pieces[0] in ("all", "supervisor"):
            time.sleep(rng.uniform(0, 0.3))
            settle(victim)
    for writer in writers:
        writer.join(30)
    settle(cluster.control)
    settle(cluster.data)
    assert kills >= 2
    assert sum(w.acknowledged for w in writers) > 20, [(w.acknowledged, w.unanswered) for w in writers]
    check_equal(cluster.control, cluster.data, writers)


def hash_of(text):
    return sum(ord(letter) * (index + 1) for index, letter in enumerate(text)) % 900


@pytest.mark.slow
def test_everything_dies_at_random(cluster):
    rng = random.Random(SEED + 1)
    target = cluster.service()["id"]
    until = time.monotonic() + 20
    writers = [Writer(cluster.control, 900000 + n, target, until) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    while time.monotonic() < until - 1:
        time.sleep(rng.uniform(0.1, 1.5))
        node = rng.choice([cluster.control, cluster.data])
        piece = rng.choice(["nginx", "worker", "supervisor", "agent", "all"])
        if node is cluster.control and piece == "agent":
            piece = "worker"
        node.kill(piece)
        time.sleep(rng.uniform(0, 0.4))
        settle(node)
    for writer in writers:
        writer.join(30)
    settle(cluster.control)
    settle(cluster.data)
    assert check_equal(cluster.control, cluster.data, writers) > 0


@pytest.mark.slow
def test_half_of_a_batch_is_never_visible(nodes):
    """Every batch moves 400 routes to another path of the upstream; the agent dies meanwhile."""
    count, upstream = 400, nodes.upstream()
    rng = random.Random(SEED)

    def generation(number):
        services = [("services", service(1, upstream.port, path=f"/g{number}"))]
        return services + [("routes", route(100 + i, f"b{i}", [f"/b{i}", f"/g{number}-b{i}"], 1))
                           for i in range(count)]

    with wire.ControlPlane(ports.free(), nodes.pair) as plane:
        plane.batch(*generation(0))
        data = nodes.data(("127.0.0.1", plane.port))
        data.wait_ready()
        data.poll("/b0", 200)
        stop = threading.Event()
        wrong, seen = [], set()

        def reader(seed):
            local = random.Random(seed)
            client = http.Client(data.proxy_address)
            newest = 0
            while not stop.is_set():
                index = local.choice([0, 1, count // 2, count - 1])
                # Which generation has this route? Only the newest path of it exists.
                reply = client.get(f"/b{index}")
                if reply.status != 200:
                    wrong.append((index, reply.status))
                    continue
                number = int(reply.json["path"].strip("/").split("/")[0][1:])
                if number < newest:
                    wrong.append((index, number, "after", newest))
                newest = max(newest, number)
                if client.get(f"/g{newest}-b{count - 1 - index}").status != 200:
                    # It may have moved on by a whole generation meanwhile, never by a half.
                    reply = client.get(f"/b{index}")
                    if int(reply.json["path"].strip("/").split("/")[0][1:]) <= newest:
                        wrong.append((index, "half of", newest))
                seen.add(newest)

        threads = [threading.Thread(target=reader, args=(n,), daemon=True) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, 13):
            plane.batch(*generation(number))
            time.sleep(rng.uniform(0.02, 0.3))
            if number % 2:
                data.kill("agent")
                wait_until(lambda: data.pid("agent"), 10, "the agent, started again")
                plane.wait(lambda: plane.sessions, 20, "its connection")
            plane.wait_applied(timeout=20)
        stop.set()
        for thread in threads:
            thread.join(10)
        assert wrong[:5] == []
        assert len(seen) >= 5


def test_certificates_and_their_names_come_and_go_together(cluster, tmp_path):
    """One call, one version: what an increment has of it is all of it."""
    from weir import certs

    crt, key = certs.self_signed(tmp_path, "both", subject="both.example")
    with wire.DataPlane(cluster.control.cluster_address, cluster.control.pair) as plane:
        plane.sync()
        made = cluster.admin.post("/certificates", cert=open(crt).read(), key=open(key).read(),
                                  snis=["both.example", "two.example"])
        deltas = [d for a in plane.sync() for d in wire.items(a["deltas"])]
        assert sorted(d["type"] for d in deltas) == ["certificates", "snis", "snis"]
        assert len({d["version"] for d in deltas}) == 1
        cluster.admin.delete(f"/certificates/{made['id']}")
        deltas = [d for a in plane.sync() for d in wire.items(a["deltas"])]
        assert sorted(d["type"] for d in deltas) == ["certificates", "snis", "snis"]
        assert len({d["version"] for d in deltas}) == 1 and not any(d.get("entity") for d in deltas)



def agents_of(node):
    """Every sync agent that has this prefix in its command line, known to pid files or not."""
    wanted = str(node.prefix).encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if words and words[0].endswith(b"weir-agent") and wanted in words and alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def test_an_agent_without_a_pid_file_is_found_and_not_doubled(nodes):
    """A full disk leaves an agent without one. Two writers would take the image back and forth."""
    control = nodes.control()
    data = nodes.data(control.cluster_address).wait_ready()
    agent = data.pid("agent")
    (data.prefix / "pids" / "agent.pid").unlink()
    data.kill("supervisor")
    data.weir("start")
    data.remember()
    control.admin.post("/routes", name="a", paths=["/a"])
    data.poll("/a", 503)  # it is served: by a route without a service
    assert agents_of(data) == [agent]
    assert data.pid("agent") == agent  # known again
    (data.prefix / "pids" / "agent.pid").unlink()
    data.stop()
    assert agents_of(data) == []


def test_an_image_has_one_writer(nodes):
    data = nodes.data(("127.0.0.1", ports.free()))
    wait_until(lambda: agents_of(data) == [data.pid("agent")], 10, "one agent")
    second = subprocess.run([BUILD / "weir-agent", "-p", data.prefix], capture_output=True, text=True,
                            timeout=10, check=False)
    assert second.returncode == 1
    assert str(data.pid("agent")) in second.stderr
