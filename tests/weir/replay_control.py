"""Replays what a data plane said in a recording to our control plane, and compares what comes."""

import json
import time

from . import http, snappy, websocket
from .recording import (GIVEN, by_version, default_of, delta_differences, differences, entities_of, highest,
                        Held, is_full, method_of, plain, same_kind_of_token)
from .websocket import BINARY, CLOSE, PING, PONG, Closed, Refused
from .wire import DataPlane, items, number, token

PATHS = {
    "services": "/services", "routes": "/routes", "consumers": "/consumers",
    "upstreams": "/upstreams", "certificates": "/certificates", "snis": "/snis",
    "ca_certificates": "/ca_certificates", "plugins": "/plugins", "vaults": "/vaults",
    "key_sets": "/key-sets", "keys": "/keys", "oauth2_tokens": "/oauth2_tokens",
    "targets": "/upstreams/{upstream}/targets", "acls": "/consumers/{consumer}/acls",
    "basicauth_credentials": "/consumers/{consumer}/basic-auth",
    "hmacauth_credentials": "/consumers/{consumer}/hmac-auth",
    "jwt_secrets": "/consumers/{consumer}/jwt",
    "keyauth_credentials": "/consumers/{consumer}/key-auth",
    "oauth2_credentials": "/consumers/{consumer}/oauth2",
}
KINDS = {path.strip("/"): kind for kind, path in PATHS.items() if "{" not in path}
# What the Admin API says of an entity that this build does not have, or not so (on purpose).
UNSUPPORTED = ("not enabled; add it", "the foreign key '{id=", "policy: 'redis' is not supported",
               "allow_origin_absent: unknown field")
# In an order in which nothing is deleted before what refers to it.
COLLECTIONS = ("/plugins", "/routes", "/services", "/upstreams", "/snis", "/certificates",
               "/ca_certificates", "/oauth2_tokens", "/consumers", "/keys", "/key-sets", "/vaults")
# The recording does not show these requests; its `about` does.
REQUESTS = {
    "hello-protocol-case": {"Sec-WebSocket-Protocol": "Kong.Meta.V1"},
    "hello-protocol-other": {"Sec-WebSocket-Protocol": "kong.other.v1"},
    "hello-extensions": {"Sec-WebSocket-Extensions": "permessage-deflate"},
    "hello-upgrade-case": {"Upgrade": "WebSocket", "Connection": "keep-alive, Upgrade"},
}


