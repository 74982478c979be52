#!/usr/bin/env python3
"""The proxy in the stock nginx: what the recorded cases do not show.

    live_test.py BUILD [FIRST_PORT]

WEIR_PRELOAD is the LD_PRELOAD of nginx: libasan.so for a sanitized build.

Names, TLS towards upstreams, the pool of connections, streaming, arriving
configurations. Each test is a function whose name says what holds.
"""
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import random
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parents[2] / "tests")]
import replay_image
from weir.names import NameServer

BUILD = sys.argv[1]
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 24200
PLAIN, SECURE, NAMES, SLOW = PORT + 10, PORT + 11, PORT + 12, PORT + 13
COLD, SMALL = PORT + 20, PORT + 30
BAD = ("[alert]", "exited on signal", "Sanitizer")  # in no log, ever


def ident(number):
    return str(uuid.UUID(int=number, version=4))


# ---------------------------------------------------------------- around the gateway


class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections = 0

    def setup(self):
        Echo.connections += 1
        super().setup()

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode("latin-1")
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        text = json.dumps({"target": self.path, "headers": dict(self.headers), "body": body,
                           "sni": getattr(self.connection, "sni", None), "client": bool(peer),
                           "connection": self.client_address[1]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_PURGE = do_GET

    def log_message(self, *_):
        pass


class Secure(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port, context):
        super().__init__(("127.0.0.1", port), Echo)
        self.context = context

    def finish_request(self, request, address):
        names = []
        self.context.sni_callback = lambda _sock, name, _context: names.append(name)
        try:
            request = self.context.wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError):
            return
        request.sni = names[0] if names else None
        super().finish_request(request, address)

    def shutdown_request(self, request):
        request.close()


def slow(port):
    """Says how many bytes of a body have come, as they come."""
    listener = socket.create_server(("127.0.0.1", port))

    def serve(client):
        with client:
            data = b""
            while b"\r\n\r\n" not in data:
                data += client.recv(4096)
            first = client.recv(4096) if not data.split(b"\r\n\r\n", 1)[1] else b"x"
            client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst\n" if first else b"")
            time.sleep(0.7)
            client.sendall(b"second\n")

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


class Authority:
    def __init__(self, folder, name):
        self.path = pathlib.Path(folder) / name
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                     f"/CN={name}", "-days", "30", "-keyout", f"{self.path}.key", "-out", f"{self.path}.crt")
        self.pem = pathlib.Path(f"{self.path}.crt").read_text()

    @staticmethod
    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, capture_output=True)

    def issue(self, name):
        leaf = f"{self.path}-{name}"
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                     "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{leaf}.key", "-out", f"{leaf}.csr")
        self.openssl("x509", "-req", "-in", f"{leaf}.csr", "-CA", f"{self.path}.crt", "-CAkey", f"{self.path}.key",
                     "-CAcreateserial", "-days", "30", "-copy_extensions", "copy", "-out", f"{leaf}.crt")
        return leaf


# ---------------------------------------------------------------- the gateway


