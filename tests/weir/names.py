"""A name server whose answers a test decides."""

import socket
import socketserver
import struct
import threading
import time

from . import ports


class NameServer:
    """`table`: name -> list of IPv4 addresses, or "fail"; other names do not exist."""

    def __init__(self, ttl=60, port=None):
        self.table, self.asked = {}, []
        self.ttl, self.delay_s = ttl, 0.0
        names = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                data, sock = self.request
                time.sleep(names.delay_s)
                sock.sendto(names.answer(data), self.client_address)

        self.port = port or ports.free()
        self.address = f"127.0.0.1:{self.port}"
        self.server = socketserver.ThreadingUDPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, data):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1:at + 1 + data[at]].decode())
            at += data[at] + 1
        question, name = data[12:at + 5], ".".join(labels)
        self.asked.append(name)
        addresses = self.table.get(name)
        if struct.unpack(">H", data[at + 1:at + 3])[0] != 1:
            addresses = None
        flags = 0x8182 if addresses == "fail" else 0x8183 if addresses is None else 0x8180
        listed = addresses if isinstance(addresses, list) else []
        rows = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, self.ttl, 4) + socket.inet_aton(address)
                        for address in listed)
        return data[:2] + struct.pack(">HHHHH", flags, 1, len(listed), 0, 0) + question + rows

    def close(self):
        self.server.shutdown()
        self.server.server_close()
