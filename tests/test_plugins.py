"""Plugins on a running data plane: what neither recordings nor the fake request of their unit tests can show."""

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
