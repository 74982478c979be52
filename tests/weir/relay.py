"""A TCP relay between two nodes: counts and can cut; reads nothing of what goes through."""

import socket
import threading


class Relay:
    def __init__(self, port, target):
        self.target = target
        self.up = self.down = 0  # bytes towards the target, bytes from it
        self.connections = 0
        self.pairs = []
        self.blocked = False
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._open, args=(client,), daemon=True).start()

    def _open(self, client):
        if self.blocked:
            client.close()
            return
        try:
            server = socket.create_connection(self.target, 5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.connections += 1
            self.pairs.append((client, server))
        threading.Thread(target=self._pump, args=(client, server, "up"), daemon=True).start()
        self._pump(server, client, "down")

    def _pump(self, source, sink, name):
        try:
            while data := source.recv(262144):
                with self.lock:
                    setattr(self, name, getattr(self, name) + len(data))
                sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def total(self):
        with self.lock:
            return self.up + self.down

    def cut(self, block=False):
        """Ends every connection; with `block`, new ones too until unblock()."""
        self.blocked = block
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for sock in pair:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                sock.close()

    def unblock(self):
        self.blocked = False

    def close(self):
        self.listener.close()
        self.cut(block=True)
