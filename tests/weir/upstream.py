"""An upstream that answers with what it received, or with what the path asks for."""

import json
import socket
import threading
import time


class Upstream:
    """HTTP/1.1 with keep-alive. /delay/SECONDS, /status/CODE, /abort do as they say; the rest echoes."""

    def __init__(self, port, host="127.0.0.1", tls=None):
        """`tls`: an ssl.SSLContext."""
        self.listener = socket.create_server((host, port), backlog=512)
        self.host, self.tls = host, tls
        self.port = self.listener.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self.status = 200  # of what the path does not say
        self.requests = 0
        self.connections = 0
        self.fail_next = 0  # connections to drop after the request, before any answer
        self.lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        sock.settimeout(60)
        if self.tls is not None:
            try:
                sock = self.tls.wrap_socket(sock, server_side=True)
            except OSError:
                sock.close()
                return
        reader = sock.makefile("rb")
        try:
            while self._one(sock, reader):
                pass
        except (OSError, ValueError):
            pass
        finally:
            sock.close()

    def _one(self, sock, reader):
        line = reader.readline().decode("latin-1").split()
        if len(line) < 3:
            return False
        headers = []
        while (header := reader.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = header.partition(":")
            headers.append([name, value.strip()])
        size = next((int(v) for n, v in headers if n.lower() == "content-length"), 0)
        body = reader.read(size).decode("latin-1")
        with self.lock:
            self.requests += 1
            drop = self.fail_next > 0
            self.fail_next -= drop
        method, target = line[0], line[1]
        parts = target.split("?")[0].strip("/").split("/")
        if drop or "abort" in parts:
            return False
        if "delay" in parts:
            time.sleep(float(parts[parts.index("delay") + 1]))
        status = int(parts[parts.index("status") + 1]) if "status" in parts else self.status
        answer = json.dumps(
            {"port": self.port, "host": self.host, "method": method, "path": target, "headers": headers, "body": body}
        ).encode()
        sock.sendall(
            f"HTTP/1.1 {status} Given\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(answer)}\r\n\r\n".encode()
            + (b"" if method == "HEAD" else answer)
        )
        return True

    def close(self):
        self.listener.close()
