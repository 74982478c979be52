"""Garbage at every listener: refused, logged, and the process lives on."""

import json
import random
import socket
import struct
import time

import pytest
from weir import http, ports, snappy, wire
from weir.entities import route, service
from weir.node import wait_until
from weir.websocket import BINARY, CLOSE, CONTINUATION, PING, TEXT

SEED = 99


def lives(node, pids):
    """The very same processes, and no word of a crash."""
    assert node.all_pids() == pids, f"{pids} became {node.all_pids()}\n{node.logs()}"
    for word in ("exited on signal", "AddressSanitizer", "runtime error:", "assertion"):
        assert word not in node.log(), node.logs()


def settled(node):
    wait_until(lambda: len(node.all_pids()) >= 3, what="its processes")
    return node.all_pids()


HTTP_BY_HAND = [
    b"", b"\x00", b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00" * 20,
    b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /services HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /services HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /services HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 200,
    b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
]
JSON_BY_HAND = [
    "{", "[]", "null", '"x"', "1", "true", '{"name":}', '{"a":1}{"b":2}', "{" * 5000, "[" * 100000,
    '{"name":"' + "x" * 100000 + '"}', '{"name":"\\ud800"}', '{"name":"a\\u0000b"}', '{"host":1e999}',
    '{"name":"\xff"}', '{"host":"a","port":99999999999999999999}', '{"host":{"a":[1,{}]}}',
    '{"tags":{"a":1},"host":"x"}', '{"id":"not-a-uuid","host":"x"}', '{"host":"a\r\nb"}',
]


def send_all(address, requests, tls=None):
    for data in requests:
        http.raw(address, data, timeout=1.0, tls=tls)


def noise(count, rng):
    for _ in range(count):
        kind = rng.randrange(3)
        if kind == 0:
            yield rng.randbytes(rng.randrange(1, 300))
        elif kind == 1:
            yield b"GET /" + rng.randbytes(20).hex().encode() + b" HTTP/1.1\r\n" + rng.randbytes(60)
        else:
            whole = b"POST /services HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n{\"host\":\"x.example\"}"
            cut = bytearray(whole)
            for _ in range(rng.randrange(1, 6)):
                cut[rng.randrange(len(cut))] = rng.randrange(256)
            yield bytes(cut)


@pytest.mark.sanitized
@pytest.mark.parametrize("listener", ["admin", "cluster", "status"])
def test_http_garbage_at_a_control_plane(control_plane, listener):
    pids = settled(control_plane)
    address = getattr(control_plane, listener + "_address")
    rng = random.Random(SEED)
    send_all(address, HTTP_BY_HAND)
    send_all(address, noise(60, rng))
    if listener == "cluster":
        send_all(address, HTTP_BY_HAND[:10], tls=http.no_check())
        send_all(address, noise(20, rng), tls=http.no_check())
    lives(control_plane, pids)
    assert control_plane.admin.get("/status").status == 200


@pytest.mark.sanitized
@pytest.mark.parametrize("listener", ["proxy", "tls", "status"])
def test_http_garbage_at_a_data_plane(cluster, listener):
    data = cluster.data
    _, path = cluster.route()
    cluster.served(path)
    pids = settled(data)
    address = getattr(data, listener + "_address")
    rng = random.Random(SEED + 1)
    tls = http.no_check() if listener == "tls" else None
    send_all(address, HTTP_BY_HAND, tls)
    send_all(address, noise(60, rng), tls)
    send_all(address, HTTP_BY_HAND[:6])
    lives(data, pids)
    assert data.get(path).status == 200


@pytest.mark.sanitized
def test_json_garbage_at_the_admin_api(control_plane):
    pids = settled(control_plane)
    client = control_plane.client()
    for method, path in (("POST", "/services"), ("PUT", "/services/x"), ("POST", "/routes"),
                         ("POST", "/plugins"), ("POST", "/certificates")):
        for text in JSON_BY_HAND:
            reply = client.request(method, path, text.encode("latin-1"))
            assert 400 <= reply.status < 500 or "xxxx" in text, (method, path, text[:60], reply.status)
            assert reply.status == 413 or "message" in reply.json, (text[:60], reply.text[:100])
    lives(control_plane, pids)
    assert not [s for s in control_plane.admin.list("/services") if s["host"] is None]


