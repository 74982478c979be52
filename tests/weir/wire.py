"""Both ends of hybrid mode's wire: a data plane to hold against our control plane, and the reverse.

Messages are JSON-RPC in snappy blocks in binary WebSocket frames, over TLS with client certificates.
Everything that went over is kept in `log`, so that a test can say what it cost.
"""

import json
import socket
import ssl
import threading
import time
import uuid
from typing import Any, NamedTuple

from . import snappy, websocket
from .websocket import BINARY, CLOSE, PING, PONG, Closed, Refused  # noqa: F401

NOTHING_310 = "0" * 32
SYNC = "kong.sync.v2"
REPORT = "weir.report.v1"


class RpcError(Exception):
    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Message(NamedTuple):
    conn: int
    sent: bool
    opcode: int
    json: Any  # None if the payload is none
    size: int  # payload on the wire
    time: float


def token(version, dialect="3.10"):
    """The version as this dialect writes it."""
    return version if dialect == "3.9" else f"v02_{version:028x}"


def number(version):
    """The number in a version of either dialect; 0 for everything that is none."""
    if isinstance(version, str):
        if len(version) == 32 and version.startswith("v02_"):
            return int(version[4:], 16)
        return int(version) if version.isdigit() else 0
    return int(version or 0)


def hello(dialect="3.10", node_id=None, capabilities=(SYNC,), version=None, labels=()):
    return {
        "jsonrpc": "2.0",
        "method": "kong.meta.v1.hello",
        "id": 1,
        "params": [
            {
                "rpc_capabilities": list(capabilities),
                "rpc_frame_encodings": ["x-snappy-framed"],
                "kong_version": version or ("3.9.1" if dialect == "3.9" else "3.10.0"),
                "kong_hostname": "mock-dp",
                "kong_node_id": node_id or str(uuid.uuid4()),
                "kong_conf": {"cluster_dp_labels": list(labels)},
            }
        ],
    }


