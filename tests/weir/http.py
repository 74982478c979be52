"""HTTP clients: the Admin API, requests through the proxy, raw bytes, and the least of HTTP/2."""

import http.client
import json
import socket
import ssl
import struct
import time
from typing import Any, NamedTuple


class Reply(NamedTuple):
    status: int  # 0: no answer
    headers: dict  # names in lower case
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """One keep-alive connection; opened again when it is gone."""

    def __init__(self, address, timeout=10.0, tls=None):
        self.address, self.timeout, self.tls = address, timeout, tls
        self.connection = None

    def _connect(self):
        if self.tls is not None:
            self.connection = http.client.HTTPSConnection(
                *self.address, timeout=self.timeout, context=self.tls)
        else:
            self.connection = http.client.HTTPConnection(*self.address, timeout=self.timeout)

    def request(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        data = None
        if body is not None:
            data = body if isinstance(body, (str, bytes)) else json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        fresh = self.connection is None
        if fresh:
            self._connect()
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            self.close()
            if fresh or method != "GET":
                raise
            return self.request(method, path, body, headers)
        if answer.will_close:
            self.close()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers.get("headers"))

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


class Unexpected(AssertionError):
    """The Admin API said something else than was needed to go on."""


class Admin(Client):
    """The Admin API. post, put, patch and delete insist on success and return the entity."""

    def _need(self, wanted, method, path, body=None):
        reply = self.request(method, path, body)
        if reply.status not in wanted:
            raise Unexpected(f"{method} {path} {str(body)[:1000]}: {reply.status} {reply.text[:1000]}")
        return reply.json if reply.text else None

    def post(self, path, /, **body):
        return self._need((201,), "POST", path, body)

    def transaction(self, operations):
        """All of them as one version; what they left, in their order."""
        return self._need((200,), "POST", "/transactions", {"operations": operations})["entities"]

    def put(self, path, /, **body):
        return self._need((200, 201), "PUT", path, body)

    def patch(self, path, /, **body):
        return self._need((200,), "PATCH", path, body)

    def delete(self, path):
        return self._need((204,), "DELETE", path)

    def read(self, path):
        return self._need((200,), "GET", path)

    def list(self, path):
        """Every entity of a collection."""
        found, next_path = [], path + ("&" if "?" in path else "?") + "size=1000"
        while next_path:
            page = self.read(next_path)
            found += page["data"]
            next_path = page.get("next")
        return found


def once(address, path="/", method="GET", body=None, headers=None, timeout=10.0, tls=None):
    """One request on its own connection; status 0 if no answer came."""
    client = Client(address, timeout, tls)
    try:
        return client.request(method, path, body, headers)
    except (OSError, http.client.HTTPException):
        return Reply(0, {}, "")
    finally:
        client.close()


def poll(address, path, wanted, timeout=10.0, every=0.01, **options):
    """Asks until the status is `wanted` (a number or a function of the reply)."""
    fits = wanted if callable(wanted) else lambda reply: reply.status == wanted
    deadline = time.monotonic() + timeout
    while True:
        reply = once(address, path, **options)
        if fits(reply) or time.monotonic() > deadline:
            if not fits(reply):
                raise AssertionError(
                    f"{path} at {address}: {reply.status} {reply.text[:300]!r} after {timeout} s,"
                    f" wanted {wanted}")
            return reply
        time.sleep(every)


def raw(address, data, timeout=5.0, tls=None):
    """Sends bytes, returns all that comes until the end or the timeout."""
    sock = socket.create_connection(address, timeout)
    if tls is not None:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    received = b""
    try:
        sock.settimeout(timeout)
        sock.sendall(data)
        while part := sock.recv(65536):
            received += part
            if len(received) > 1 << 20:
                break
    except OSError:
        pass
    finally:
        sock.close()
    return received


def no_check(alpn=None):
    """A TLS context that believes everybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def peer_certificate(address, sni):
    """The certificate (DER) that a TLS listener shows for a server name."""
    with socket.create_connection(address, 5) as sock:
        with no_check().wrap_socket(sock, server_hostname=sni) as tls:
            return tls.getpeercert(binary_form=True)


def http2_get(address, path, authority, timeout=5.0):
    """GET over TLS and HTTP/2 with one stream. Returns (ALPN protocol, status, body)."""

    def literal(name, value):
        return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value

    block = (b"\x82\x87" + literal(b":path", path.encode())
             + literal(b":authority", authority.encode()))
    sock = socket.create_connection(address, timeout)
    with no_check(["h2"]).wrap_socket(sock, server_hostname=authority) as tls:
        protocol = tls.selected_alpn_protocol()
        if protocol != "h2":
            return protocol, 0, b""
        tls.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">I", 0)[1:] + b"\x04\0\0\0\0\0"
                    + struct.pack(">I", len(block))[1:] + b"\x01\x05\0\0\0\x01" + block)
        buffer, status, body = b"", 0, b""
        while True:
            while len(buffer) < 9 or len(buffer) < 9 + int.from_bytes(buffer[:3], "big"):
                part = tls.recv(65536)
                if not part:
                    return protocol, status, body
                buffer += part
            size, kind, flags = int.from_bytes(buffer[:3], "big"), buffer[3], buffer[4]
            payload, buffer = buffer[9 : 9 + size], buffer[9 + size :]
            if kind == 1:
                status = _status(payload)
            elif kind == 0:
                body += payload
            if kind in (0, 1) and flags & 1:
                return protocol, status, body


def _status(block):
    """:status of a response whose header block starts with it, as every server's does."""
    indexed = {0x88: 200, 0x89: 204, 0x8A: 206, 0x8B: 304, 0x8C: 400, 0x8D: 404, 0x8E: 500}
    while block and block[0] & 0xE0 == 0x20:
        block = block[1:]  # a change of the table size
    if block[0] in indexed:
        return indexed[block[0]]
    size = block[1] & 0x7F
    text = block[2 : 2 + size]
    if block[1] & 0x80:  # Huffman: digits have 5 bits (0, 1, 2) or 6 (3 to 9)
        bits = "".join(f"{byte:08b}" for byte in text)
        digits = ""
        while len(digits) < 3:
            if bits[:5] in ("00000", "00001", "00010"):
                digits, bits = digits + str(int(bits[:5], 2)), bits[5:]
            else:
                digits, bits = digits + str(int(bits[:6], 2) - 0x19 + 3), bits[6:]
        return int(digits)
    return int(text)
