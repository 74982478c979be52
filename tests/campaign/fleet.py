"""A fleet under test: a control plane, one or two data planes, and all by which they are troubled."""

import ctypes
import json
import mmap
import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path

from weir import http, ports
from weir.node import BUILD, ControlNode, DataNode, alive, wait_until
from weir.relay import Relay

DUMP = BUILD / "tests" / "campaign" / "image-dump"
CLOCK = BUILD / "tests" / "campaign" / "test-clock.so"
HEAL_SECONDS = 60  # bound of every wait after the faults
DISK_BYTES = 48 << 20
NODE_SECONDS = 30
STATIC = "/static"  # a route that is always there


def disks_possible():
    return os.geteuid() == 0 and shutil.which("mount") is not None


class Disk:
    """A small file system of its own that can be filled. Needs root."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.ballast = self.folder / "ballast"
        self.full = False
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", self.folder],
                       check=True)

    def fill(self):
        self.full = True
        try:
            with open(self.ballast, "ab", buffering=0) as file:
                for size in (1 << 20, 4096, 1):
                    while True:
                        try:
                            if file.write(b"x" * size) < size:
                                break
                        except OSError:
                            break
        except OSError:
            pass

    def drain(self):
        self.ballast.unlink(missing_ok=True)
        self.full = False

    def end(self):
        done = subprocess.run(["umount", self.folder], capture_output=True, check=False)
        if done.returncode:
            subprocess.run(["umount", "-l", self.folder], check=False)


class Clock:
    """The wall clock of a node (clock.c)."""

    def __init__(self, path):
        self.path = path
        path.write_bytes(struct.pack("q", 0))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 8)

    def environment(self):
        return {"LD_PRELOAD": str(CLOCK), "TEST_CLOCK_FILE": str(self.path)}

    def jump(self, seconds):
        ctypes.c_int64.from_buffer(self.map).value = int(seconds * 1e9)


class Fleet:
    def __init__(self, folder, pair, rng):
        """What differs from fleet to fleet comes from `rng`."""
        self.folder = Path(folder)
        self.settling = threading.Lock()
        self.stopped = set()  # pids that were told to stand still
        self.disks, self.relays, self.clocks = {}, {}, {}
        self.data, self.control, self.ledgers = [], None, []
        self.disk_of = rng.choice(["control", "data", None]) if disks_possible() else None
        self.pair = pair
        self.log_entries = rng.choice([40, 100000])
        self.sync = rng.choice(["on", "off"])
        self.map_size = rng.choice(["1m", "64m"])
        self.planes = rng.choice([1, 1, 2])
        self.seed = rng.random()
        self.described = (f"{self.planes} DP, disk of {self.disk_of}, log {self.log_entries}, "
                          f"image_sync {self.sync}, map {self.map_size}")

    def start(self):
        self.control = self._node("control", ControlNode, self.pair,
                                  cluster_sync_log_entries=str(self.log_entries),
                                  cluster_heartbeat_interval="1", admin_access_log="off")
        self.control.bootstrap().start()
        for number in range(self.planes):
            relay = Relay(ports.free(), self.control.cluster_address, seed=self.seed)
            node = self._node(f"data{number}", DataNode, self.pair, ("127.0.0.1", relay.port),
                              cluster_heartbeat_interval="1", image_sync=self.sync,
                              lmdb_map_size=self.map_size, proxy_access_log="off",
                              nginx_worker_processes=str(1 + number))
            self.relays[node] = relay
            self.data.append(node)
            node.start()
        self._first_entities()
        for node in self.data:
            node.wait_ready()
            node.poll(STATIC, 200)
        return self

    def _node(self, name, kind, *arguments, **settings):
        folder = self.folder / name
        if self.disk_of and name.startswith(self.disk_of):
            self.disks[name] = Disk(folder)
        node = kind(folder, *arguments, **settings)
        self.clocks[node] = Clock(self.folder / f"{name}.clock")
        node.environment = self.clocks[node].environment()
        node.disk = self.disks.get(name)
        node.title = name
        return node

    def _first_entities(self):
        """One service answers by itself: what is tested is routing, not upstreams."""
        admin = self.control.admin
        self.service = admin.post("/services", name="shared", host="127.0.0.1", port=9)["id"]
        admin.post("/plugins", name="request-termination", service={"id": self.service},
                   config={"status_code": 200, "message": "shared"})
        admin.post("/routes", name="static", paths=[STATIC], service={"id": self.service})
        self.transactions = self.control.client().request(
            "POST", "/transactions", {"operations": []}).status not in (404, 405)

    def nodes(self):
        return [self.control, *self.data]

    # -- what may be done to it ---------------------------------------------------------------

    def freeze(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGSTOP)
                self.stopped.add(pid)
            except ProcessLookupError:
                pass

    def thaw(self):
        for pid in self.stopped:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        self.stopped.clear()

    def settle(self, node):
        """Starts again what does not come back by itself."""
        with self.settling:
            self._settle(node)

    def _settle(self, node):
        deadline = time.monotonic() + NODE_SECONDS
        while True:
            if node.pid("supervisor") is None:
                # On a full disk a node cannot start, and it may have filled meanwhile: again, then.
                node.weir("start", fail=time.monotonic() > deadline)
            if node.pid("nginx") and http.once(node.status_address, "/status", timeout=5).status == 200:
                break
            if time.monotonic() > deadline:
                raise AssertionError(f"{node.title} does not come back\n{node.logs()}")
            if any(disk.full for disk in self.disks.values()):
                return
            time.sleep(0.02)
        node.remember()

    def heal(self):
        """Everything that was done to it ends."""
        self.thaw()
        for disk in self.disks.values():
            disk.drain()
        for clock in self.clocks.values():
            clock.jump(0)
        for relay in self.relays.values():
            relay.calm()
            relay.unblock()
        for node in self.nodes():
            self.settle(node)

    # -- what it holds -------------------------------------------------------------------------

    def image(self, node, *what):
        done = subprocess.run([DUMP, node.prefix / "image", *what], capture_output=True,
                              timeout=30, check=False)
        if done.returncode:
            raise AssertionError(f"image of {node.title}: {done.stderr.decode(errors='replace')}")
        head, _, rest = done.stdout.partition(b"\n")
        version, quarantined = map(int, head.split())
        return version, quarantined, rest

    def documents(self, node):
        """(version, {(type, id): entity}) of a data plane's image."""
        version, _, rest = self.image(node)
        held = {}
        for line in rest.splitlines():
            kind, _, text = line.partition(b" ")
            entity = json.loads(text)
            kind = kind.decode()
            held[(kind, entity["key" if kind == "parameters" else "id"])] = entity
        return version, held

    def strays(self):
        """Processes of this fleet that live still, known to pid files or not."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if bytes(self.folder) + b"/" in line and alive(int(entry.name)):
                found.append(int(entry.name))
        return found

    def end(self):
        """Everything ends. Returns what did not end by being told so."""
        self.thaw()
        for node in reversed(self.nodes()):
            if node is not None:
                node.end()
        strays = self.strays()
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
        for relay in self.relays.values():
            relay.close()
        for disk in self.disks.values():
            disk.end()
        return strays

    def keep(self, folder, text):
        """What is needed to understand a failure: logs, files, databases."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.txt").write_text(text)
        for node in self.nodes():
            if node is None:
                continue
            to = folder / node.title
            for name in ("logs", "image", "agent.json", "weir.db", "weir.db-wal", "nginx.conf"):
                source = node.prefix / name
                try:
                    if source.is_dir():
                        shutil.copytree(source, to / name, dirs_exist_ok=True)
                    elif source.is_file():
                        to.mkdir(parents=True, exist_ok=True)
                        shutil.copy2(source, to / name)
                except (OSError, shutil.Error):
                    pass


def version_of(text):
    """A version as the wire has it, as a number."""
    text = str(text)
    return int(text[4:], 16) if text.startswith("v02_") else int(text)


def ask(client, path):
    """Status and body; 0 if no answer came."""
    try:
        reply = client.get(path)
        return reply.status, reply.text
    except (OSError, http.http.client.HTTPException):
        client.close()
        return 0, ""


def pause(until, seconds):
    time.sleep(max(0.0, min(seconds, until - time.monotonic())))
