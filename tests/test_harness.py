"""The harness against itself: what reads and writes the wire for us must be right first."""

import json
import random
import threading
import time

import pytest
from weir import certs, ports, snappy, websocket, wire
from weir.relay import Relay
from weir.upstream import Upstream
from weir import http


@pytest.fixture
def both(pair):
    plane = wire.ControlPlane(ports.free(), pair).start()
    data = wire.DataPlane(("127.0.0.1", plane.port), pair)
    yield plane, data
    data.close()
    plane.stop()


def test_snappy_reads_what_it_wrote():
    rng = random.Random(1)
    for size in (0, 1, 59, 60, 61, 65535, 65536, 65537, 200000):
        data = rng.randbytes(size)
        assert snappy.decompress(snappy.compress(data)) == data


def test_snappy_reads_copies_of_every_kind():
    # 11 bytes by a copy with a one-byte offset that overlaps itself, 7 and 6 by wider offsets.
    block = bytes([30, 5 << 2]) + b"hello " + bytes([(11 - 4) << 2 | 1, 6])
    block += bytes([(7 - 1) << 2 | 2, 6, 0]) + bytes([(6 - 1) << 2 | 3, 6, 0, 0, 0])
    assert snappy.decompress(block) == b"hello " * 5


@pytest.mark.parametrize("block", [b"", b"\xff" * 6, b"\x05\xff\xff\xff", b"\x05\x10{", b"\x04\x01\x00",
                                   b"\x01\x04ab"])
def test_snappy_refuses_what_is_no_block(block):
    with pytest.raises(snappy.SnappyError):
        snappy.decompress(block)


def test_a_data_plane_gets_everything_then_increments(both):
    plane, data = both
    plane.put("services", {"id": "s1", "name": "one"})
    data.connect()
    assert data.capabilities == ["kong.sync.v2"]
    first = data.sync()
    assert first[0]["full_sync"] and ("services", "s1") in data.held
    plane.put("services", {"id": "s2", "name": "two"})
    assert wire.number(data.wait_notified()) == plane.version
    answer = data.get_delta()
    assert not answer["full_sync"] and [d["entity"]["id"] for d in answer["deltas"]] == ["s2"]
    data.apply(answer)
    plane.delete("services", "s1")
    data.sync()
    assert set(data.held) == set(plane.entities)
    plane.wait(lambda: plane.answers()[-2:] == [(False, 1), (False, 0)], 2)


def test_one_thread_reads_while_others_send(both):
    """Both ends at once: a TLS object of Python breaks under this unless each try is alone."""
    plane, data = both
    data.pong = False
    data.connect()
    count, size = 3000, 4
    plane.wait(lambda: plane.sessions, 2)
    session = plane.sessions[0]
    session.send_frame = lambda *_, **__: None  # answers to pings

    def send(end, mark):
        for n in range(count):
            end.send(wire.PING, mark + n.to_bytes(size, "big"))

    senders = [threading.Thread(target=send, args=(end, mark))
               for end in (data.websocket, session.websocket) for mark in (b"a", b"b")]
    for sender in senders:
        sender.start()
    got = {b"a": [], b"b": []}
    while any(len(numbers) < count for numbers in got.values()):
        frame = data.websocket.receive(5)
        got[frame.payload[:1]].append(int.from_bytes(frame.payload[1:], "big"))
    for sender in senders:
        sender.join(10)
    assert all(numbers == list(range(count)) for numbers in got.values())
    plane.wait(lambda: sum(m.opcode == wire.PING for m in plane.log) == 2 * count, 10)
    assert not plane.ends


def test_the_numeric_dialect_counts_from_zero(pair):
    with wire.ControlPlane(ports.free(), pair, dialect="3.9", capabilities=["kong.sync.v2"]) as plane:
        with wire.DataPlane(("127.0.0.1", plane.port), pair, dialect="3.9") as data:
            answer = data.get_delta()
            assert answer["wipe"] is True and answer["deltas"][0]["version"] == 1


def test_an_odd_answer_replaces_the_right_one(both):
    plane, data = both
    data.connect()
    plane.odd = lambda session, message: {"error": {"code": -32000, "message": "odd"}}
    with pytest.raises(wire.RpcError, match="odd"):
        data.get_delta()
    plane.odd = lambda session, message: None
    with pytest.raises(TimeoutError):
        data.get_delta(timeout=0.3)


def test_a_frame_that_comes_late_is_not_lost(both):
    plane, data = both
    data.connect()
    with pytest.raises(TimeoutError):
        data.receive(0.05)
    plane.notify(plane.version)
    assert data.wait_notified() == plane.token()


def test_a_wait_says_what_did_not_come(both):
    plane, data = both
    data.connect()
    with pytest.raises(TimeoutError, match="has version 1"):
        plane.wait_applied(timeout=0.1)


def test_masked_frames_are_read_back(both):
    plane, data = both
    data.open()
    data.greet()
    big = {"jsonrpc": "2.0", "method": "a.b", "params": ["x" * 70000], "id": 5}
    data.send(big)
    with pytest.raises(wire.RpcError, match="Method not found"):
        data.answer_to(5)


def test_the_relay_counts_and_cuts(both, pair):
    plane, _ = both
    relay = Relay(ports.free(), ("127.0.0.1", plane.port))
    data = wire.DataPlane(("127.0.0.1", relay.port), pair).connect()
    data.sync()
    assert relay.up > 100 and relay.down > 500 and relay.connections == 1
    relay.cut(block=True)
    with pytest.raises(websocket.Closed):
        data.receive(2)
    with pytest.raises((websocket.Refused, OSError)):
        wire.DataPlane(("127.0.0.1", relay.port), pair).connect()
    relay.close()


def test_a_certificate_of_the_past_has_expired(tmp_path):
    from subprocess import run

    crt, _ = certs.expired_self_signed(tmp_path, "old")
    assert run(["openssl", "x509", "-checkend", "0", "-noout", "-in", crt], capture_output=True).returncode == 1


def test_the_upstream_does_what_the_path_says():
    upstream = Upstream(ports.free())
    address = ("127.0.0.1", upstream.port)
    reply = http.once(address, "/a?b=1", "POST", {"x": 1})
    assert reply.json["path"] == "/a?b=1" and json.loads(reply.json["body"]) == {"x": 1}
    assert http.once(address, "/status/418").status == 418
    assert http.once(address, "/abort").status == 0
    start = time.monotonic()
    http.once(address, "/delay/0.2")
    assert time.monotonic() - start >= 0.2
    upstream.close()
