"""What a data plane does with requests: routes, paths, hosts, time limits, TLS, HTTP/2, plugins."""

import socket
import threading
import time

import pytest
from weir import certs, http, ports


@pytest.mark.sanitized
def test_strip_path_takes_the_matched_part_away_or_leaves_it(cluster):
    service = cluster.service(path="/base")
    _, stripped = cluster.route(service)
    _, kept = cluster.route(service, strip_path=False)
    assert cluster.served(stripped + "/x?q=1").json["path"] == "/base/x?q=1"
    assert cluster.served(kept + "/x").json["path"] == f"/base{kept}/x"


def headers_of(reply):
    return {name.lower(): value for name, value in reply.json["headers"]}


def test_preserve_host_sends_the_host_of_the_client(cluster):
    _, path = cluster.route(preserve_host=True)
    _, other = cluster.route()
    asked = {"Host": "client.example"}
    assert headers_of(cluster.served(path, headers=asked))["host"] == "client.example"
    own = headers_of(cluster.served(other, headers=asked))["host"]
    assert own.startswith("127.0.0.1")


def test_a_route_may_want_host_method_and_header(cluster):
    route, path = cluster.route(hosts=["want.example"], methods=["POST"], headers={"x-k": ["v"]})
    good = {"Host": "want.example", "X-K": "v"}
    cluster.served(path, headers=good, method="POST")
    assert cluster.data.get(path, headers=good).status == 404
    assert cluster.data.get(path, headers={"Host": "want.example"}, method="POST").status == 404
    assert cluster.data.get(path, headers={"Host": "o.example", "X-K": "v"}, method="POST").status == 404
    assert route["hosts"] == ["want.example"]


def test_a_regex_and_a_longer_prefix_win(cluster):
    short, path = cluster.route()
    one, two, three = (cluster.service(path=f"/{n}") for n in ("short", "long", "regex"))
    cluster.admin.patch(f"/routes/{short['id']}", service={"id": one["id"]})
    cluster.admin.post("/routes", paths=[path + "/long"], service={"id": two["id"]})
    cluster.admin.post("/routes", paths=[f"~{path}/[0-9]+$"], service={"id": three["id"]})
    cluster.served(path + "/12", lambda r: r.status == 200 and r.json["path"].startswith("/regex"))
    assert cluster.data.get(path + "/long/a").json["path"] == "/long/a"
    assert cluster.data.get(path + "/other").json["path"] == "/short/other"


def test_the_upstream_hears_who_asked(cluster):
    _, path = cluster.route()
    seen = headers_of(cluster.served(path + "/y", headers={"Host": "who.example"}))
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-host"] == "who.example"
    assert seen["x-forwarded-port"] == str(cluster.data.proxy_address[1])
    assert seen["x-forwarded-path"] == path + "/y" and seen["x-forwarded-prefix"] == path


def test_a_body_reaches_the_upstream(cluster):
    _, path = cluster.route()
    cluster.served(path)
    body = "x" * 200000
    reply = cluster.data.get(path, method="POST", body=body)
    assert reply.status == 200 and reply.json["body"] == body


def test_a_slow_upstream_is_a_504_after_the_read_timeout(cluster):
    service = cluster.service(read_timeout=200, retries=0)
    _, path = cluster.route(service)
    cluster.served(path)
    start = time.monotonic()
    assert cluster.data.get(path + "/delay/2").status == 504
    assert 0.15 < time.monotonic() - start < 1.5


def test_nobody_listening_is_a_502(cluster):
    service = cluster.service(url=f"http://127.0.0.1:{ports.free()}")
    _, path = cluster.route(service)
    cluster.served(path, 502)


def test_no_target_is_a_503(cluster):
    name = cluster.name("upstream")
    cluster.admin.post("/upstreams", name=name)
    _, path = cluster.route(cluster.service(url=None, host=name))
    cluster.served(path, 503)


def test_a_request_is_tried_again_when_no_answer_came(cluster):
    """Two ports, one dead: with retries each request finds the other."""
    name = cluster.name("upstream")
    cluster.admin.post("/upstreams", name=name)
    for port in (ports.free(), cluster.upstream.port):
        cluster.admin.post(f"/upstreams/{name}/targets", target=f"127.0.0.1:{port}")
    _, path = cluster.route(cluster.service(url=None, host=name, retries=5))
    cluster.served(path)
    assert {cluster.data.get(path).status for _ in range(20)} == {200}