def test_what_is_too_large_is_refused_by_name(control_plane):
    reply = control_plane.client().request("POST", "/services", b"{" + b" " * (64 << 20) + b"}")
    assert reply.status == 413 and len(reply.text) < 1000


def call(method, *params, **members):
    return {"jsonrpc": "2.0", "method": method, "params": list(params), "id": 0, **members}


GET = "kong.sync.v2.get_delta"
FRAMES = {
    # name: (opcode, payload, options)
    "a text frame": (TEXT, json.dumps(call(GET, {"default": {"version": 0}})).encode(), {}),
    "no snappy": (BINARY, json.dumps(call(GET)).encode(), {}),
    "an empty frame": (BINARY, b"", {}),
    "a length of 4 GiB": (BINARY, b"\xff\xff\xff\xff\x0f" + b"\0" * 8, {}),
    "a length of 2 GiB": (BINARY, b"\xff\xff\xff\xff\x07" + b"\0" * 8, {}),
    "a copy before the beginning": (BINARY, b"\x08\x05\x20\x00\x00", {}),
    "no JSON": (BINARY, snappy.compress(b"{nope"), {}),
    "JSON of half a megabyte of brackets": (BINARY, snappy.compress(b"[" * 500000), {}),
    "a string": (BINARY, snappy.compress(b'"x"'), {}),
    "jsonrpc 1.0": (BINARY, snappy.compress(json.dumps(call(GET, jsonrpc="1.0")).encode()), {}),
    "id null": (BINARY, snappy.compress(json.dumps(call(GET, id=None)).encode()), {}),
    "unmasked": (BINARY, snappy.compress(b"{}"), {"masked": False}),
    "reserved bits": (BINARY, snappy.compress(b"{}"), {"rsv": 4}),
    "a reserved opcode": (3, b"x", {}),
    "a long ping": (PING, b"x" * 126, {}),
    "a fragment": (BINARY, b"\x02", {"fin": False}),
    "a continuation of nothing": (CONTINUATION, b"xx", {}),
    "a close frame of one byte": (CLOSE, b"x", {}),
}


@pytest.mark.sanitized
@pytest.mark.parametrize("name", FRAMES)
def test_a_bad_frame_ends_the_connection_with_a_word_in_the_log(control_plane, name):
    pids = settled(control_plane)
    mark = control_plane.mark()
    opcode, payload, options = FRAMES[name]
    plane = wire.DataPlane(control_plane.cluster_address, control_plane.pair).connect()
    plane.send_frame(opcode, payload, **options)
    with pytest.raises(wire.Closed):
        while True:
            plane.receive(3)
    if opcode != CLOSE:
        control_plane.wait_log(plane.node_id, mark=mark)
    lives(control_plane, pids)


def test_a_frame_that_claims_too_much_is_refused_before_it_came(control_plane):
    mark = control_plane.mark()
    plane = wire.DataPlane(control_plane.cluster_address, control_plane.pair).connect()
    plane.websocket.channel.send(bytes([0x82, 0xFF]) + struct.pack(">Q", 1 << 40) + b"\0\0\0\0xxxx")
    with pytest.raises(wire.Closed):
        plane.receive(3)
    control_plane.wait_log(plane.node_id, mark=mark)


def test_a_frame_that_comes_byte_by_byte_is_read(control_plane):
    """A slow sender is no garbage (weakness 23 of the spec)."""
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair) as plane:
        sent = []
        channel = plane.websocket.channel
        send, channel.send = channel.send, lambda data: sent.append(data)
        plane.request(GET, {"default": {"version": plane.version}})
        channel.send = send
        for byte in b"".join(sent)[:-30]:
            send(bytes([byte]))
        time.sleep(0.3)
        send(b"".join(sent)[-30:])
        assert plane.answer_to(0)["default"]["full_sync"]


