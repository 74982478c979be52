"""Replays recorded exchanges of the classic full sync against both of our planes."""

import gzip
import json
import re
import threading
import time
import zlib

from . import classic, http, websocket
from .recording import FOREIGN, GIVEN, UUID, Catalog, differences, plain
from .replay_control import ControlReplay
from .websocket import BINARY, CLOSE, PING, PONG, Closed, Refused

SECTIONS = ("routes", "services", "plugins", "upstreams", "targets")
RECORDED_PORT = re.compile(r"\b2408([01])\b")
PAUSE = 0.5  # db_update_frequency of the control plane under test; recorded with 5


def table_of(line):
    """The config_table of a push, or None."""
    message = line.get("json")
    table = message.get("config_table") if isinstance(message, dict) else None
    return table if line.get("dir") == "cp>dp" and isinstance(table, dict) else None


def rows_of(table):
    """{(type, id): entity} in the form of kong.sync.v2."""
    found = {}
    for kind, rows in table.items():
        for row in rows if isinstance(rows, list) else []:
            keys = {field: {"id": row[field]} for field in FOREIGN if isinstance(row.get(field), str)}
            found[(kind, row.get("id") or row.get("key"))] = {**row, **keys}
    return found


def comparable(table):
    """{(type, label): entity} without what may differ."""
    found = {}
    for kind, rows in table.items():
        for row in rows if isinstance(rows, list) else []:
            ident = row.get("id") or row.get("key") or ""
            if kind == "workspaces" or UUID.match(ident) and not GIVEN.match(ident):
                ident = str(row.get("name") or row.get("username") or row.get("key"))
            found[(kind, ident)] = plain(row)
    return found


class ClassicControlReplay(ControlReplay):
    """One control plane of ours, kept for all classic recordings of a version."""

    def __init__(self, control, pair, other_pair, recordings, prefix):
        super().__init__(control.admin_address, control.cluster_address, pair, other_pair,
                         Catalog([]), "3.9", {})
        self.control, self.recordings = control, recordings
        newest = {"v1": "v1-version-3.9.1", "v1-3.10": "v1-3.10-version-3.10.0"}[prefix]
        self.newest = rows_of(next(filter(None, map(table_of, recordings[newest].lines))))
        everything = "v1-full-everything" if prefix == "v1" else "v1-3.10-full-everything"
        self.everything_rows = rows_of(
            next(filter(None, map(table_of, recordings[everything].lines))))

    def seed_of(self, recording):
        table = next(filter(None, map(table_of, recording.lines)), None)
        if "version" in recording.name or "plugins" in recording.name:
            rows = self.newest  # as it was before it was changed for an older one
        else:
            rows = self.everything_rows if table is None else rows_of(table)
        self.catalog.entities = rows
        return self.catalog.closure(
            [key for key in rows if key[0] not in ("workspaces", "parameters")])

    def run(self, recording):
        found = self.prepare(recording)
        if recording.admin_calls():
            self.state = None
        run = ControlRun(self, recording)
        try:
            run.play()
        finally:
            run.close()
        return found + run.found