def test_without_retries_a_dead_target_is_seen(cluster):
    name = cluster.name("upstream")
    cluster.admin.post("/upstreams", name=name)
    for port in (ports.free(), cluster.upstream.port):
        cluster.admin.post(f"/upstreams/{name}/targets", target=f"127.0.0.1:{port}")
    _, path = cluster.route(cluster.service(url=None, host=name, retries=0))
    cluster.served(path)
    assert {cluster.data.get(path).status for _ in range(20)} == {200, 502}


def test_https_only_answers_426_to_plain_http(cluster):
    _, path = cluster.route(protocols=["https"])
    reply = cluster.served(path, 426)
    assert reply.json["message"] == "Please use HTTPS protocol"
    assert reply.headers["upgrade"] == "TLS/1.2, HTTP/1.1"
    assert http.once(cluster.data.tls_address, path, tls=http.no_check()).status == 200


def test_https_only_may_redirect(cluster):
    _, path = cluster.route(protocols=["https"], https_redirect_status_code=301)
    reply = cluster.served(path, 301, headers={"Host": "move.example"})
    assert reply.headers["location"] == f"https://move.example{path}"


def test_tls_shows_the_certificate_of_the_server_name(cluster, tmp_path):
    crt, key = certs.self_signed(tmp_path, "site", subject="site.example")
    made = cluster.admin.post("/certificates", cert=open(crt).read(), key=open(key).read(),
                              snis=["site.example", "*.wild.example"])
    import ssl

    wanted = ssl.PEM_cert_to_DER_cert(open(crt).read())
    deadline = time.monotonic() + 5
    while http.peer_certificate(cluster.data.tls_address, "site.example") != wanted:
        assert time.monotonic() < deadline, "the certificate is not shown"
        time.sleep(0.02)
    assert http.peer_certificate(cluster.data.tls_address, "a.wild.example") == wanted
    assert http.peer_certificate(cluster.data.tls_address, "other.example") != wanted
    cluster.admin.delete(f"/snis/site.example")
    deadline = time.monotonic() + 5
    while http.peer_certificate(cluster.data.tls_address, "site.example") == wanted:
        assert time.monotonic() < deadline, "the certificate is still shown"
        time.sleep(0.02)
    assert made["snis"]


def test_http2_over_tls(cluster):
    _, path = cluster.route()
    cluster.served(path)
    protocol, status, body = http.http2_get(cluster.data.tls_address, path + "/h2", "h2.example")
    assert (protocol, status) == ("h2", 200) and b'"/h2"' in body
    assert http.http2_get(cluster.data.tls_address, "/nowhere-at-all", "h2.example")[1] == 404


def test_key_auth_lets_in_who_has_a_key(cluster):
    route, path = cluster.route()
    cluster.admin.post(f"/routes/{route['id']}/plugins", name="key-auth",
                       config={"key_names": ["apikey"], "hide_credentials": True})
    refused = cluster.served(path, 401)
    assert refused.json["message"] == "No API key found in request"
    assert "www-authenticate" in refused.headers
    name = cluster.name("anna")
    consumer = cluster.admin.post("/consumers", username=name, custom_id=name + "-id")
    cluster.admin.post(f"/consumers/{name}/key-auth", key=name + "-key")
    seen = headers_of(cluster.served(path, headers={"apikey": name + "-key"}))
    assert seen["x-consumer-id"] == consumer["id"] and seen["x-consumer-username"] == name
    assert seen["x-consumer-custom-id"] == name + "-id" and "apikey" not in seen
    assert headers_of(cluster.data.get(path + f"?apikey={name}-key"))["x-consumer-username"] == name
    assert cluster.data.get(path, headers={"apikey": "wrong"}).status == 401


def test_what_a_client_says_of_itself_is_not_believed(cluster):
    route, path = cluster.route()
    cluster.admin.post(f"/routes/{route['id']}/plugins", name="key-auth")
    cluster.served(path, 401)
    name = cluster.name("bert")
    cluster.admin.post("/consumers", username=name)
    cluster.admin.post(f"/consumers/{name}/key-auth", key=name + "-key")
    claimed = {"apikey": name + "-key", "X-Consumer-Username": "root", "X-Anonymous-Consumer": "true"}
    seen = headers_of(cluster.served(path, headers=claimed))
    assert seen["x-consumer-username"] == name and "x-anonymous-consumer" not in seen


