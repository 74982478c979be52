"""A TCP relay between two nodes: counts, cuts, and makes bad weather; reads nothing of what goes through.

The order of bytes within a connection is always kept: a chunk may come late, never before its
predecessor.
"""

import random
import socket
import struct
import threading
import time

STEP = 0.05  # seconds between looks whether it may go on


class Relay:
    def __init__(self, port, target, seed=0):
        self.target = target
        self.up = self.down = 0  # bytes towards the target, bytes from it
        self.connections = 0
        self.pairs = []
        self.blocked = False
        self.closed = False
        self.lock = threading.Lock()
        self.rng = random.Random(seed)
        self.calm()
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    # -- weather ---------------------------------------------------------------------------------

    def calm(self):
        """Everything at once, as it comes."""
        self.delay = (0.0, 0.0)  # seconds by which a chunk is late, between these
        self.chunk = 0  # bytes of a chunk at the most; 0: as it came
        self.rate = 0  # bytes a second in each direction; 0: no limit
        self.stalled = frozenset()  # "up", "down": nothing goes that way, connections stay open

    def late(self, lowest, highest, chunk=0):
        """Chunks of at most `chunk` bytes, each late by something between the two (seconds)."""
        self.delay, self.chunk = (lowest, highest), chunk

    def slow(self, rate):
        self.rate, self.chunk = rate, max(1, rate // 20)

    def stall(self, *directions):
        """Half open: nobody is told, nothing arrives, until calm() or cut()."""
        self.stalled = frozenset(directions or ("up", "down"))

    def _hold(self, name, size):
        """Waits as the weather says before `size` bytes go on."""
        lowest, highest = self.delay
        if highest > 0:
            time.sleep(self.rng.uniform(lowest, highest))
        if self.rate:
            time.sleep(size / self.rate)
        while name in self.stalled and not self.closed:
            time.sleep(STEP)

    # -- connections -----------------------------------------------------------------------------

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
                while data:
                    size = self.chunk or len(data)
                    self._hold(name, min(size, len(data)))
                    sink.sendall(data[:size])
                    data = data[size:]
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

    def cut(self, block=False, reset=False):
        """Ends every connection; with `block`, new ones too until unblock(); `reset`: by RST."""
        self.blocked = block
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for sock in pair:
                try:
                    if reset:
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        sock.shutdown(socket.SHUT_RD)  # wakes its thread, sends nothing
                    else:
                        sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                sock.close()

    def unblock(self):
        self.blocked = False

    def close(self):
        self.closed = True
        self.listener.close()
        self.cut(block=True)