class ControlRun:
    """What a recorded data plane did, done to our control plane."""

    def __init__(self, replay, recording):
        self.replay, self.recording = replay, recording
        self.found = []
        self.node = None
        self.refused = False
        self.last = None  # hash of the last recorded push, on this connection
        self.hashes = {}  # recorded -> ours

    def say(self, text):
        self.found.append(text)

    def close(self):
        if self.node:
            self.node.close()

    def play(self):
        before = 0.0
        lines = self.recording.lines
        for index, line in enumerate(lines):
            pause, before = line["t"] - before, line["t"]
            time.sleep(3 * PAUSE if pause > 2 else min(pause, 0.4) if pause > 0.1 else 0)
            try:
                self.step(line, lines[index + 1:])
            except (Closed, Refused, OSError) as error:
                self.say(f"t={line['t']}: our control plane ended the connection: {error}")
                return
            except (TimeoutError, ValueError, LookupError) as error:
                self.say(f"t={line['t']}: {type(error).__name__}: {error}")

    def step(self, line, rest):
        if "admin" in line:
            self.admin(line)
            return
        if "conn" not in line:
            return
        if self.node is None and not self.refused:
            self.open()
        if self.refused or "http" in line:
            return
        if "end" in line:
            self.end(line)
        elif line["dir"] == "dp>cp":
            self.send(line)
        else:
            self.expect(line, rest)

    def open(self):
        shown = next((x for x in self.recording.lines if "http" in x), {})
        version = re.search(r"version-(.*)", self.recording.name)
        version = version[1] if version else "3.10.0" if "3.10" in self.recording.name else "3.9.1"
        target = (f"?node_id=11111111-2222-4333-8444-555555555555&node_hostname=mock-dp"
                  f"&node_version={version}")
        if "http" in shown:
            target = shown["http"].split()[1].removeprefix("/v1/outlet")
        pair = None if self.recording.name.endswith("no-cert") else self.replay.pair
        node = classic.DataPlane(self.replay.cluster_address, pair)
        node.answers = False
        # The recording does not show this request; its `about` does.
        protocol = "kong.meta.v1" if self.recording.name.endswith("subprotocol") else None
        wanted, got = shown.get("status", "HTTP/1.1 101"), "101"
        protocol = shown.get("headers", {}).get("sec-websocket-protocol", protocol)
        try:
            node.open(target, protocol=protocol)
            self.node = node
        except Refused as error:
            got, self.refused = str(error.status or "eof"), True
        expected = "eof" if wanted == "eof" else wanted.split()[1]
        if got != expected:
            self.say(f"upgrade: wanted {expected}, is {got}")
        elif got == "101" and "headers" in shown:
            for name in set(shown["headers"]) | set(node.websocket.headers):
                want, have = shown["headers"].get(name), node.websocket.headers.get(name)
                if name not in ("date", "sec-websocket-accept") and want != have:
                    self.say(f"upgrade: {name}: wanted {want!r}, is {have!r}")

    def send(self, line):
        opcode = {v: k for k, v in websocket.NAMES.items()}[line["op"]]
        name = self.recording.name
        options = {}
        if name.endswith("err-unmasked") and opcode == BINARY:
            options["masked"] = False
        if name.endswith("err-fragment"):
            options["fin"] = opcode != BINARY
        if opcode == CLOSE:
            return
        if opcode == PING:
            payload = self.hashes.get(line["payload"], line["payload"]).encode()
        elif "json" in line:
            payload = json.dumps(line["json"]).encode()
        else:
            shown = bytes.fromhex(line.get("hex", ""))
            payload = shown + b"x" * (line["len"] - len(shown))
        try:
            self.node.send(opcode, payload, **options)
        except Closed:
            pass  # it ended already, as the next lines will say

    # -- what comes ------------------------------------------------------------------------------

    def expect(self, line, rest):
        if line["op"] == "pong":
            got = self.node.wait(PONG, 3)
            if len(got.payload) != line["len"]:
                self.say(f"a pong of {len(got.payload)} bytes")
        elif line["op"] == "close":
            if not self.node.ended(6):
                self.say("no close frame")
        elif line["op"] == "binary":
            message = line["json"]
            # The reference sends the same payload twice, when a write came shortly before.
            if message["config_hash"] == self.last:
                return
            self.last = message["config_hash"]
            self.push(message, busy=bool(rest) and "admin" in rest[0] or any(
                "admin" in x and x["t"] - line["t"] < 0.5 and not x["admin"].startswith("GET")
                for x in rest))

    def push(self, wanted, busy):
        got = classic.unpack(self.node.wait(BINARY, 8).payload)
        self.hashes[wanted["config_hash"]] = got["config_hash"]
        members = {"type", "timestamp", "config_table", "config_hash", "hashes"}
        if set(got) != members or set(got["hashes"]) != set(SECTIONS) | {"config"}:
            self.say(f"members: {sorted(got)}, {sorted(got['hashes'])}")
        for name in SECTIONS:
            empty = wanted["hashes"][name] == classic.NOTHING
            if empty and got["hashes"][name] != classic.NOTHING:
                self.say(f"hashes.{name}: is not all zeros")
            self.same(f"hashes.{name}", wanted["hashes"][name], got["hashes"][name])
        for name in ("_format_version", "_transform"):
            if got["config_table"][name] != wanted["config_table"][name]:
                self.say(f"{name}: {got['config_table'][name]!r}")
        if not busy:  # else it depends on the moment what is in it
            self.compare(comparable(wanted["config_table"]), comparable(got["config_table"]))

    def same(self, name, recorded, ours):
        """What was the same in the recording is the same."""
        before = self.hashes.setdefault((name, recorded), ours)
        if before != ours:
            self.say(f"{name}: changed, though the recorded one did not")

    def compare(self, wanted, got):
        unsupported = {i for _, i in self.replay.unsupported} | {
            label for (kind, label) in wanted if kind not in self.known()}
        for key in sorted(set(wanted) | set(got)):
            if key[1] in unsupported or key[0] not in self.known():
                continue
            if key not in got or key not in wanted:
                self.say(f"{key}: {'missing' if key not in got else 'not wanted'}")
            else:
                self.found += [f"{key}: {d}" for d in differences(wanted[key], got[key])]

    def known(self):
        """Types of entities that this control plane has."""
        return {"workspaces", "parameters"} | {
            kind for kind, _ in self.replay.newest if kind in self.replay_paths()}

    def replay_paths(self):
        unsupported = {kind for kind, _ in self.replay.unsupported}
        supported = {kind for kind, i in self.replay.newest if (kind, i) not in self.replay.unsupported}
        return supported - (unsupported - supported)

    def end(self, line):
        if line["end"] == "closed":
            self.node.ended(6)
        else:
            try:
                self.node.receive(0.3)
            except TimeoutError:
                pass

    def admin(self, line):
        method, path = line["admin"].split(" ", 1)
        if path == "/clustering/data-planes":
            self.rows(line["answer"]["data"])
            return
        reply = self.replay.admin.request(method, path, line.get("body"))
        if reply.status != line["status"]:
            self.say(f"{line['admin']}: wanted {line['status']}, is {reply.status} {reply.text[:200]}")

    def rows(self, wanted):
        for row in wanted:
            # A row of an earlier recording, which is not of this node's making.
            if row["config_hash"] not in self.hashes and row["config_hash"] != classic.NOTHING and \
                    self.recording.name.endswith("version-x"):
                continue
            expected = {k: row.get(k) for k in (
                "sync_status", "version", "hostname", "ip", "labels", "rpc_capabilities")}
            expected["config_hash"] = self.hashes.get(row["config_hash"], row["config_hash"])
            got = self.poll_row(row["id"], expected)
            for name, value in expected.items():
                if got.get(name) != value and not (name == "rpc_capabilities" and not value):
                    self.say(f"row: {name}: wanted {value!r}, is {got.get(name)!r}")
            if not got.get("cert_details", {}).get("expiry_timestamp"):
                self.say("row: no cert_details.expiry_timestamp")

    def poll_row(self, ident, expected):
        deadline = time.monotonic() + 2
        while True:
            got = self.replay.control.data_planes().get(ident, {})
            if all(got.get(k) == v for k, v in expected.items()) or time.monotonic() > deadline:
                return got
            time.sleep(0.05)