class World:
    def __init__(self, folder):
        self.folder = folder
        self.good, self.bad = Authority(folder, "good"), Authority(folder, "bad")
        leaf = self.good.issue("up.test")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{leaf}.crt", f"{leaf}.key")
        context.load_verify_locations(f"{self.good.path}.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        for server in (Secure(SECURE, context), http.server.ThreadingHTTPServer(("127.0.0.1", PLAIN), Echo)):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        slow(SLOW)
        self.names = NameServer(port=NAMES)
        self.names.table.update({"up.test": ["127.0.0.1"], "broken.test": "fail"})
        prefix = pathlib.Path(folder) / "node"
        prefix.mkdir()
        self.node = replay_image.Node(BUILD, str(prefix), PORT,
                                      {"dns_resolver": f"127.0.0.1:{NAMES}", "nginx_proxy_resolver_timeout": "2s"},
                                      1, os.environ.get("WEIR_PRELOAD"))
        self.node.start()

    @contextlib.contextmanager
    def other_node(self, name, port, **settings):
        """One more node, as long as a test needs it."""
        prefix = pathlib.Path(self.folder) / name
        prefix.mkdir()
        node = replay_image.Node(BUILD, str(prefix), port, settings, 1, os.environ.get("WEIR_PRELOAD"))
        node.start()
        try:
            yield node
        finally:
            node.stop()
            log = (prefix / "logs/error.log").read_text()
            assert not any(m in log for m in BAD), log

    def load(self, services, routes=None, **others):
        """Service number n is served at /n."""
        rows = [{"id": ident(n), "name": f"s{n}", "retries": 0, **service} for n, service in enumerate(services, 1)]
        routes = routes or [{} for _ in rows]
        paths = [{"id": ident(100 + n), "paths": [f"/{n}"], "service": ident(n), **route}
                 for n, route in enumerate(routes, 1)]
        code, said = self.node.load({"services": rows, "routes": paths, **others})
        assert code == 0 and not said, said

    @staticmethod
    def get(path, method="GET", body=None, headers=None):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)) as client:
            client.request(method, path, body, headers or {})
            reply = client.getresponse()
            return reply.status, reply.read().decode("latin-1")

    def echo(self, path, **more):
        status, body = self.get(path, **more)
        assert status == 200, (status, body)
        return json.loads(body)


# ---------------------------------------------------------------- what holds


def a_node_without_configuration_is_not_ready(world):
    status, body = world.get("/anything")
    assert status == 503 and "has not arrived" in body, (status, body)


def names_come_from_the_hosts_file_and_from_name_servers(world):
    world.load([{"host": "localhost", "port": PLAIN}, {"host": "up.test", "port": PLAIN}])
    assert world.echo("/1")["headers"]["Host"] == f"localhost:{PLAIN}"
    assert world.echo("/2")["headers"]["Host"] == f"up.test:{PLAIN}"
    assert "localhost" not in world.names.asked and "up.test" in world.names.asked


def names_that_do_not_exist_are_503_and_dead_servers_500(world):
    world.load([{"host": "absent.test", "port": PLAIN}, {"host": "broken.test", "port": PLAIN}])
    status, body = world.get("/1")
    assert status == 503 and "name resolution failed" in body, (status, body)
    status, body = world.get("/2")
    assert status == 500 and "failed the initial dns/balancer resolve for 'broken.test' with:" in body, (status, body)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)) as client:
        for _ in range(3):                  # now they are known at once: the connection stays usable
            for path, want in (("/1", 503), ("/2", 500)):
                client.request("GET", path)
                reply = client.getresponse()
                assert (reply.status, bool(reply.read())) == (want, True)


def a_change_serves_from_the_next_request_on(world):
    for number in range(20):
        world.load([{"host": "127.0.0.1", "port": PLAIN, "path": f"/v{number}"}])
        assert world.echo("/1")["target"] == f"/v{number}"


def of_chance(rng, headers=True):
    """Services, routes and plugins, such that most requests have several routes to choose from. What `headers`
    decide is never remembered."""
    services = [{"id": ident(n), "host": "127.0.0.1", "port": PLAIN, "path": f"/s{n}"} for n in range(4)]
    routes = []
    for n in range(12):
        route = {"id": ident(100 + n), "service": ident(rng.randrange(4)), "strip_path": rng.random() < 0.5,
                 "protocols": rng.choice([["http"], ["https"], ["http", "https"]])}
        route["paths"] = rng.sample(["/", "/a", "/a/b", "/c", "~/[ac]/(?<x>b)"], rng.randrange(1, 4))
        if rng.random() < 0.5:
            route["hosts"] = rng.sample(["one.test", "two.test", "*.test", "one.*"], rng.randrange(1, 3))
        if rng.random() < 0.4:
            route["methods"] = rng.sample(["GET", "POST", "PURGE"], rng.randrange(1, 3))
        if headers and rng.random() < 0.3:
            route["headers"] = {"x-version": [rng.choice("12")]}
        if rng.random() < 0.3 and route["protocols"] == ["https"]:
            route["snis"] = ["one.test"]
        routes.append(route)
    plugins = [{"id": ident(200 + n), "name": "request-termination", "route": ident(100 + rng.randrange(12)),
                "config": {"status_code": 410 + n, "trigger": rng.choice(["x-version", "x-never"])}}
               for n in range(3)]
    return {"services": services, "routes": routes,
            "plugins": list({p["route"]: p for p in plugins}.values())}