@pytest.mark.sanitized
@pytest.mark.parametrize("message", [
    call(GET), call(GET, None), call(GET, 7), call(GET, {}), call(GET, {"default": 7}),
    call(GET, {"default": {"version": {}}}), call(GET, {"default": {"version": []}}),
    call("nothing"), call(""), call("a.b.c.d", {}), call(GET, id=1.5), call(GET, id=-1),
    call("kong.sync.v2.notify_new_version", {}), {"jsonrpc": "2.0", "id": 77, "result": {}},
    {"jsonrpc": "2.0", "id": 78, "error": 5}, [call("x.y")], [[]], [1, 2],
    call("weir.report.v1.status"), call("weir.report.v1.status", 7),
    call("weir.report.v1.status", {"quarantined": 7, "version": []}),
    {"jsonrpc": "2.0", "method": "weir.report.v1.status", "params": [{"quarantined": [None, 1, {}]}]},
], ids=lambda m: json.dumps(m)[:60])
def test_an_odd_message_is_answered_or_ignored_or_ends_only_its_connection(control_plane, message):
    pids = settled(control_plane)
    plane = wire.DataPlane(control_plane.cluster_address, control_plane.pair,
                           capabilities=("kong.sync.v2", "weir.report.v1")).connect()
    plane.send(message)
    try:
        plane.idle(0.1)
    except wire.Closed:
        pass
    plane.close()
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair) as other:
        assert other.get_delta()["full_sync"]
    lives(control_plane, pids)


