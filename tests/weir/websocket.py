"""WebSocket frames over a socket, both roles. Nothing is hidden: a caller can send what is wrong."""

import base64
import hashlib
import os
import select
import socket
import ssl
import struct
import threading
import time
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NAMES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Closed(Exception):
    """The other end has closed or reset the connection."""


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    fin: bool
    masked: bool
    size: int  # bytes on the wire


class Refused(Exception):
    """The upgrade was answered by something else than 101; `status` 0: by nothing."""

    def __init__(self, status, text=""):
        super().__init__(f"upgrade refused: {status} {text!r}")
        self.status = status
        self.text = text


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()


class Channel:
    """A socket with a read buffer and a deadline for each read.

    One thread may read while others send. TLS of Python before 3.13 is not made for that (records
    are garbled, or the interpreter crashes), so the socket does not block, each try has `trying` for
    itself, and who waits for the socket waits without it.
    """

    def __init__(self, sock):
        self.sock = sock
        self.sock.setblocking(False)
        self.buffer = b""
        self.received = 0
        self.trying = threading.Lock()
        self.sending = threading.Lock()  # a message goes out whole

    def _when_ready(self, ready, operation, deadline):
        """What the operation returns, once the socket lets it; it is tried again until then."""
        while True:
            try:
                with self.trying:
                    return operation()
            except ssl.SSLWantReadError:
                ready = select.POLLIN
            except ssl.SSLWantWriteError:
                ready = select.POLLOUT
            except BlockingIOError:
                pass
            except OSError as error:
                raise Closed(str(error)) from None
            self._poll(ready, deadline)

    def _poll(self, ready, deadline):
        left = deadline - time.monotonic()
        poll = select.poll()
        try:
            poll.register(self.sock, ready)
        except ValueError:
            raise Closed("closed here") from None
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError("nothing came in time" if ready == select.POLLIN else "nothing was taken")

    def fill(self, deadline):
        if deadline <= time.monotonic():
            raise TimeoutError("nothing came in time")
        data = self._when_ready(select.POLLIN, lambda: self.sock.recv(262144), deadline)
        if not data:
            raise Closed("end of stream")
        self.received += len(data)
        self.buffer += data

    def exactly(self, count, deadline):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            self.buffer = b""
            try:
                self.fill(deadline)
            except BaseException:
                self.buffer = b"".join(parts)
                raise
            parts.append(self.buffer)
            have += len(self.buffer)
        data = b"".join(parts)
        self.buffer = data[count:]
        return data[:count]

    def until(self, mark, deadline, limit=65536):
        while mark not in self.buffer:
            if len(self.buffer) > limit:
                raise Closed("no end of head")
            self.fill(deadline)
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def send(self, data, timeout=10.0):
        deadline = time.monotonic() + timeout
        left = memoryview(data)
        with self.sending:
            try:
                while left:
                    done = self._when_ready(select.POLLOUT, lambda: self.sock.send(left), deadline)
                    left = left[done:]
            except TimeoutError as error:
                raise Closed(str(error)) from None

    def close(self):
        """Also for a thread that waits for the socket: it finds the end."""
        with self.trying:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.sock.close()


class WebSocket:
    """Frames over a Channel that has been upgraded."""

    def __init__(self, channel, client):
        self.channel = channel
        self.client = client
        self.status_line = ""
        self.headers = {}

    def send(self, opcode, payload=b"", fin=True, rsv=0, masked=None, control_ok=True):
        masked = self.client if masked is None else masked
        head = bytearray([(0x80 if fin else 0) | rsv << 4 | opcode])
        mask_bit = 0x80 if masked else 0
        size = len(payload)
        if size < 126:
            head.append(mask_bit | size)
        elif size < 65536:
            head.append(mask_bit | 126)
            head += struct.pack(">H", size)
        else:
            head.append(mask_bit | 127)
            head += struct.pack(">Q", size)
        if masked:
            key = os.urandom(4)
            head += key
            pad = (key * (size // 4 + 1))[:size]
            payload = (
                int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
            ).to_bytes(size, "big")
        self.channel.send(bytes(head) + payload)
        return len(head) + size

    def receive(self, timeout=5.0):
        """The next frame; it is put back whole if it does not arrive in time."""
        deadline = time.monotonic() + timeout
        taken = b""

        def take(count):
            nonlocal taken
            data = self.channel.exactly(count, deadline)
            taken += data
            return data

        try:
            first, second = take(2)
            size = second & 0x7F
            if size == 126:
                (size,) = struct.unpack(">H", take(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", take(8))
            key = take(4) if second & 0x80 else None
            payload = take(size)
        except TimeoutError:
            self.channel.buffer = taken + self.channel.buffer
            raise
        if key:
            pad = (key * (size // 4 + 1))[:size]
            payload = (
                int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
            ).to_bytes(size, "big")
        return Frame(first & 0x0F, payload, bool(first & 0x80), key is not None, len(taken))

    def close(self, payload=b""):
        try:
            self.send(CLOSE, payload)
        except Closed:
            pass
        self.channel.close()

    def drop(self):
        """Ends TCP without a close frame."""
        self.channel.close()


def head_of(text):
    """A status or request line, and the headers with lower-case names."""
    lines = text.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return lines[0], headers


def upgrade_client(sock, host, path, protocol=None, headers=None, timeout=5.0):
    """Asks for the upgrade. `headers` replaces or (None) removes lines of the request."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = {
        "Upgrade": "websocket",
        "Host": host,
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": protocol,
        "Sec-WebSocket-Version": "13",
        "Connection": "Upgrade",
    }
    lines.update(headers or {})
    request = f"GET {path} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in lines.items() if value is not None
    )
    channel = Channel(sock)
    channel.send(request.encode() + b"\r\n")
    deadline = time.monotonic() + timeout
    try:
        line, answer = head_of(channel.until(b"\r\n\r\n", deadline))
    except Closed:
        channel.close()
        raise Refused(0) from None
    status = int(line.split()[1])
    if status != 101:
        channel.close()
        raise Refused(status, line)
    if answer.get("sec-websocket-accept") != accept_of(key):
        raise Refused(status, "wrong Sec-WebSocket-Accept")
    upgraded = WebSocket(channel, client=True)
    upgraded.status_line, upgraded.headers = line, answer
    return upgraded


def upgrade_server(sock, timeout=5.0):
    """Answers an upgrade, with whatever subprotocol is asked for. Returns it and the path."""
    channel = Channel(sock)
    line, headers = head_of(channel.until(b"\r\n\r\n", time.monotonic() + timeout))
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept_of(headers.get('sec-websocket-key', ''))}\r\n"
    )
    if "sec-websocket-protocol" in headers:
        answer += f"Sec-WebSocket-Protocol: {headers['sec-websocket-protocol']}\r\n"
    channel.send(answer.encode() + b"\r\n")
    upgraded = WebSocket(channel, client=False)
    upgraded.headers = headers
    return upgraded, line.split()[1]