def ask_of(port, request):
    """(status, target that the upstream saw) of one request."""
    tls, sni, method, path, host, version = request
    client = socket.create_connection(("127.0.0.1", port + tls), timeout=10)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = context.wrap_socket(client, server_hostname=sni)
    with client:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"X-Version: {version}"] if version else []
        client.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        reply = http.client.HTTPResponse(client, method=method)
        reply.begin()
        body = reply.read().decode("latin-1")
    return reply.status, json.loads(body)["target"] if reply.status == 200 else None


def what_is_remembered_is_what_a_fresh_look_finds(world):
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    requests = [(tls, rng.choice(["one.test", "two.test"]), method, path, host, version)
                for tls in (0, 1) for method in ("GET", "POST", "PURGE")
                for path in ("/", "/a", "/a/b", "/a//b", "/c?x=/a", "/%61/b")
                for host in ("one.test", "two.test:80", "three.other") for version in (None, "1", "2")]
    with world.other_node("cold", COLD, router_cache_size=0) as cold, \
            world.other_node("small", SMALL, router_cache_size=6) as small:
        answers = set()
        for turn in range(4):
            config = of_chance(rng)
            for node in (world.node, cold, small):
                code, said = node.load(config)
                assert code == 0 and not said, (seed, said)
            for request in rng.sample(requests, 40):
                fresh = ask_of(COLD, request)
                answers.add(fresh)
                for port in (PORT, PORT, SMALL):
                    got = ask_of(port, request)
                    assert got == fresh, (f"seed {seed} turn {turn}", request, got, fresh)
        assert len(answers) > 10, answers  # else nothing was told apart


def a_change_of_one_thing_is_seen_by_all_that_it_concerns(world):
    """What is not changed stays in the image as it is, and what is remembered of it stands."""
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    requests = [(0, None, rng.choice(["GET", "POST"]), rng.choice(["/", "/a", "/a/b", "/c"]), host, None)
                for host in ("one.test", "two.test:80", "three.other") for _ in range(4)]
    config, changed = of_chance(rng, False), 0
    with world.other_node("cold2", COLD, router_cache_size=0) as cold:
        before = None
        for turn in range(40):
            other, kind = of_chance(rng, False), rng.choice(["services", "routes", "plugins"])
            for row in rng.sample(other[kind], 1):
                rows = [r for r in config[kind] if r["id"] != row["id"] and r.get("route") != row.get("route", 0)]
                config[kind] = rows if kind != "services" and rng.random() < 0.3 else rows + [row]
            if kind == "services":
                config[kind][-1]["path"] = f"/turn{turn}"
            there = {route["id"] for route in config["routes"]}
            config["plugins"] = [p for p in config["plugins"] if p["route"] in there]
            for node in (world.node, cold):
                code, said = node.load(config)
                assert code == 0 and not said, (seed, said)
            fresh = [ask_of(COLD, request) for request in requests]
            got = [ask_of(PORT, request) for request in requests]
            assert got == fresh, (f"seed {seed} turn {turn} {kind}", requests, got, fresh)
            changed += fresh != before
            before = fresh
    assert changed > 5, changed