def tls_client(address, pair=None, server_name="kong_clustering", timeout=5.0, source=""):
    """A TLS connection that shows `pair` (certificate, key), from an address, and checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair:
        context.load_cert_chain(*pair)
    raw = socket.create_connection(address, timeout, (source, 0))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(raw, server_hostname=server_name)


def items(value):
    """An array of the wire: empty ones may have been printed as {}."""
    return value if isinstance(value, list) else []


def key_of(delta):
    entity = delta.get("entity") or delta.get("pk") or {}
    return delta.get("type"), entity.get("id") or entity.get("key")


class DataPlane:
    """Plays a data plane. Reads only while a call or a wait runs; answers what it is asked then."""

    def __init__(self, address, pair, dialect="3.10", node_id=None, **hello_options):
        self.address, self.pair, self.dialect = address, pair, dialect
        self.node_id = node_id or str(uuid.uuid4())
        self.hello_options = hello_options
        self.source = ""  # the address that it comes from
        self.log = []
        self.notified = []  # versions of notify_new_version, in order
        self.held = {}  # (type, id) -> entity
        self.version = 0 if dialect == "3.9" else NOTHING_310
        self.answer = True  # result of a call from the control plane; None: silence
        self.pong = True  # whether pings are answered
        self.websocket = None
        self.capabilities = None
        self.closed = None  # the opcode or error that ended it
        self.ids = 0

    def open(self, path="/v2/outlet", protocol="kong.meta.v1", headers=None):
        sock = tls_client(self.address, self.pair, source=self.source)
        host = "%s:%d" % self.address
        try:
            self.websocket = websocket.upgrade_client(sock, host, path, protocol, headers)
        except BaseException:
            sock.close()
            raise
        return self

    def greet(self, message=None, timeout=5.0):
        """The hello and its answer: both are plain JSON."""
        message = message or hello(self.dialect, self.node_id, **self.hello_options)
        self.send_frame(BINARY, json.dumps(message).encode(), message)
        frame = self.websocket.receive(timeout)
        answer = json.loads(frame.payload) if frame.opcode == BINARY else None
        self._note(False, frame.opcode, answer, len(frame.payload))
        if answer is None:
            raise Closed("no answer to hello")
        self.capabilities = items(answer["result"]["rpc_capabilities"])
        return answer

    def connect(self):
        self.open()
        self.greet()
        return self

    def _note(self, sent, opcode, message, size):
        self.log.append(Message(1, sent, opcode, message, size, time.monotonic()))

    def send_frame(self, opcode, payload, message=None, **options):
        self.websocket.send(opcode, payload, **options)
        self._note(True, opcode, message, len(payload))

    def send(self, message):
        self.send_frame(BINARY, snappy.compress(json.dumps(message).encode()), message)

    def receive(self, timeout=5.0):
        """The next message, or None for a ping or pong. Calls are answered with self.answer."""
        try:
            frame = self.websocket.receive(timeout)
        except Closed as error:
            self.closed = self.closed or str(error)
            raise
        message = None
        if frame.opcode == BINARY:
            message = json.loads(snappy.decompress(frame.payload))
        self._note(False, frame.opcode, message, len(frame.payload))
        if frame.opcode == CLOSE:
            self.closed = "close frame"
            raise Closed("close frame")
        if frame.opcode == PING and self.pong:
            self.send_frame(PONG, b"")
        if isinstance(message, dict) and "method" in message:
            self._called(message)
        return message

    def _called(self, message):
        if message["method"] == SYNC + ".notify_new_version":
            self.notified.append(message["params"][0]["default"]["new_version"])
        if "id" in message and self.answer is not None:
            self.send({"jsonrpc": "2.0", "id": message["id"], "result": self.answer})

    def request(self, method, *params, ident=None):
        ident = self.ids if ident is None else ident
        self.ids = max(self.ids, ident + 1)
        self.send({"jsonrpc": "2.0", "method": method, "params": list(params), "id": ident})
        return ident

    def answer_to(self, ident, timeout=5.0):
        deadline = time.monotonic() + timeout
        while True:
            message = self.receive(deadline - time.monotonic())
            if isinstance(message, dict) and message.get("id") == ident and "method" not in message:
                if "error" in message:
                    raise RpcError(message["error"]["code"], message["error"]["message"])
                return message["result"]

    def call(self, method, *params, timeout=5.0):
        return self.answer_to(self.request(method, *params), timeout)

    def get_delta(self, version=None, timeout=10.0):
        version = self.version if version is None else version
        result = self.call(SYNC + ".get_delta", {"default": {"version": version}}, timeout=timeout)
        return result["default"]

    def apply(self, answer):
        """As the spec says: in order, the version of the last delta becomes ours."""
        deltas = items(answer.get("deltas"))
        if deltas and (answer.get("wipe") or answer.get("full_sync")):
            self.held.clear()
        for delta in deltas:
            if delta.get("entity"):
                self.held[key_of(delta)] = delta["entity"]
            else:
                self.held.pop(key_of(delta), None)
            self.version = delta["version"]
        return len(deltas)

    def sync(self, rounds=50):
        """Asks until there is nothing more. Returns the answers."""
        answers = []
        for _ in range(rounds):
            answers.append(self.get_delta())
            if not self.apply(answers[-1]):
                return answers
        raise AssertionError(f"no end of deltas after {rounds} answers")

    def wait_notified(self, timeout=5.0, count=1):
        """Waits until there are `count` notifications that nobody has taken; returns the newest."""
        deadline = time.monotonic() + timeout
        while len(self.notified) < count:
            self.receive(deadline - time.monotonic())
        newest = self.notified[-1]
        self.notified.clear()
        return newest

    def idle(self, seconds):
        """Takes what comes for a while."""
        deadline = time.monotonic() + seconds
        try:
            while True:
                self.receive(deadline - time.monotonic())
        except TimeoutError:
            pass

    def bytes_received(self):
        return sum(m.size for m in self.log if not m.sent)

    def close(self):
        if self.websocket:
            self.websocket.close()

    def __enter__(self):
        return self.connect() if self.websocket is None else self

    def __exit__(self, *_):
        self.close()


class Session:
    """One connection of a data plane to a ControlPlane, served by its own thread."""

    def __init__(self, plane, sock, ident):
        self.plane, self.sock, self.ident = plane, sock, ident
        self.websocket = None
        self.hello = None
        self.open = True
        self.ids = 0
        self.answers = {}
        self.answered = threading.Condition()

    def send(self, message):
        payload = snappy.compress(json.dumps(message).encode())
        self.send_frame(BINARY, payload, message)

    def send_frame(self, opcode, payload, message=None, **options):
        self.websocket.send(opcode, payload, **options)
        self.plane.note(self.ident, True, opcode, message, len(payload))

    def call(self, method, *params, timeout=5.0):
        with self.answered:
            ident, self.ids = self.ids, self.ids + 1
        self.send({"jsonrpc": "2.0", "method": method, "params": list(params), "id": ident})
        with self.answered:
            if not self.answered.wait_for(lambda: ident in self.answers or not self.open, timeout):
                raise TimeoutError(f"no answer to {method} ({ident})")
            return self.answers.get(ident)

    def notify(self, version):
        default = {"default": {"new_version": version}}
        message = {"jsonrpc": "2.0", "method": SYNC + ".notify_new_version", "params": [default]}
        with self.answered:
            message["id"], self.ids = self.ids, self.ids + 1
        self.send(message)
        return message["id"]

    def drop(self):
        """Ends the TCP connection without a word."""
        self.websocket.drop()

    def serve(self):
        try:
            self.websocket, path = websocket.upgrade_server(self.sock)
            self.plane.requests.append((path, dict(self.websocket.headers)))
            frame = self.websocket.receive(5)
            self.hello = json.loads(frame.payload)
            self.plane.note(self.ident, False, frame.opcode, self.hello, len(frame.payload))
            answer = self.plane.hello_answer(self.hello)
            payload = json.dumps(answer).encode()
            self.send_frame(BINARY, payload, answer)
            self.plane.joined(self)
            while True:
                self._one()
        except (Closed, OSError, ValueError, LookupError, TypeError, AttributeError,
                snappy.SnappyError) as error:  # whatever the other end sent
            self.plane.ends.append((self.ident, f"{type(error).__name__}: {error}"))
        finally:
            self.open = False
            with self.answered:
                self.answered.notify_all()
            self.plane.left(self)
            if self.websocket:
                self.websocket.drop()
            self.sock.close()

    def _one(self):
        frame = self.websocket.receive(3600)
        message = None
        if frame.opcode == BINARY:
            message = json.loads(snappy.decompress(frame.payload))
        self.plane.note(self.ident, False, frame.opcode, message, len(frame.payload))
        if frame.opcode == CLOSE:
            self.websocket.close()
            raise Closed("close frame")
        if frame.opcode == PING:
            self.send_frame(PONG, b"")
        for part in message if isinstance(message, list) else [message]:
            if isinstance(part, dict):
                self._handle(part)

    def _handle(self, message):
        if "method" not in message:
            with self.answered:
                self.answers[message.get("id")] = message
                self.answered.notify_all()
            return
        result = self.plane.called(self, message)
        if "id" in message and result is not None:
            self.send({"jsonrpc": "2.0", "id": message["id"], **result})


class ControlPlane:
    """Plays a control plane: keeps entities and a log of deltas, and serves what a DP asks for.

    `odd` may replace the answer to get_delta: odd(session, message) -> {"result": …}, {"error": …},
    None (silence), or NotImplemented (as usual).
    """

    def __init__(self, port, pair, dialect="3.10", capabilities=(SYNC, REPORT), authority=None):
        self.port, self.dialect = port, dialect
        self.capabilities = list(capabilities)
        self.workspace = "aaaaaaaa-0000-4000-8000-000000000001"
        self.entities = {}  # (type, id) -> entity, in order of creation
        self.deltas = []  # (version, delta without version)
        self.version = 0
        self.floor = 0  # deltas of versions above it are kept
        self.log, self.requests, self.reports, self.ends = [], [], [], []
        self.calls = []  # (session, message)
        self.sessions = []
        self.odd = None
        self.change = threading.Condition(threading.RLock())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*pair)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.load_verify_locations(authority or pair[0])
        self.listener = None
        self.idents = 0
        self.batch(
            ("workspaces", {"id": self.workspace, "name": "default", "comment": None, "meta": {},
                            "config": {}, "created_at": 1700000000, "updated_at": 1700000000}),
            ("parameters", {"key": "cluster_id", "created_at": None,
                            "value": "00000000-0000-4000-8000-0000000000c1"}),
        )

    # -- its data ---------------------------------------------------------------------------

    def batch(self, *changes, notify=True):
        """One version: (type, entity) puts, (type, id, None) deletes."""
        with self.change:
            self.version += 1
            for change in changes:
                kind, entity = change[0], change[1] if len(change) == 2 else None
                if entity is None:
                    pk = {"id": change[1]}
                    self.entities.pop((kind, change[1]), None)
                else:
                    pk = {"key": entity["key"]} if "key" in entity and "id" not in entity else {
                        "id": entity.get("id")}
                    self.entities[(kind, entity.get("id") or entity.get("key"))] = entity
                delta = {"type": kind, "pk": pk, "ws_id": self.workspace, "entity": entity}
                self.deltas.append((self.version, delta))
            if notify:
                self.notify()
            return self.version

    def put(self, kind, entity, notify=True):
        return self.batch((kind, entity), notify=notify)

    def delete(self, kind, ident, notify=True):
        return self.batch((kind, ident, None), notify=notify)

    def token(self, version=None):
        return token(self.version if version is None else version, self.dialect)

    def notify(self, version=None):
        for session in list(self.sessions):
            try:
                session.notify(self.token(version))
            except (Closed, OSError):
                pass

    def delta_answer(self, reported):
        """What a correct control plane says to a DP that has `reported`."""
        flag = "wipe" if self.dialect == "3.9" else "full_sync"
        with self.change:
            have = number(reported)
            if have == self.version:
                return {"default": {flag: False, "deltas": []}}
            if self.floor <= have < self.version and have > 0:
                chosen = [(v, d) for v, d in self.deltas if v > have]
                full = False
            else:
                chosen = [
                    (self.version, {"type": kind, "pk": {"key" if kind == "parameters" else "id": i},
                                    "ws_id": self.workspace, "entity": entity})
                    for (kind, i), entity in self.entities.items()
                ]
                full = True
            deltas = [dict(d, version=self.token(v)) for v, d in chosen]
            answer = {flag: full, "deltas": deltas}
            if self.dialect != "3.9":
                answer["latest_version"] = self.token()
            return {"default": answer}

    # -- what a session asks ------------------------------------------------------------------

    def hello_answer(self, message):
        offered = items(message["params"][0].get("rpc_capabilities"))
        common = [name for name in self.capabilities if name in offered or name == SYNC]
        return {"jsonrpc": "2.0", "id": 1,
                "result": {"rpc_capabilities": common, "rpc_frame_encoding": "x-snappy-framed"}}

    def called(self, session, message):
        with self.change:
            self.calls.append((session, message))
            if message["method"].startswith(REPORT):
                self.reports.append(message["params"][0])
            self.change.notify_all()
        if message["method"] == SYNC + ".get_delta":
            if self.odd and "id" in message:
                answer = self.odd(session, message)
                if answer is not NotImplemented:
                    return answer
            return {"result": self.delta_answer(message["params"][0]["default"]["version"])}
        if "id" in message and not message["method"].startswith((SYNC, REPORT)):
            return {"error": {"code": -32601, "message": "Method not found"}}
        return {"result": True}

    def note(self, conn, sent, opcode, message, size):
        with self.change:
            self.log.append(Message(conn, sent, opcode, message, size, time.monotonic()))
            self.change.notify_all()

    def joined(self, session):
        with self.change:
            self.sessions.append(session)
            self.change.notify_all()

    def left(self, session):
        with self.change:
            if session in self.sessions:
                self.sessions.remove(session)
            self.change.notify_all()

    # -- life -----------------------------------------------------------------------------------

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()
        return self

    def _accept(self, listener):
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._shake, args=(raw,), daemon=True).start()

    def _shake(self, raw):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.settimeout(5)
        try:
            sock = self.context.wrap_socket(raw, server_side=True)
        except (ssl.SSLError, OSError) as error:
            self.ends.append((0, f"TLS: {error}"))
            raw.close()
            return
        with self.change:
            self.idents += 1
            ident = self.idents
        Session(self, sock, ident).serve()

    def stop(self):
        """As a control plane that dies: the listener and every connection are gone."""
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for session in list(self.sessions):
            session.drop()

    def wait(self, predicate, timeout=10.0, what="what was waited for"):
        with self.change:
            if not self.change.wait_for(predicate, timeout):
                raise TimeoutError(f"{what}: not within {timeout} s; last: {self.log[-3:]}")

    def wait_applied(self, version=None, timeout=10.0):
        """Until a DP says (get_delta, a call or a notification, or a report) that it has `version`."""
        wanted = self.version if version is None else version

        def applied():
            return any(number(v) == wanted for v in self.reported())

        self.wait(applied, timeout, f"a DP that has version {wanted}, said: {self.reported()[-5:]}")

    def reported(self):
        """Every version that a DP said it has, in order."""
        versions = []
        for _, message in self.calls:
            if message["method"] == SYNC + ".get_delta":
                versions.append(message["params"][0].get("default", {}).get("version"))
            elif message["method"].startswith(REPORT):
                versions.append(message["params"][0].get("version"))
        return versions

    def get_deltas(self):
        return [m for _, m in self.calls if m["method"] == SYNC + ".get_delta" and "id" in m]

    def answers(self):
        """The answers to get_delta that were sent: full or not, and how many deltas."""
        found = []
        for entry in self.log:
            result = entry.json.get("result") if entry.sent and isinstance(entry.json, dict) else None
            default = result.get("default") if isinstance(result, dict) else None
            if isinstance(default, dict):
                full = bool(default.get("wipe") or default.get("full_sync"))
                found.append((full, len(items(default.get("deltas")))))
        return found

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