class ClassicDataReplay:
    """One data plane of ours (`node`) that believes `plane`, kept for all classic recordings."""

    def __init__(self, node, plane, recordings, upstreams):
        self.node, self.plane, self.upstreams = node, plane, upstreams
        start = recordings["v1-dp-start"]
        self.start = self.local(next(
            x["json"] for x in start.lines if table_of(x)))
        plane.greeting = self.start

    def local(self, value):
        """With the ports of our upstreams for those of the recording."""
        text = json.dumps(value)
        return json.loads(RECORDED_PORT.sub(lambda m: str(self.upstreams[int(m[1])].port), text))

    def run(self, recording):
        if recording.name.endswith("dp-start"):
            return self.run_first(recording)
        start = dict(self.start)
        if recording.name.endswith("same-hash"):  # of what ran before, which is not shown
            start["config_hash"] = next(x["json"] for x in recording.lines if table_of(x))["config_hash"]
        since = len(self.plane.frames)
        try:
            self.plane.session().push(start)
            self.plane.wait_ping(start["config_hash"], 10, since)
        except (TimeoutError, Closed, OSError) as error:
            return [f"preparing: {error}"]
        run = DataRun(self, recording, start["config_hash"])
        run.play()
        return run.found

    def run_first(self, recording):
        """The data plane starts anew, with nothing."""
        self.node.stop()
        for path in (self.node.prefix / "image").iterdir():
            path.unlink()
        greeting, self.plane.greeting = self.plane.greeting, None
        run = DataRun(self, recording, classic.NOTHING)
        # The command waits for a first set, which the script gives.
        starting = threading.Thread(target=self.node.start)
        starting.start()
        try:
            run.play()
        finally:
            starting.join(30)
            self.plane.greeting = greeting
        return run.found