def upstreams_are_verified_by_each_service_alone(world):
    world.load([{"host": "up.test", "port": SECURE, "protocol": "https"},
                {"host": "up.test", "port": SECURE, "protocol": "https", "tls_verify": True,
                 "ca_certificates": [ident(50)]},
                {"host": "up.test", "port": SECURE, "protocol": "https", "tls_verify": True,
                 "ca_certificates": [ident(51)]},
                {"host": "localhost", "port": SECURE, "protocol": "https", "tls_verify": True,
                 "ca_certificates": [ident(50)]}],
               ca_certificates=[{"id": ident(50), "cert": world.good.pem}, {"id": ident(51), "cert": world.bad.pem}])
    for _ in range(3):                      # also on connections that are kept
        assert world.echo("/1")["sni"] == "up.test"
        assert world.echo("/2")["sni"] == "up.test"
        assert world.get("/3")[0] == 502    # another authority
        assert world.get("/4")[0] == 502    # another name
    first, second = world.echo("/1")["connection"], world.echo("/2")["connection"]
    assert first != second, "a connection that was not verified serves one that must be"
    assert world.echo("/1")["connection"] == first and world.echo("/2")["connection"] == second


def a_changed_authority_counts_at_once(world):
    service = {"host": "up.test", "port": SECURE, "protocol": "https", "tls_verify": True,
               "ca_certificates": [ident(50)]}
    for pem, status in ((world.good.pem, 200), (world.bad.pem, 502), (world.good.pem, 200)):
        world.load([service], ca_certificates=[{"id": ident(50), "cert": pem}])
        assert world.get("/1")[0] == status


def a_client_certificate_is_shown_by_the_service_that_has_it(world):
    leaf = world.good.issue("client.test")
    cert, key = (pathlib.Path(f"{leaf}.{kind}").read_text() for kind in ("crt", "key"))
    world.load([{"host": "up.test", "port": SECURE, "protocol": "https"},
                {"host": "up.test", "port": SECURE, "protocol": "https", "client_certificate": ident(60)}],
               certificates=[{"id": ident(60), "cert": cert, "key": key}])
    for _ in range(3):
        assert not world.echo("/1")["client"]
        assert world.echo("/2")["client"]


def connections_are_used_again(world):
    world.load([{"host": "127.0.0.1", "port": PLAIN}])
    assert len({world.echo("/1")["connection"] for _ in range(20)}) == 1


def idle_connections_end(world):
    with world.other_node("idle", COLD, upstream_keepalive_idle_timeout=1) as node:
        node.load({"services": [{"id": ident(1), "host": "127.0.0.1", "port": PLAIN}],
                   "routes": [{"id": ident(2), "paths": ["/"], "service": ident(1)}]})

        def used():
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", COLD, timeout=10)) as client:
                client.request("GET", "/")
                return json.loads(client.getresponse().read())["connection"]
        first = used()
        time.sleep(0.6)
        assert used() == first
        time.sleep(0.6)
        assert used() == first  # it was not idle for a second at any time
        time.sleep(1.6)
        assert used() != first


def names_of_one_address_do_not_share_tls_connections(world):
    route = {"preserve_host": True}
    world.load([{"host": "127.0.0.1", "port": SECURE, "protocol": "https"}], [route])
    names = ["a.test", "b.test"] * 3
    got = [(name, world.echo("/1", headers={"Host": name})) for name in names]
    assert all(reply["sni"] == name for name, reply in got)
    assert len({reply["connection"] for _, reply in got}) == 2


def raw(answers):
    """An upstream that gives the pieces of its answers as they are; its port, and how many connections it had."""
    listener = socket.create_server(("127.0.0.1", 0))
    count = [0]

    def serve(client):
        with client, contextlib.suppress(OSError):
            data = b""
            while True:
                piece = client.recv(65536)
                if not piece:
                    return
                data += piece
                while b"\r\n\r\n" in data:
                    head, data = data.split(b"\r\n\r\n", 1)
                    name = head.split(b" ")[1].decode().strip("/")
                    for n, part in enumerate(answers[name]):
                        time.sleep(0.05 if n else 0)
                        client.sendall(part)
                    if b"close" in answers[name][0]:
                        return

    def accept():
        while True:
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            count[0] += 1
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1], count


