"""The weir command: what it does, what it returns, what it says."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
from weir import certs, http, ports
from weir.node import ControlNode, alive, built, run, wait_until

pytestmark = pytest.mark.skipif(not built(), reason="no binaries: build first, or set WEIR_BUILD")


@pytest.fixture
def control(nodes):
    return nodes.control()


def test_help_names_the_commands():
    done = run("--help")
    assert done.returncode == 0
    for command in ("start", "stop", "quit", "restart", "reload", "health", "version", "check",
                    "prepare", "migrations", "hybrid", "sync"):
        assert re.search(rf"^\s*{command}\b", done.stdout, re.M), command


@pytest.mark.parametrize("command", ["start", "stop", "quit", "restart", "reload", "health", "version",
                                     "check", "prepare", "migrations", "hybrid"])
def test_every_command_has_a_help_of_its_own(command):
    done = run(command, "--help")
    assert done.returncode == 0 and command in done.stdout


@pytest.mark.parametrize("arguments", [["dance"], ["start", "--no-such-option"], ["check"], []])
def test_what_is_not_understood_is_refused_with_a_word(arguments):
    done = run(*arguments)
    if arguments:
        assert done.returncode != 0
    assert done.stdout + done.stderr


def test_version_is_one_line():
    done = run("version")
    assert done.returncode == 0 and re.fullmatch(r".*\d+\.\d+\.\d+.*\n", done.stdout)


def test_check_says_whether_a_file_is_good(tmp_path):
    good, bad = tmp_path / "good.conf", tmp_path / "bad.conf"
    good.write_text("log_level = info  # a comment\n# another\n\nadmin_listen = 127.0.0.1:27999\n")
    assert run("check", good).returncode == 0
    bad.write_text("log_level = noisy\n")
    done = run("check", bad)
    assert done.returncode != 0 and "log_level" in done.stdout + done.stderr
    done = run("check", tmp_path / "none.conf")
    assert done.returncode != 0 and "none.conf" in done.stdout + done.stderr


def test_an_unknown_setting_is_refused_by_name(nodes):
    node = nodes.control(start=False, no_such_setting="1")
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and "no_such_setting" in done.stdout + done.stderr
    assert node.pids() == {}


def test_an_unknown_setting_in_the_environment_is_refused_by_name(nodes):
    node = nodes.control(start=False)
    node.environment["WEIR_NO_SUCH_THING"] = "1"
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and "no_such_thing" in (done.stdout + done.stderr).lower()


@pytest.mark.parametrize("name,value", [
    ("log_level", "noisy"), ("admin_listen", "nowhere"), ("cluster_listen", "off"), ("role", "king"),
    ("cluster_mtls", "maybe"), ("cluster_cert", "/no/such/file"), ("cluster_max_payload", "12"),
])
def test_a_bad_value_is_refused_by_name(nodes, name, value):
    node = nodes.control(start=False)
    node.settings[name] = value
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and name in done.stdout + done.stderr


def test_start_without_migrations_says_what_to_do(nodes):
    node = nodes.control(start=False)
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and "migrations" in done.stdout + done.stderr


def test_bootstrap_twice_does_no_harm(nodes):
    node = nodes.control(start=False).bootstrap()
    assert node.weir("migrations", "bootstrap", fail=False).returncode == 0
    node.start()


@pytest.mark.sanitized
def test_start_health_stop(control):
    assert control.by_prefix("health").returncode == 0
    pids = control.all_pids()
    assert len(pids) >= 3
    again = control.weir("start", fail=False)
    assert again.returncode != 0 and "running" in again.stdout + again.stderr
    assert control.all_pids() == pids
    assert control.stop().returncode == 0
    assert not any(alive(pid) for pid in pids)
    assert control.by_prefix("health", fail=False).returncode != 0
    assert control.by_prefix("stop", fail=False).returncode != 0


@pytest.mark.parametrize("given, wanted", [(None, "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=4"),
                                           ("glibc.malloc.perturb=1",) * 2])
def test_heaps_are_few_and_may_have_huge_pages_unless_the_operator_says_otherwise(nodes, given, wanted):
    data = nodes.data(("127.0.0.1", 1), start=False)
    data.environment = {"GLIBC_TUNABLES": given} if given else {}
    data.start()
    # nginx writes its title over its environment; every process is started in the same way. glibc reads them in
    # place, and leaves an end where a colon was.
    environment = Path(f"/proc/{data.pids()['agent']}/environ").read_bytes()
    assert f"\0GLIBC_TUNABLES={wanted}\0".replace(":", "\0").encode() in b"\0" + environment


def test_quit_lets_requests_end(cluster):
    service = cluster.service()
    _, path = cluster.route(service)
    cluster.served(path)
    import threading

    results = []
    thread = threading.Thread(target=lambda: results.append(cluster.data.get(path + "/delay/1")))
    thread.start()
    wait_until(lambda: cluster.upstream.requests > 0, what="the request at the upstream")
    import time

    time.sleep(0.3)
    pids = cluster.data.all_pids()
    assert cluster.data.by_prefix("quit", timeout=30).returncode == 0
    thread.join(10)
    assert results[0].status == 200
    wait_until(lambda: not any(alive(pid) for pid in pids), 10, "the end of its processes")
    cluster.data.start()
    cluster.served(path)


def test_restart_changes_every_process(control):
    before = set(control.all_pids())
    control.restart()
    assert not before & set(control.all_pids())
    assert control.admin.get("/status").status == 200


def test_reload_takes_new_settings_and_drops_nobody(control):
    master = control.pid("nginx")
    extra = ports.free()
    control.settings["admin_listen"] += f", 127.0.0.1:{extra}"
    control.weir("reload")
    http.poll(("127.0.0.1", extra), "/status", 200, 10)
    assert control.pid("nginx") == master
    control.remember()


def test_prepare_writes_what_start_needs_and_starts_nothing(nodes):
    node = nodes.control(start=False)
    node.weir("prepare")
    assert (node.prefix / "nginx.conf").exists() and (node.prefix / "weir.settings").exists()
    assert node.pids() == {}
    mode = (node.prefix / "weir.settings").stat().st_mode & 0o777
    assert mode & 0o007 == 0, f"weir.settings is readable for all: {mode:o}"


def test_two_nodes_side_by_side(nodes):
    one, two = nodes.control("one"), nodes.control("two")
    one.admin.post("/services", name="only-here", host="a.example")
    assert two.admin.get("/services/only-here").status == 404
    one.stop()
    assert two.admin.get("/status").status == 200
    assert two.by_prefix("health").returncode == 0


def test_gen_cert_makes_a_pair_that_works(nodes, tmp_path):
    crt, key = tmp_path / "cluster.crt", tmp_path / "cluster.key"
    done = run("hybrid", "gen_cert", crt, key)
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(["openssl", "x509", "-in", crt, "-noout", "-text"], capture_output=True,
                           text=True, check=True).stdout
    assert re.search(r"Subject:.*CN\s*=\s*kong_clustering", shown) and "secp384r1" in shown
    assert "Subject Alternative Name" not in shown
    assert key.stat().st_mode & 0o077 == 0
    control = nodes.control(pair=(str(crt), str(key)))
    data = nodes.data(control.cluster_address, pair=(str(crt), str(key)))
    data.wait_ready()
    again = run("hybrid", "gen_cert", crt, key)
    assert again.returncode != 0 and "exist" in again.stdout + again.stderr


def test_a_killed_supervisor_is_started_again_over_its_living_children(control):
    nginx = control.pid("nginx")
    control.kill("supervisor")
    wait_until(lambda: control.pid("supervisor") is None, what="its death")
    assert control.admin.get("/status").status == 200
    control.weir("start")
    control.wait_listening()
    assert control.pid("supervisor") and control.pid("nginx") == nginx
    control.stop()
    assert not alive(nginx)


@pytest.mark.parametrize("piece", ["nginx", "worker"])
def test_what_dies_is_started_again(control, piece):
    before = control.workers() if piece == "worker" else [control.pid(piece)]
    control.kill(piece)
    wait_until(lambda: control.workers() and not set(before) & set(
        control.workers() + [control.pid("nginx")]), 10, f"a new {piece}")
    control.wait_listening()
    control.remember()


def test_an_agent_that_dies_is_started_again(cluster):
    before = cluster.data.pid("agent")
    cluster.data.kill("agent")
    wait_until(lambda: cluster.data.pid("agent") not in (None, before), 10, "a new agent")
    _, path = cluster.route()
    cluster.served(path, timeout=20)


def test_a_port_that_is_taken_is_an_error(nodes, pair):
    taken = socket.create_server(("127.0.0.1", ports.free()))
    node = nodes.control(start=False)
    node.settings["admin_listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
    node.bootstrap()
    done = node.weir("start", fail=False)
    node.remember()
    assert done.returncode != 0, "it claims to have started"
    assert str(taken.getsockname()[1]) in done.stdout + done.stderr + node.log()
    wait_until(lambda: node.pids() == {}, 10, "no process left")


def test_a_port_that_is_given_back_is_waited_for(nodes):
    """As after kill -9: the last thread of a process that is dead may still be in a write to the disk."""
    node = nodes.control(start=False).bootstrap()
    address, port = node.admin_address
    taken = socket.create_server((address, port))
    late = threading.Timer(0.7, taken.close)
    late.start()
    try:
        assert node.weir("start").returncode == 0
        node.remember()
        assert node.admin.get("/status").status == 200
    finally:
        late.join()


def test_sigterm_of_the_supervisor_ends_the_node(control):
    pids = control.all_pids()
    os.kill(control.pid("supervisor"), signal.SIGTERM)
    wait_until(lambda: not any(alive(pid) for pid in pids), 15, "the end of all its processes")


def test_sync_status_tells_version_and_connection(cluster):
    _, path = cluster.route()
    cluster.served(path)
    text = cluster.data.sync_status().lower()
    assert "version" in text and "quarantine" in text


def test_sync_verify_proves_a_control_plane_that_runs(control):
    for n in range(20):
        control.admin.post("/services", name=f"s{n}", host="h")
    done = control.by_prefix("sync", "verify")
    assert done.returncode == 0, done.stderr
    assert re.search(r"22 entities, digest [0-9a-f]{32}, equal\n$", done.stdout)
    assert not done.stderr  # progress is for terminals


def test_sync_verify_names_what_differs(control):
    control.admin.post("/services", id="abcdef00-0000-4000-8000-000000000000", host="h")
    database = sqlite3.connect(control.prefix / "weir.db")
    with database:
        database.execute("UPDATE entity SET document = document || ' ' WHERE hex(id) LIKE 'ABC%'")
    database.close()
    done = control.by_prefix("sync", "verify", fail=False)
    assert done.returncode == 1
    assert "different" in done.stdout and "1 of 4096 buckets differ" in done.stdout
    assert "begin with abc" in done.stdout


def test_sync_verify_proves_the_image_of_a_data_plane_that_runs(cluster):
    _, path = cluster.route()
    cluster.served(path)
    done = cluster.data.by_prefix("sync", "verify", fail=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.fullmatch(r"image: version \d+, [1-9]\d* entities, (digest [0-9a-f]{32}, equal|no digest.*)\n",
                        done.stdout)


def test_a_database_is_not_migrated_under_a_running_node(control):
    def add_to_done(number):
        database = sqlite3.connect(control.prefix / "weir.db")
        with database:
            database.execute("UPDATE meta SET value = value + ? WHERE name = 'migrations'", (number,))
        database.close()

    assert control.by_prefix("migrations", "up").returncode == 0  # nothing to do
    add_to_done(-1)
    done = control.by_prefix("migrations", "up", fail=False)
    assert done.returncode == 1 and "the node is running" in done.stderr
    add_to_done(1)


def test_sync_verify_without_a_database_says_so(tmp_path):
    done = run("sync", "verify", "-p", tmp_path)
    assert done.returncode == 1 and "weir migrations bootstrap" in done.stderr
    assert run("sync", "verify", "more", "-p", tmp_path).returncode == 2


def test_sync_status_never_knows_less_than_the_image(cluster):
    """The agent's report is a moment older than the image: seen as "version 5, newest 4, behind by 1"."""
    _, path = cluster.route()
    cluster.served(path)
    agent = cluster.data.pid("agent")
    os.kill(agent, signal.SIGSTOP)
    try:
        report = cluster.data.prefix / "agent.json"
        said = json.loads(report.read_text())
        report.write_text(json.dumps({**said, "version": 0, "newest": 1, "lag": 1}))
        lines = dict(line.rsplit(None, 1) for line in cluster.data.sync_status().splitlines() if line.strip())
        assert int(lines["version"]) >= 2
        assert lines["newest version"] == lines["version"] and lines["behind by"] == "0"
        report.write_text(json.dumps({**said, "newest": 1000}))
        lines = dict(line.rsplit(None, 1) for line in cluster.data.sync_status().splitlines() if line.strip())
        assert int(lines["behind by"]) == 1000 - int(lines["version"])
    finally:
        os.kill(agent, signal.SIGCONT)


def test_a_data_plane_refuses_what_is_for_control_planes(nodes, tmp_path):
    pair = certs.self_signed(tmp_path, "x")
    node = ControlNode(tmp_path / "n", pair)
    node.settings.update(role="data_plane", database="sqlite", proxy_listen="127.0.0.1:27998")
    done = node.weir("start", fail=False)
    assert done.returncode != 0 and "database" in done.stdout + done.stderr
