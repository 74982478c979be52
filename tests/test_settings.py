"""Settings by file and by environment, under both names."""

import pytest
from weir import http


@pytest.mark.parametrize("prefix", ["WEIR_", "KONG_"])
def test_the_environment_wins_over_the_file_under_both_names(nodes, prefix):
    node = nodes.control(start=False, log_level="warn", cluster_data_plane_purge_delay="7200")
    node.environment[prefix + "LOG_LEVEL"] = "debug"
    node.bootstrap().start()
    configuration = node.admin.read("/")["configuration"]
    assert configuration["log_level"] == "debug"
    assert configuration["cluster_data_plane_purge_delay"] == 7200


def test_our_own_name_wins_over_the_alias(nodes):
    node = nodes.control(start=False)
    node.environment.update(WEIR_LOG_LEVEL="notice", KONG_LOG_LEVEL="debug")
    node.bootstrap().start()
    assert node.admin.read("/")["configuration"]["log_level"] == "notice"


def test_a_whole_node_can_be_set_by_the_aliases(nodes):
    """No file at all: everything as KONG_*, as containers do."""
    node = nodes.control(start=False)
    node.environment.update({"KONG_" + k.upper(): v for k, v in node.settings.items()})
    node.command("migrations", "bootstrap", "-p", node.prefix)
    done = node.command("start", "-p", node.prefix)
    node.remember()
    assert done.returncode == 0, done.stderr
    node.wait_listening()
    assert node.admin.read("/")["configuration"]["role"] == "control_plane"


def test_secrets_are_not_shown(control_plane):
    text = control_plane.admin.get("/").text
    assert "cluster_cert_key" not in text or control_plane.pair[1] not in text
    assert "PRIVATE KEY" not in text


def test_the_node_tells_the_version_it_claims(nodes):
    node = nodes.control(cluster_compat_version="3.10.0")
    assert node.admin.read("/")["version"] == "3.10.0"
    assert node.admin.get("/").headers["server"] == "kong/3.10.0"


def test_several_listeners(nodes):
    from weir import ports

    extra = ports.free()
    node = nodes.control(start=False)
    node.settings["admin_listen"] += f", 127.0.0.1:{extra} ssl"
    node.bootstrap().start()
    assert http.once(("127.0.0.1", extra), "/status", tls=http.no_check()).status == 200
    assert node.admin.get("/status").status == 200