def answers_arrive_however_they_come(world):
    ok, body = b"HTTP/1.1 200 OK\r\n", b"0123456789" * 100
    answers = {
        "whole": ([ok + b"Content-Length: 1000\r\n\r\n" + body], body, True),
        "first": ([ok + b"Content-Length: 1000\r\n\r\n", body], body, True),
        "parts": ([ok + b"Content-Length: 1000\r\n\r\n" + body[:500], body[500:]], body, True),
        "empty": ([ok + b"Content-Length: 0\r\n\r\n"], b"", True),
        "large": ([ok + b"Content-Length: 100000\r\n\r\n" + body * 100], body * 100, True),
        "limit": ([ok + b"X-Pad: " + b"p" * 3000 + b"\r\nContent-Length: 1000\r\n\r\n" + body], body, True),
        "chunk": ([ok + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + body + b"\r\n0\r\n\r\n"], body, True),
        "close": ([ok + b"Connection: close\r\nContent-Length: 1000\r\n\r\n" + body], body, False),
        "ended": ([ok + b"Connection: close\r\n\r\n" + body], body, False),
        "waste": ([ok + b"Content-Length: 1000\r\n\r\n" + body + b"HTTP/1.1 666 no\r\n"], body, False),
        "fault": ([b"HTTP/1.1 404 no\r\nContent-Length: 1000\r\n\r\n" + body], body, True),
    }
    port, connections = raw({name: parts for name, (parts, _, _) in answers.items()})
    world.load([{"host": "127.0.0.1", "port": port}] * 2, [{}, {"response_buffering": False}])
    for path in ("/1", "/2"):
        for name, (_, want, kept) in answers.items():
            for turn in range(3):
                before = connections[0]
                status, got = world.get(f"{path}/{name}")
                assert status == (404 if name == "fault" else 200) and got == want.decode(), (path, name, status)
                if kept and turn:
                    assert connections[0] == before, f"{path}/{name}: the connection was not kept"
                if not kept and turn:
                    assert connections[0] > before, f"{path}/{name}: the connection was kept"


def forgetful():
    """An upstream that answers once on a connection and resets it when asked again; its port, and what it was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve(client):
        with client, contextlib.suppress(OSError):
            for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None):
                data = b""
                while b"\r\n\r\n" not in data:
                    piece = client.recv(65536)
                    if not piece:
                        return
                    data += piece
                asked.append((data.split(b" ", 1)[0].decode(), len(data)))
                if answer:
                    client.sendall(answer)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def accept():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1], asked


def a_kept_connection_that_dies_is_followed_by_another_one_if_the_method_allows(world):
    port, asked = forgetful()
    world.load([{"host": "127.0.0.1", "port": port}] * 3, [{}, {"request_buffering": False},
                                                          {"request_buffering": False, "response_buffering": False}])
    pad = {"X-Pad": "p" * 6000}
    for path in ("/1", "/2", "/3"):
        for method, second in (("GET", 200), ("DELETE", 200), ("POST", 502)):
            asked.clear()
            assert world.get(path)[0] == 200     # it is kept
            status, _ = world.get(path, method=method, headers=pad)
            assert status == second, (path, method, status)
            names, sizes = zip(*asked)
            assert names == ("GET",) + (method,) * (2 if second == 200 else 1), (path, names)
            assert len(set(sizes[1:])) == 1      # and said the same
            if second == 200:                    # now none is kept
                assert world.get(path, method="POST")[0] == 502


def a_head_and_an_answer_without_a_body_end_with_their_header(world):
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    none = b"HTTP/1.1 204 No Content\r\n\r\n"
    same = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"
    port, connections = raw({"head": [head], "none": [none], "same": [same]})
    world.load([{"host": "127.0.0.1", "port": port}])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)) as client:
        for method, name, status in [("HEAD", "head", 200), ("GET", "none", 204), ("GET", "same", 304)] * 3:
            client.request(method, f"/1/{name}")
            reply = client.getresponse()
            assert (reply.status, reply.read()) == (status, b"")
            assert reply.getheader("Content-Length") == (None if name == "none" else "1000")
    assert connections[0] == 1


def a_client_that_does_not_read_holds_no_upstream(world):
    """Answers wait for it in the gateway; the upstream's connection serves others, and none times out."""
    body = b"x" * 3000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + body
    port, connections = raw({"whole": [answer]})
    world.load([{"host": "127.0.0.1", "port": port, "read_timeout": 300}])
    count = 3000
    with socket.create_connection(("127.0.0.1", PORT), 10) as client:
        request = b"GET /1/whole HTTP/1.1\r\nHost: x\r\n\r\n"
        sender = threading.Thread(target=client.sendall, args=(request * count,), daemon=True)
        sender.start()
        time.sleep(1)                       # longer than the service may take
        assert connections[0] == 1
        assert world.get("/1/whole") == (200, body.decode())
        assert connections[0] == 1, "the waiting answer holds its upstream connection"
        data = b""
        while data.count(b"HTTP/1.1 200") < count or not data.endswith(body):
            piece = client.recv(1 << 20)
            assert piece, f"ended after {data.count(b'HTTP/1.1 200')} answers"
            data += piece
        sender.join(10)


