"""Free loopback ports, each given once."""

import os
import socket

FIRST, LAST = 20000, 27999
_next = FIRST + os.getpid() % 390 * 20


def free():
    """A port nobody listens on, of the range that is ours."""
    global _next
    for _ in range(LAST - FIRST):
        port, _next = _next, _next + 1 if _next < LAST else FIRST
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {FIRST} and {LAST}")


def is_free(first, count):
    """Whether nobody listens on these: for what is recorded with its ports."""
    for port in range(first, first + count):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def block(count):
    """The first of `count` consecutive ports that nobody has."""
    global _next
    for _ in range(LAST - FIRST):
        first = free()
        if first + count > LAST:
            _next = FIRST
            continue
        if [free() for _ in range(count - 1)] == list(range(first + 1, first + count)):
            return first
    raise RuntimeError(f"no {count} free ports in a row between {FIRST} and {LAST}")