class ControlReplay:
    """One control plane of ours, kept for all recordings of a dialect."""

    def __init__(self, admin_address, cluster_address, pair, other_pair, catalog, dialect, base):
        self.admin = http.Admin(admin_address)
        self.cluster_address = cluster_address
        self.pair, self.other_pair = pair, other_pair
        self.catalog, self.dialect, self.base = catalog, dialect, base
        self.state = None  # the keys that the store holds, if known
        self.unsupported = set()  # entities of kinds that a later delivery brings

    # -- the state before --------------------------------------------------------------------

    def seed_of(self, recording):
        created, named, shown, first = set(), set(), set(), None
        admin_seen = False
        for line in recording.lines:
            if "admin" in line:
                admin_seen = admin_seen or line["status"] < 300
                answer = line.get("answer")
                if line["admin"].startswith(("POST", "PUT")) and isinstance(answer, dict):
                    created.add(answer.get("id"))
                parts = line["admin"].split(" ")[1].strip("/").split("/")
                named |= {(KINDS.get(c), name) for c, name in zip(parts[::2], parts[1::2])}
                continue
            default = default_of(line)
            if default is None:
                continue
            if is_full(default) and not admin_seen and first is None:
                first = entities_of(default)
            parent = None
            for delta in items(default["deltas"]):
                ident = (delta.get("entity") or delta.get("pk") or {}).get("id")
                key = (delta.get("type"), ident)
                if ident and (GIVEN.match(ident) or delta.get("entity") is None):
                    shown.add(key)
                if delta.get("entity") is None:
                    parent = parent or ident
                    self.substitute(key, parent)
        wanted = set(self.base if first is None else first)
        if first is None or admin_seen:
            wanted |= {key for key in shown if key[1] not in created}
        wanted |= {(kind, i) for (kind, name), i in self.catalog.ids.items()
                   if (kind, name) in named and i not in created and first is None}
        wanted = {key for key in wanted if key[0] in PATHS}
        found = self.catalog.closure(sorted(wanted))
        return {key: (first or {}).get(key, entity) for key, entity in found.items()}

    def substitute(self, key, parent):
        """A child that a recording only shows being deleted, with its parent."""
        kind, ident = key
        if key in self.catalog.entities or kind not in ("targets", "keys"):
            return
        like = next(dict(e) for (k, _), e in self.catalog.entities.items() if k == kind)
        like["id"] = ident
        if kind == "targets":
            like.update(target=f"{ident[:8]}.example:80", upstream={"id": parent})
        else:
            like.update(name=ident[:8], set={"id": parent})
            if like.get("jwk"):
                like["jwk"] = json.dumps(dict(json.loads(like["jwk"]), kid=ident[:8]))
            like["kid"] = ident[:8]
        self.catalog.entities[key] = like

    def clear(self):
        for path in COLLECTIONS:
            reply = self.admin.get(path)
            if reply.status != 200:
                continue
            for entity in self.admin.list(path):
                self.admin.request("DELETE", f"{path}/{entity['id']}")

    def put(self, kind, entity):
        body = {k: v for k, v in entity.items()
                if k not in ("id", "created_at", "updated_at", "cert_digest")}
        if "ttl" in body:
            body["ttl"] = 3600 if body["ttl"] else None
            if body["ttl"] is None:
                del body["ttl"]
        parents = {name: body.pop(name)["id"] for name in ("upstream", "consumer")
                   if f"{{{name}}}" in PATHS[kind]}
        path = PATHS[kind].format(**parents)
        if kind == "targets":  # they are not made by PUT
            reply = self.admin.request("POST", path, dict(body, id=entity["id"]))
        else:
            reply = self.admin.request("PUT", f"{path}/{entity['id']}", body)
        if reply.status == 404 or reply.status == 400 and any(text in reply.text for text in UNSUPPORTED):
            self.unsupported.add((kind, entity["id"]))
            return []
        return [] if reply.status in (200, 201) else [
            f"preparing: PUT {path}/{entity['id']}: {reply.status} {reply.text[:200]}"]

    def prepare(self, recording):
        seed = self.seed_of(recording)
        state = {key: plain(entity) for key, entity in seed.items()}
        if self.state == state:
            return []
        self.clear()
        found = []
        for (kind, _), entity in seed.items():
            found += self.put(kind, entity)
        self.state = state
        return found

    def history(self, recording):
        """Makes the changes that the recording's first increments tell of."""
        for line in recording.lines:
            if "admin" in line:
                return
            default = default_of(line)
            if default is None or is_full(default) or not items(default["deltas"]):
                continue
            deltas = items(default["deltas"])
            for delta in deltas:
                if delta.get("entity") is None and delta["type"] == "consumers":
                    self.put("consumers", {"id": delta["pk"]["id"], "username": delta["pk"]["id"]})
            if deltas[0].get("entity"):  # so that the first change is one
                self.put(deltas[0]["type"], dict(deltas[0]["entity"], tags=["before"]))
            for delta in deltas:
                if delta.get("entity") is None:
                    self.admin.request("DELETE", f"{PATHS[delta['type']]}/{delta['pk']['id']}")
                else:
                    self.put(delta["type"], delta["entity"])
            self.state = None
            return

    def everything(self):
        """The full answer to somebody who has nothing."""
        with DataPlane(self.cluster_address, self.pair, self.dialect) as probe:
            return probe.get_delta()

    # -- one recording -------------------------------------------------------------------------

    def run(self, recording):
        found = self.prepare(recording)
        self.history(recording)
        if recording.admin_calls():
            self.state = None
        run = Run(self, recording)
        try:
            run.play()
        finally:
            for connection in run.connections.values():
                if connection:
                    connection.close()
        return found + run.found