def bodies_of_all_sizes_arrive(world):
    world.load([{"host": "127.0.0.1", "port": PLAIN}] * 2, [{}, {"request_buffering": False}])
    for size in (0, 1, 8191, 8192, 300_000):
        for path in ("/1", "/2"):
            assert world.echo(path, method="POST", body="x" * size)["body"] == "x" * size


def a_request_that_is_not_buffered_is_streamed(world):
    world.load([{"host": "127.0.0.1", "port": SLOW}],
               [{"request_buffering": False, "response_buffering": False}])
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        client.sendall(b"POST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        began, data = time.monotonic(), b""
        while b"first" not in data:
            piece = client.recv(4096)
            assert piece, data
            data += piece
        assert time.monotonic() - began < 0.6, "the first bytes waited for the rest"
        assert b"second" not in data
        client.sendall(b"67890")
        while b"second" not in data:
            piece = client.recv(4096)
            assert piece, data
            data += piece


def clients_that_go_away_leave_nothing_behind(world):
    world.load([{"host": "gone.test", "port": PLAIN}, {"host": "127.0.0.1", "port": SLOW}])
    for path in ("/1", "/2"):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", PORT), 5) as client:
                client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12".encode())
    world.load([{"host": "127.0.0.1", "port": PLAIN}])
    assert world.echo("/1")["target"] == "/"


def the_path_of_the_error_page_is_routed_like_any_other(world):
    world.load([{"host": "127.0.0.1", "port": PLAIN}], [{"paths": ["/weir_error"], "strip_path": False}])
    assert world.echo("/weir_error")["target"] == "/weir_error"
    world.load([{"host": "127.0.0.1", "port": PLAIN}])
    status, body = world.get("/weir_error")
    assert status == 404 and "no Route matched" in body, (status, body)


def main():
    tests = [value for name, value in globals().items()
             if callable(value) and getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("world",)]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        try:
            for test in tests:
                try:
                    test(world)
                    print("ok  ", test.__name__.replace("_", " "))
                except Exception as error:  # a test that cannot go on has failed
                    failed += 1
                    print("FAIL", test.__name__.replace("_", " "), repr(error)[:500])
        finally:
            world.node.stop()
        log = (world.node.prefix / "logs/error.log").read_text()
        bad = [line for line in log.splitlines() if any(m in line for m in BAD)]
        print("\n".join(bad))
    print(f"{len(tests) - failed} passed, {failed + len(bad)} failed")
    return 1 if failed or bad else 0


if __name__ == "__main__":
    sys.exit(main())
