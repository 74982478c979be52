"""Both ends of the classic full sync: a data plane to hold against our control plane, and the reverse."""

import gzip
import json
import socket
import ssl
import threading
import time
import uuid
from typing import NamedTuple

from . import websocket
from .websocket import BINARY, CLOSE, PING, PONG, Closed
from .wire import tls_client

NOTHING = "0" * 32
# What a data plane of the original brings, as far as the tests need it.
PLUGINS = ("acl", "basic-auth", "correlation-id", "key-auth", "rate-limiting", "request-termination")


def basic_info(version="3.9.1", plugins=PLUGINS, **more):
    listed = [p if isinstance(p, dict) else {"name": p, "version": version} for p in plugins]
    return {"type": "basic_info", "plugins": listed, "filters": {}, **more}


def unpack(payload):
    return json.loads(gzip.decompress(payload))


class Received(NamedTuple):
    opcode: int
    payload: bytes
    time: float


class DataPlane:
    """Plays a classic data plane. Reads only while a wait runs."""

    def __init__(self, address, pair, version="3.9.1", node_id=None, hostname="mock-dp"):
        self.address, self.pair, self.version = address, pair, version
        self.node_id = node_id or str(uuid.uuid4())
        self.hostname = hostname
        self.websocket = None
        self.log = []  # every frame that came
        self.taken = set()  # of them, by waits: indices
        self.hash = NOTHING
        self.answers = True  # whether a push is answered by a ping with its hash

    def open(self, query=None, headers=None, protocol=None):
        if query is None:
            query = (f"?node_id={self.node_id}&node_hostname={self.hostname}"
                     f"&node_version={self.version}")
        sock = tls_client(self.address, self.pair)
        self.websocket = websocket.upgrade_client(
            sock, "%s:%d" % tuple(self.address), "/v1/outlet" + query, protocol, headers=headers)
        return self

    def connect(self, info=None, ping=True):
        self.open()
        self.send(BINARY, json.dumps(info or basic_info(self.version)).encode())
        if ping:
            self.ping()
        return self

    def send(self, opcode, payload=b"", **options):
        self.websocket.send(opcode, payload, **options)

    def ping(self, payload=None):
        self.send(PING, (self.hash if payload is None else payload).encode())

    def receive(self, timeout=5.0):
        frame = self.websocket.receive(timeout)
        self.log.append(Received(frame.opcode, frame.payload, time.monotonic()))
        if frame.opcode == BINARY and self.answers:
            self.hash = unpack(frame.payload)["config_hash"]
            self.ping()
        return self.log[-1]

    def wait(self, opcode, timeout=5.0):
        """The next frame of this kind that nobody has waited for; others stay for who does."""
        deadline = time.monotonic() + timeout
        at = 0
        while True:
            for index in range(at, len(self.log)):
                if self.log[index].opcode == opcode and index not in self.taken:
                    self.taken.add(index)
                    return self.log[index]
            at = len(self.log)
            self.receive(deadline - time.monotonic())

    def push(self, timeout=5.0):
        """The next push, decoded."""
        return unpack(self.wait(BINARY, timeout).payload)

    def table(self, timeout=5.0):
        return self.push(timeout)["config_table"]

    def nothing(self, seconds, opcode=BINARY):
        """True if no such frame comes for a while."""
        try:
            self.wait(opcode, seconds)
        except TimeoutError:
            return True
        return False

    def ended(self, timeout=5.0):
        """Until the control plane closes; whether it sent a close frame first."""
        closed = False
        try:
            while True:
                closed |= self.receive(timeout).opcode == CLOSE
        except Closed:
            return closed

    def close(self):
        if self.websocket:
            self.websocket.close()

    def __enter__(self):
        return self.connect() if self.websocket is None else self

    def __exit__(self, *_):
        self.close()


class Session:
    """One connection of a data plane to a ControlPlane, served by its own thread."""

    def __init__(self, plane, sock):
        self.plane, self.sock = plane, sock
        self.websocket = None
        self.info = None
        self.target = ""
        self.open = True

    def send(self, opcode, payload=b"", **options):
        self.websocket.send(opcode, payload, **options)

    def push(self, message):
        """A message as gzip JSON; bytes go as they are."""
        if not isinstance(message, bytes):
            message = gzip.compress(json.dumps(message).encode())
        self.send(BINARY, message)

    def drop(self):
        """Ends the TCP connection without a word."""
        self.websocket.drop()

    def serve(self):
        try:
            self.websocket, self.target = websocket.upgrade_server(self.sock)
            self.info = json.loads(self.websocket.receive(5).payload)
            self.plane.joined(self)
            while True:
                frame = self.websocket.receive(3600)
                self.plane.note(self, frame)
                if frame.opcode == PING:
                    self.send(PONG)
                if frame.opcode == CLOSE:
                    break
        except (Closed, OSError, ValueError, LookupError) as error:
            self.plane.ends.append(f"{type(error).__name__}: {error}")
        finally:
            self.open = False
            self.plane.left(self)
            if self.websocket:
                self.websocket.drop()
            self.sock.close()


class ControlPlane:
    """Plays a classic control plane: says what it is told to."""

    def __init__(self, port, pair):
        self.port = port
        self.sessions, self.all, self.frames, self.ends = [], [], [], []
        self.change = threading.Condition(threading.RLock())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*pair)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.load_verify_locations(pair[0])
        self.listener = None
        self.greeting = None  # pushed to everybody who joins

    def joined(self, session):
        with self.change:
            self.sessions.append(session)
            self.all.append(session)
            self.change.notify_all()
        if self.greeting is not None:
            session.push(self.greeting)

    def left(self, session):
        with self.change:
            if session in self.sessions:
                self.sessions.remove(session)
            self.change.notify_all()

    def note(self, session, frame):
        with self.change:
            self.frames.append((session, frame.opcode, frame.payload))
            self.change.notify_all()

    def wait(self, predicate, timeout=10.0, what="what was waited for"):
        with self.change:
            if not self.change.wait_for(predicate, timeout):
                raise TimeoutError(f"{what}: not within {timeout} s; last: {self.frames[-3:]}")

    def session(self, timeout=15.0):
        self.wait(lambda: self.sessions, timeout, "a connection of the data plane")
        return self.sessions[-1]

    def wait_ping(self, payload, timeout=5.0, since=0):
        wanted = payload.encode()
        self.wait(lambda: any(op == PING and got == wanted for _, op, got in self.frames[since:]),
                  timeout, f"a ping of {payload}")

    def pings(self, since=0):
        return [got.decode() for _, op, got in self.frames[since:] if op == PING]

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
        raw.settimeout(5)
        try:
            sock = self.context.wrap_socket(raw, server_side=True)
        except (ssl.SSLError, OSError):
            raw.close()
            return
        Session(self, sock).serve()

    def stop(self):
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for session in list(self.sessions):
            session.drop()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()


def reconfigure(table, config_hash=None, **more):
    """A push; `table` without its first members is completed."""
    table = {"_format_version": "3.0", "_transform": False, **table}
    message = {"type": "reconfigure", "timestamp": time.time(), "config_table": table, **more}
    if config_hash:
        message.update(config_hash=config_hash)
    return message