class DataRun:
    """What a recorded control plane said, said to our data plane."""

    def __init__(self, replay, recording, config_hash):
        self.replay, self.recording, self.plane = replay, recording, replay.plane
        self.found = []
        self.since = len(self.plane.frames)
        self.hash = config_hash
        self.sessions = len(self.plane.all)

    def say(self, text):
        self.found.append(text)

    def play(self):
        for line in self.recording.lines:
            try:
                self.step(line)
            except (TimeoutError, Closed, OSError) as error:
                self.say(f"t={line['t']}: {str(error)[:300]}")

    def step(self, line):
        if "proxy" in line:
            self.proxy(line)
        elif "status_endpoint" in line:
            self.ready(line)
        elif line.get("dir") == "cp>dp" and line["op"] not in ("pong",):
            self.send(line)
        elif line.get("dir") == "dp>cp":
            self.expect(line)

    def payload(self, line):
        name = self.recording.name
        if name.endswith("zlib"):  # only its beginning is shown
            message = json.loads(json.dumps(self.replay.start))
            route = dict(message["config_table"]["routes"][0], paths=["/r8226"], name="r8226",
                         id="00000000-0000-4000-8000-000000008226")
            message["config_table"]["routes"].append(route)
            message["config_hash"] = "02011332e8d90c177e419c3599985976"
            return zlib.compress(json.dumps(message).encode())
        if "json" not in line:
            return bytes.fromhex(line["hex"]) if line.get("hex") else line.get("payload", "").encode()
        text = json.dumps(self.replay.local(line["json"])).encode()
        return gzip.compress(text) if line.get("enc") == "gzip" else text

    def send(self, line):
        opcode = {v: k for k, v in websocket.NAMES.items()}[line["op"]]
        self.since = len(self.plane.frames)
        self.plane.session().send(opcode, self.payload(line))
        self.quiet()

    def quiet(self):
        """If the recorded data plane did not take it, ours may not say that it did."""
        if any(x.get("op") == "ping" and x.get("dir") == "dp>cp" for x in self.recording.lines):
            return
        time.sleep(0.4)
        for got in self.plane.pings(self.since):
            if got != self.hash:
                self.say(f"a ping with {got}: it was taken, though the reference refuses it")

    def expect(self, line):
        if line["op"] == "ping":
            if self.recording.name.endswith("idle"):  # it tells of what is not shown
                self.plane.wait_ping(self.hash, 40, self.since)
                return
            self.plane.wait_ping(line["payload"], 8, self.since)
            if self.recording.name.endswith("short-hash"):  # no hash: the recorder closed then
                self.plane.session().drop()
        elif line["op"] == "binary":
            self.plane.wait(lambda: len(self.plane.all) > self.sessions, 20, "a new connection")
            self.sessions += 1
            info = self.plane.all[-1].info
            if info["type"] != "basic_info" or info["filters"] != {}:
                self.say(f"basic_info: {str(info)[:200]}")
            self.since = 0
        elif line["op"] == "close":
            self.plane.wait(lambda: any(
                op == CLOSE for _, op, _ in self.plane.frames[self.since:]), 5, "a close frame")

    def proxy(self, line):
        path = line["proxy"].split()[1]
        try:
            http.poll(self.replay.node.proxy_address, path, line["status"], 3, every=0.02)
        except AssertionError as error:
            self.say(f"t={line['t']}: {line['proxy']}: wanted {line['status']}: {str(error)[:200]}")

    def ready(self, line):
        try:
            http.poll(self.replay.node.status_address, "/status/ready", line["status"], 2, every=0.05)
        except AssertionError as error:
            self.say(f"{line['status_endpoint']}: wanted {line['status']}: {str(error)[:200]}")
