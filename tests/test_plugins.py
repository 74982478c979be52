"""Plugins on a running data plane: what neither recordings nor the fake request of their unit tests can show."""

import socket

import pytest
from weir import http
from weir.node import wait_until


@pytest.fixture(scope="module")
def planes(module_nodes):
    """A data plane that believes its clients what their address is."""
    control = module_nodes.control()
    control.admin.post("/services", name="s", url=module_nodes.upstream().url)
    data = module_nodes.data(control.cluster_address, trusted_ips="127.0.0.0/8",
                             real_ip_header="X-Forwarded-For").wait_ready()
    wait_until(lambda: len(control.data_planes()) == 1, what="the data plane")
    return control, data


def confirmed(control, method, path, body=None):
    """A write that all data planes have when this returns."""
    reply = control.admin.request(method, path + "?wait_for=all", body)
    assert reply.status in (200, 201, 204), reply.text
    return reply.json if reply.text else None


def route(control, name, plugin, **config):
    """A route of that name with a plugin, whose id it returns."""
    confirmed(control, "PUT", f"/services/s/routes/{name}", {"paths": [f"/{name}"]})
    return confirmed(control, "POST", f"/routes/{name}/plugins", {"name": plugin, "config": config})["id"]


# -- ip-restriction -------------------------------------------------------------------------------


def test_ip_restriction_believes_who_is_trusted_and_follows_each_change(planes):
    control, data = planes
    plugin = route(control, "ip", "ip-restriction", deny=["10.0.0.0/8", "2001:db8::/32"])
    client = http.Client(data.proxy_address)

    def ask(address):
        return client.get("/ip", headers={"X-Forwarded-For": address})

    assert [ask(address).status for address in ("10.0.0.1", "11.0.0.1", "2001:db8::9", "::1")] == [403, 200, 403, 200]
    assert ask("2001:db8::9").json["message"] == "IP address not allowed: 2001:db8::9"
    for n in range(20):
        confirmed(control, "PATCH", f"/plugins/{plugin}", {"config": {"deny": [f"11.0.0.{n}"]}})
        assert ask(f"11.0.0.{n}").status == 403
        assert ask(f"11.0.0.{n - 1 if n else 255}").status == 200
    client.close()


# -- request-size-limiting ------------------------------------------------------------------------


def chunked(data, path, size):
    """The status of a POST of so many bytes, in chunks, without a length."""
    with socket.create_connection(data.proxy_address, timeout=20) as conn:
        conn.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                     "Transfer-Encoding: chunked\r\n\r\n".encode())
        for at in range(0, size, 65536):
            piece = b"x" * min(65536, size - at)
            conn.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        conn.sendall(b"0\r\n\r\n")
        return int(conn.makefile("rb").readline().split()[1])


def test_bodies_without_a_length_are_measured_in_memory_and_in_a_file(planes):
    control, data = planes
    plugin = route(control, "size", "request-size-limiting", allowed_payload_size=1)
    assert [chunked(data, "/size", size) for size in (0, 1, 8000, 2**20, 2**20 + 1, 2**22)] == [
        200, 200, 200, 200, 413, 413]
    confirmed(control, "PATCH", f"/plugins/{plugin}",
              {"config": {"allowed_payload_size": 8000, "size_unit": "bytes"}})
    assert [chunked(data, "/size", size) for size in (8000, 8001)] == [200, 413]


def test_who_says_that_a_body_is_too_long_is_refused_before_it_is_sent(planes):
    control, data = planes
    route(control, "said", "request-size-limiting", allowed_payload_size=10, size_unit="bytes")
    with socket.create_connection(data.proxy_address, timeout=10) as conn:
        conn.sendall(b"POST /said HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        reader = conn.makefile("rb")
        head = b"".join(iter(reader.readline, b"\r\n"))
    assert head.startswith(b"HTTP/1.1 417 ")
    assert b"\r\nConnection: close\r\n" in head  # whether a body or a request follows is not known any more