def test_request_termination_answers_instead_of_the_upstream(cluster):
    route, path = cluster.route()
    cluster.served(path)
    plugin = cluster.admin.post(f"/routes/{route['id']}/plugins", name="request-termination",
                                config={"status_code": 418, "message": "teapot"})
    before = cluster.upstream.requests
    assert cluster.served(path, 418).json == {"message": "teapot"}
    count = cluster.upstream.requests
    assert cluster.data.get(path).status == 418 and cluster.upstream.requests == count >= before
    cluster.admin.patch(f"/plugins/{plugin['id']}", enabled=False)
    cluster.served(path)


def test_the_plugin_nearest_to_the_route_wins(cluster):
    service = cluster.service()
    route, path = cluster.route(service)
    _, sibling = cluster.route(service)
    cluster.admin.post(f"/services/{service['id']}/plugins", name="request-termination",
                       config={"status_code": 451})
    cluster.admin.post(f"/routes/{route['id']}/plugins", name="request-termination",
                       config={"status_code": 418})
    cluster.served(path, 418)
    cluster.served(sibling, 451)


def test_a_correlation_id_goes_to_the_upstream_and_back(cluster):
    route, path = cluster.route()
    cluster.admin.post(f"/routes/{route['id']}/plugins", name="key-auth")
    cluster.admin.post(f"/routes/{route['id']}/plugins", name="correlation-id",
                       config={"header_name": "X-Id", "echo_downstream": True})
    name = cluster.name("cora")
    cluster.admin.post("/consumers", username=name)
    cluster.admin.post(f"/consumers/{name}/key-auth", key=name + "-key")
    # Never met: it comes before the plugin that says who it is.
    cluster.admin.post(f"/consumers/{name}/plugins", name="correlation-id",
                       config={"header_name": "X-Of-Consumer", "echo_downstream": True})
    cluster.served(path, 401)
    reply = cluster.served(path, headers={"apikey": name + "-key"})
    made = reply.headers["x-id"]
    assert "#" in made and headers_of(reply)["x-id"] == made
    assert "x-of-consumer" not in reply.headers and "x-of-consumer" not in headers_of(reply)
    kept = cluster.data.get(path, headers={"apikey": name + "-key", "x-id": "mine"})
    assert kept.headers["x-id"] == headers_of(kept)["x-id"] == "mine"
    refused = cluster.data.get(path)
    assert refused.status == 401 and "#" in refused.headers["x-id"]
    assert cluster.data.get(path, headers={"x-id": "mine"}).headers["x-id"] == "mine"


def test_answers_say_how_long_it_took_and_by_whom(cluster):
    _, path = cluster.route()
    reply = cluster.served(path)
    assert int(reply.headers["x-kong-proxy-latency"]) >= 0
    assert int(reply.headers["x-kong-upstream-latency"]) >= 0
    assert reply.headers["via"] == "1.1 kong/3.9.1"
    own = cluster.data.get("/nowhere-at-all")
    assert own.headers["server"] == "kong/3.9.1" and "x-kong-request-id" in own.headers


def test_an_upgraded_connection_carries_bytes_both_ways(cluster):
    listener = socket.create_server(("127.0.0.1", ports.free()))

    def echo(sock):
        head = b""
        while b"\r\n\r\n" not in head and (more := sock.recv(4096)):
            head += more
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     b"Connection: Upgrade\r\n\r\n")
        while data := sock.recv(4096):
            sock.sendall(data.upper())
        sock.close()

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(sock,), daemon=True).start()

    def upgrade(path):
        sock = socket.create_connection(cluster.data.proxy_address, 5)
        sock.settimeout(5)
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\n\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += sock.recv(4096)
        return sock, got

    threading.Thread(target=serve, daemon=True).start()
    service = cluster.service(url=f"http://127.0.0.1:{listener.getsockname()[1]}")
    _, path = cluster.route(service)
    end = time.monotonic() + 10
    sock, got = upgrade(path)
    while not got.startswith(b"HTTP/1.1 101") and time.monotonic() < end:
        sock.close()
        time.sleep(0.05)
        sock, got = upgrade(path)
    with sock:
        assert got.startswith(b"HTTP/1.1 101")
        sock.sendall(b"hello")
        assert sock.recv(100) == b"HELLO"
    listener.close()


def test_upstream_connections_are_reused(cluster):
    _, path = cluster.route()
    cluster.served(path)
    client = http.Client(cluster.data.proxy_address)
    before = cluster.upstream.connections
    for _ in range(50):
        assert client.get(path).status == 200
    assert cluster.upstream.connections - before <= 4