class Run:
    def __init__(self, replay, recording):
        self.replay, self.recording = replay, recording
        self.found = []
        self.connections = {}  # number -> DataPlane, or None when the upgrade was refused
        self.pending = []  # ids of calls of the control plane without an answer
        self.notified = 0
        self.calls = 0
        self.answers = {}
        self.kept_alive = []
        self.patience = 1.0  # after something that did not come, the rest is not waited for as long
        self.wanted_held, self.held = Held(), Held()
        self.base = self.recorded_base()
        self.ours = None
        self.known = {}

    def say(self, text):
        self.found.append(text)

    # -- versions -------------------------------------------------------------------------------

    def recorded_base(self):
        """The version that the recorded control plane had at the beginning."""
        asked = {}
        for line in self.recording.lines:
            if "admin" in line and line["status"] < 300:
                return None
            if method_of(line) == "kong.sync.v2.get_delta" and line["dir"] == "dp>cp":
                message = line["json"]
                params = message.get("params")
                default = params[0] if isinstance(params, list) and params else {}
                if isinstance(default, dict) and isinstance(default.get("default"), dict):
                    asked[str(message.get("id"))] = default["default"].get("version")
            default = default_of(line)
            if default is not None:
                if is_full(default):
                    return highest(default)
                if not items(default["deltas"]):
                    return number(asked.get(str(line["json"]["id"]), 0))
        return None

    def to_ours(self, version):
        """A version as the recording has it, as our control plane counts."""
        value = version
        if isinstance(version, str) and not version.startswith("v02_"):
            return version
        if isinstance(version, bool) or not isinstance(version, (int, str)):
            return version
        value = number(version)
        if value <= 0 or self.base is None or self.ours is None:
            return version
        moved = self.known.get(value, value - self.base + self.ours)
        return token(moved) if isinstance(version, str) else moved

    def outgoing(self, message):
        """A message of the recording with versions of ours."""
        if isinstance(message, list):
            return [self.outgoing(item) for item in message]
        message = json.loads(json.dumps(message))
        params = message.get("params")
        if message.get("method") == "kong.sync.v2.get_delta" and isinstance(params, list):
            for item in params:
                if isinstance(item, dict) and isinstance(item.get("default"), dict):
                    if "version" in item["default"]:
                        item["default"]["version"] = self.to_ours(item["default"]["version"])
        return message

    # -- playing ---------------------------------------------------------------------------------

    def play(self):
        everything = self.replay.everything()
        self.held.apply(everything)
        if self.base is not None:
            self.ours = highest(everything)
            self.known[self.base] = self.ours
        last = 0.0
        for line in self.ordered():
            self.pause = line["t"] - last
            last = line["t"]
            try:
                self.step(line)
            except (Closed, Refused) as error:
                self.say(f"t={line['t']}: our control plane ended the connection: {error}")
                return
            except (TimeoutError, ValueError, LookupError, snappy.SnappyError) as error:
                self.patience = 0.1
                self.say(f"t={line['t']}: {type(error).__name__}: {error}")

    def ordered(self):
        """An Admin API call is written down when it is over: it belongs before what it caused."""
        lines = []
        for line in self.recording.lines:
            at = len(lines)
            if "admin" in line:
                while at and self.caused(lines[at - 1]):
                    at -= 1
            lines.insert(at, line)
        return lines

    @staticmethod
    def caused(line):
        if line.get("dir") == "cp>dp":
            return (method_of(line) or "").endswith("notify_new_version")
        message = line.get("json")
        return line.get("dir") == "dp>cp" and isinstance(message, dict) and "method" not in message \
            and "id" in message or "note" in line and "end" not in line

    def connection(self, line):
        ident = line.get("conn", 1)
        if ident not in self.connections:
            self.connections[ident] = None
            self.open(ident)
        return self.connections[ident]

    def open(self, ident):
        shown = next((x for x in self.recording.lines if x.get("conn") == ident and "http" in x), {})
        scenario = self.recording.name.split("-", 2)[2]
        pair = self.replay.pair
        if scenario == "hello-no-cert":
            pair = None
        elif scenario == "hello-other-cert":
            pair = self.replay.other_pair
        headers = dict(REQUESTS.get(scenario, {}))
        if shown.get("status", "").startswith("eof"):
            headers.update(shown.get("headers", {}))
        path = shown.get("http", "GET /v2/outlet").split()[1]
        wanted = shown.get("status", "HTTP/1.1 101")
        plane = DataPlane(self.replay.cluster_address, pair, self.recording.dialect)
        plane.answer, plane.pong = None, False
        got = "101"
        try:
            plane.open(path, headers=headers)
            self.connections[ident] = plane
        except Refused as error:
            got = str(error.status or "eof")
        except OSError:
            got = "eof"
        expected = "eof" if wanted == "eof" else wanted.split()[1]
        if got != expected:
            self.say(f"upgrade: wanted {expected}, is {got}")
        elif got == "101" and "headers" in shown:
            for name in set(shown["headers"]) | set(plane.websocket.headers):
                want, have = shown["headers"].get(name), plane.websocket.headers.get(name)
                if name not in ("date", "sec-websocket-accept") and want != have:
                    self.say(f"upgrade: {name}: wanted {want!r}, is {have!r}")

    def step(self, line):
        if "admin" in line:
            self.admin(line)
            return
        if "conn" not in line:
            return
        plane = self.connection(line)
        if plane is None or "http" in line:
            return
        if "end" in line:
            self.end(plane, line)
        elif line["dir"] == "dp>cp":
            self.send(plane, line)
        else:
            self.expect(plane, line)

    def admin(self, line):
        method, path = line["admin"].split(" ", 1)
        reply = self.replay.admin.request(method, path, line.get("body"))
        if reply.status != line["status"]:
            self.say(f"{line['admin']}: wanted {line['status']}, is {reply.status} {reply.text[:200]}")

    def send(self, plane, line):
        opcode = line["op"]
        opcode = {v: k for k, v in websocket.NAMES.items()}.get(opcode, opcode)
        options = {}
        if self.recording.name.endswith("err-unmasked"):
            options["masked"] = line.get("enc") == "plain"
        if self.recording.name.endswith("err-fragment"):
            options["fin"] = line["op"] != "binary" or "json" in line
        if opcode == CLOSE:
            plane.close()
            return
        if "json" not in line:
            plane.send_frame(opcode, self.bytes_of(line), **options)
            return
        message = line["json"]
        if isinstance(message, dict) and "method" not in message and "id" in message and \
                line.get("enc") == "snappy" and self.recorded_call(message["id"]):
            while self.pending:
                plane.send(dict(message, id=self.pending.pop(0)))
            return
        if line.get("enc") == "snappy":
            message = self.outgoing(message)
            plane.send_frame(opcode, snappy.compress(json.dumps(message).encode()), message, **options)
        else:
            plane.send_frame(opcode, json.dumps(message).encode(), message, **options)

    def recorded_call(self, ident):
        """Whether the recorded control plane made a call with this id."""
        return any(x.get("dir") == "cp>dp" and method_of(x) and x["json"].get("id") == ident
                   for x in self.recording.lines)

    def bytes_of(self, line):
        shown = bytes.fromhex(line.get("hex", ""))
        if len(shown) == line["len"]:
            return shown
        if line["op"] in ("ping", "pong"):
            return line["payload"].encode()
        return shown + b"x" * (line["len"] - len(shown))

    # -- what comes ---------------------------------------------------------------------------------

    def receive(self, plane, timeout):
        """The next message into where it belongs."""
        message = plane.receive(timeout)
        if message is None:
            self.kept_alive.append(plane.log[-1].opcode)
            return
        for part in message if isinstance(message, list) else [message]:
            if "method" in part:
                self.called(part)
            else:
                self.answers.setdefault(json.dumps(part.get("id")), []).append(part)
        if isinstance(message, list):
            self.answers.setdefault("batch", []).append(message)

    def called(self, message):
        if message.get("id") != self.calls:
            self.say(f"a call of our control plane has id {message.get('id')}, wanted {self.calls}")
        self.calls += 1
        self.pending.append(message.get("id"))
        version = message["params"][0]["default"]["new_version"]
        if not same_kind_of_token("" if self.recording.dialect != "3.9" else 0, version):
            self.say(f"notify_new_version has {version!r} in dialect {self.recording.dialect}")
        self.notified = max(self.notified, number(version))

    def until(self, plane, condition, timeout, what):
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"nothing like the recorded: {what}")
            try:
                self.receive(plane, left)
            except TimeoutError:
                raise TimeoutError(f"nothing like the recorded: {what}") from None

    def expect(self, plane, line):
        if line["op"] == "close":
            self.closing(plane, line)
        elif line["op"] in ("ping", "pong"):
            opcode = PING if line["op"] == "ping" else PONG
            self.until(plane, lambda: opcode in self.kept_alive, self.pause + 8, line["op"])
            self.kept_alive.remove(opcode)
        elif line.get("enc") == "plain":
            self.greeting(plane, line)
        elif method_of(line):
            self.notification(plane, line)
        elif isinstance(line["json"], list):
            self.until(plane, lambda: "batch" in self.answers, 3, "a batch of answers")
            got = self.answers.pop("batch")[0]
            for want, have in zip(line["json"], got):
                self.compare(want, have)
            if len(got) != len(line["json"]):
                self.say(f"a batch of {len(got)} answers, wanted {len(line['json'])}")
        else:
            self.answer(plane, line)

    def greeting(self, plane, line):
        frame = plane.websocket.receive(5)
        if frame.opcode != BINARY:
            raise Closed(f"a {websocket.NAMES.get(frame.opcode)} frame for an answer to hello")
        got = json.loads(frame.payload)
        wanted = line["json"]
        for message in (wanted, got):
            names = items(message.get("result", {}).get("rpc_capabilities"))
            message.get("result", {})["rpc_capabilities"] = [n for n in names if n == "kong.sync.v2"]
        for text in differences(wanted, got, "hello"):
            self.say(text)

    def notification(self, plane, line):
        wanted = line["json"]["params"][0]["default"]["new_version"]
        version = number(self.to_ours(wanted))
        self.until(plane, lambda: self.notified >= version, 2 * self.patience, f"notify_new_version {wanted}")

    def answer(self, plane, line):
        wanted = line["json"]
        ident = json.dumps(wanted.get("id"))
        if isinstance(wanted.get("id"), float) and wanted["id"] > 1e14:
            # The recorded end prints 14 digits of a big id; ours may print them all.
            self.until(plane, lambda: self.answers, 3, f"an answer to {ident}")
            ident = next(iter(self.answers))
        self.until(plane, lambda: self.answers.get(ident), 3 * self.patience, f"an answer to {ident}: {wanted}"[:300])
        got = self.answers[ident].pop(0)
        self.compare(wanted, got)

    def compare(self, wanted, got):
        if "error" in wanted or "error" in got:
            for text in differences(wanted.get("error"), got.get("error"), "error"):
                self.say(text)
            return
        want, have = default_of({"json": wanted}), default_of({"json": got})
        if want is None or have is None:
            for text in differences(plain(wanted.get("result")), plain(got.get("result")), "result"):
                self.say(text)
            return
        self.wanted_held.apply(want)
        self.held.apply(have)
        flag = "wipe" if self.recording.dialect == "3.9" else "full_sync"
        if flag not in have:
            self.say(f"result.default.{flag}: missing")
        if items(want["deltas"]) and items(have["deltas"]):
            kinds = items(want["deltas"])[0]["version"], items(have["deltas"])[0]["version"]
            if not same_kind_of_token(*kinds):
                self.say(f"versions: wanted like {kinds[0]!r}, is {kinds[1]!r}")
            self.known[highest(want)] = highest(have)
            if self.ours is None:
                self.base, self.ours = highest(want), highest(have)
        if is_full(want) and not is_full(have) and self.recording.dialect != "3.9":
            self.sets("after an increment where the recorded control plane sent everything")
        elif bool(want.get(flag)) != bool(have.get(flag)):
            self.say(f"result.default.{flag}: wanted {want.get(flag)}, is {have.get(flag)}")
        elif is_full(want):
            self.sets("full answer")
            self.parents_first(have)
        else:
            self.increments(items(want["deltas"]), items(have["deltas"]))

    def sets(self, where):
        wanted, got = self.wanted_held.entities, self.held.entities
        for key in sorted((set(wanted) | set(got)) - self.replay.unsupported, key=str):
            if key not in got:
                self.say(f"{where}: {key} is missing")
            elif key not in wanted:
                self.say(f"{where}: {key} is too much")
            else:
                for text in differences(wanted[key], got[key], f"{where}: {key}"):
                    self.say(text)

    def parents_first(self, default):
        seen = set()
        for delta in items(default["deltas"]):
            entity = delta.get("entity") or {}
            for field in ("service", "route", "consumer", "certificate", "upstream", "set"):
                parent = entity.get(field)
                if isinstance(parent, dict) and parent.get("id") not in seen:
                    self.say(f"full answer: {delta['type']} {entity.get('id')} before its {field}")
            seen.add(entity.get("id"))

    def increments(self, wanted, got):
        want, have = by_version(wanted), by_version(got)
        if len(want) != len(have):
            self.say(f"increment: {len(have)} versions, wanted {len(want)}: "
                     f"{[v for v, _, _ in have][:6]} for {[v for v, _, _ in want][:6]}")
        for index, (a, b) in enumerate(zip(want, have)):
            if self.ours is not None and number(self.to_ours(a[0])) != number(b[0]):
                self.say(f"increment {index}: version {b[0]}, wanted {self.to_ours(a[0])}")
            where = f"increment {index}"
            for text in delta_differences(a[1], b[1], where):
                self.say(text)
            if len(a[2]) != len(b[2]):
                self.say(f"{where}: {len(b[2])} cascaded deltas, wanted {len(a[2])}")
            for x, y in zip(a[2], b[2]):
                for text in delta_differences(x, y, f"{where} (cascaded)"):
                    self.say(text)

    # -- the end ---------------------------------------------------------------------------------

    def closing(self, plane, line):
        timeout = max(3.0, self.pause + 8)
        try:
            while True:
                self.receive(plane, timeout)
        except Closed as error:
            if str(error) != "close frame":
                self.say(f"TCP closed without the recorded close frame ({error})")
        except TimeoutError:
            self.say("a close frame was recorded, the connection lives")

    def end(self, plane, line):
        if line["end"] == "closed":
            if plane.closed:
                return
            framed = any(x.get("dir") == "cp>dp" and x.get("op") == "close"
                         for x in self.recording.lines)
            try:
                while True:
                    self.receive(plane, max(3.0, self.pause + 3))
            except Closed as error:
                if str(error) == "close frame" and not framed:
                    self.say("a close frame that was not recorded")
            except TimeoutError:
                self.say("the connection was closed, ours lives")
            return
        before = sum(len(v) for v in self.answers.values())
        deadline = time.monotonic() + 0.3
        try:
            while (left := deadline - time.monotonic()) > 0:
                self.receive(plane, left)
        except TimeoutError:
            pass
        after = sum(len(v) for v in self.answers.values())
        if after > before:
            self.say(f"an answer where there was none: {str(list(self.answers.values()))[:300]}")
            self.answers.clear()