@pytest.mark.slow
@pytest.mark.sanitized
def test_random_frames_at_a_control_plane(control_plane):
    pids = settled(control_plane)
    rng = random.Random(SEED + 2)
    good = snappy.compress(json.dumps(call(GET, {"default": {"version": "0" * 32}})).encode())
    for _ in range(150):
        plane = wire.DataPlane(control_plane.cluster_address, control_plane.pair)
        plane.open()
        if rng.random() < 0.8:
            plane.greet()
        data = bytearray(good)
        for _ in range(rng.randrange(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            if rng.random() < 0.3:
                plane.websocket.channel.send(rng.randbytes(rng.randrange(1, 200)))
            else:
                plane.send_frame(rng.choice([0, 1, 2, 2, 2, 2, 8, 9, 10, 15]), bytes(data))
            plane.idle(0.01)
        except (wire.Closed, ValueError, snappy.SnappyError):
            pass
        plane.close()
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair) as plane:
        assert plane.sync()
    lives(control_plane, pids)


# -- the other way round: a control plane that talks nonsense to our data plane -----------------


@pytest.fixture(scope="module")
def believer(module_nodes):
    """A data plane of ours with a set, and the control plane it believes, which is played."""
    upstream = module_nodes.upstream()
    plane = wire.ControlPlane(ports.free(), module_nodes.pair).start()
    plane.batch(("services", service(1, upstream.port)), ("routes", route(2, "a", ["/a"], 1)))
    data = module_nodes.data(("127.0.0.1", plane.port), name="believer")
    data.poll("/a", 200)
    plane.wait_applied()
    yield plane, data
    plane.stop()


def goes_on(plane, data, pids, number):
    """It serves, it has not died, and it takes the next good change."""
    assert data.get("/a").status == 200
    plane.odd = None
    plane.wait(lambda: plane.sessions, 20, "a connection of the data plane")
    path = f"/good{number}"
    plane.put("routes", route(number, path[1:], [path], 1))
    data.poll(path, 200, timeout=20)
    lives(data, pids)


ODD_ANSWERS = {
    "no default": {"result": {}},
    "a string": {"result": "x"},
    "null": {"result": None},
    "no deltas": {"result": {"default": {"full_sync": True}}},
    "deltas null": {"result": {"default": {"full_sync": True, "deltas": None}}},
    "deltas a string": {"result": {"default": {"full_sync": False, "deltas": "x"}}},
    "deltas of numbers": {"result": {"default": {"full_sync": False, "deltas": [1, None, "x"]}}},
    "a delta without anything": {"result": {"default": {"full_sync": False, "deltas": [{}]}}},
    "an empty full set": {"result": {"default": {"full_sync": True, "deltas": []}}},
    "a version of another kind": {"result": {"default": {"full_sync": False, "deltas": [
        {"type": "consumers", "version": {}, "ws_id": "x", "entity": {"id": "x"}}]}}},
    "an entity that is a list": {"result": {"default": {"full_sync": False, "deltas": [
        {"type": "routes", "version": "v02_" + "0" * 27 + "9", "ws_id": "x", "entity": [1]}]}}},
    "an error without a code": {"error": {}},
    "an error": {"error": {"code": -32000, "message": "no"}},
    "deep nesting": {"result": {"default": {"full_sync": False, "deltas": [
        {"type": "routes", "version": "v02_" + "0" * 27 + "9", "entity": json.loads("[" * 900 + "]" * 900)}]}}},
}


@pytest.mark.slow
@pytest.mark.sanitized
@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_a_data_plane_survives_an_odd_answer(believer, name):
    plane, data = believer
    pids = settled(data)
    plane.wait(lambda: plane.sessions, 20, "a connection of the data plane")
    asked = len(plane.get_deltas())
    plane.odd = lambda session, message: ODD_ANSWERS[name]
    plane.notify(plane.version + 1)
    plane.wait(lambda: len(plane.get_deltas()) > asked, 10, "get_delta")
    time.sleep(0.1)
    goes_on(plane, data, pids, 100 + list(ODD_ANSWERS).index(name))


# Reconnecting takes 5 to 10 s: one of each kind.
BAD_FRAMES = ["a text frame", "a length of 4 GiB", "no JSON", "a reserved opcode", "a close frame of one byte"]


@pytest.mark.slow
@pytest.mark.sanitized
@pytest.mark.parametrize("name", BAD_FRAMES)
def test_a_data_plane_survives_a_bad_frame(believer, name):
    plane, data = believer
    pids = settled(data)
    opcode, payload, options = FRAMES[name]
    plane.wait(lambda: plane.sessions, 20, "a connection of the data plane")
    session = plane.sessions[-1]
    mark = data.mark()
    session.send_frame(opcode, payload, **options)
    wait_until(lambda: not session.open, 5, "the end of the connection")
    wait_until(lambda: data.log(mark), 5, "a word about it in the log")
    goes_on(plane, data, pids, 300 + BAD_FRAMES.index(name))


@pytest.mark.slow
@pytest.mark.sanitized
def test_random_deltas_leave_a_data_plane_alive(believer):
    """Rows with members replaced at random: whatever is wrong is quarantined or refused."""
    plane, data = believer
    pids = settled(data)
    rng = random.Random(SEED + 3)
    odd = [None, True, -1, 1e300, "", "x" * 3000, [], {}, [None], {"id": "x"}, "\u0000", ["/a", 7], 2**70]
    for number in range(60):
        entity = route(500 + number, f"odd{number}", [f"/odd{number}"], 1)
        for _ in range(rng.randrange(1, 4)):
            entity[rng.choice(list(entity)[1:])] = rng.choice(odd)
        if rng.random() < 0.1:
            entity[rng.choice(["new", "x-y"])] = rng.choice(odd)
        plane.put("routes", entity)
    goes_on(plane, data, pids, 599)
    for key in [k for k in plane.entities if str(k[1])[-3:] >= "500" and str(k[1])[-3:] < "560"]:
        if isinstance(key[1], str):
            plane.delete("routes", key[1])
    goes_on(plane, data, pids, 600)


def test_a_port_scan_of_the_cluster_listener_is_no_burden(control_plane):
    """Connections that say nothing are ended."""
    socks = [socket.create_connection(control_plane.cluster_address, 5) for _ in range(50)]
    with wire.DataPlane(control_plane.cluster_address, control_plane.pair) as plane:
        assert plane.sync()
    for sock in socks:
        sock.close()
