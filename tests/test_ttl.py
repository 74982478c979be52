"""What has a time to live ends at that time on every data plane, with a control plane or without, and both planes hold
the same afterwards."""

import re
import time

import pytest
from weir.node import wait_until

TTL = 6  # seconds: long enough to stop a control plane within


def with_key(key):
    return {"headers": {"apikey": key}}


@pytest.fixture
def guarded(nodes):
    """A route with key-auth, a key for ever; the planes are equal."""
    upstream = nodes.upstream()
    control = nodes.control()
    data = nodes.data(control.cluster_address)
    admin = control.admin
    service = admin.post("/services", name="s", url=upstream.url)
    admin.post("/routes", name="r", paths=["/r"], service={"id": service["id"]})
    admin.post("/routes/r/plugins", name="key-auth")
    admin.post("/consumers", username="anna")
    admin.post("/consumers/anna/key-auth", key="for-ever")
    data.poll("/r", 200, **with_key("for-ever"))
    return control, data


def short_key(control, data, key="short"):
    """A key that ends: the time before which it does not."""
    not_before = int(time.time()) + TTL  # whole seconds, as the incumbent counts them
    made = control.admin.post("/consumers/anna/key-auth", key=key, ttl=TTL)
    assert made["ttl"] in (TTL - 1, TTL)
    data.poll("/r", 200, **with_key(key))
    return not_before


def equal(control, data):
    """Until digests say so; then everything computed anew says it, too."""
    def same():
        rows = [row for row in control.data_planes().values() if row["connected"]]
        return bool(rows) and all(row["lag"] == 0 and row["digest_equal"] for row in rows)
    wait_until(same, 30, "equal digests")
    # Of the same version: a deletion may come between the two.
    def proved():
        found = [node.by_prefix("sync", "verify", fail=False) for node in (control, data)]
        assert all(done.returncode == 0 for done in found), [done.stdout for done in found]
        what = [done.stdout.splitlines()[0].split(":", 1)[1] for done in found]
        return what[0] == what[1]
    wait_until(proved, 30, "one version, one number of entities, one digest", every=0.5)


def keys_of(control):
    return sorted(row["key"] for row in control.admin.list("/key-auths"))


def entities(node):
    """How many documents it has, of those that ended too until they are deleted."""
    text = node.by_prefix("sync", "verify").stdout
    return int(re.search(r"(\d+) entities", text)[1])


def deleted(control, data, before):
    """Until what ended is deleted at both planes, and both are equal."""
    for node in (control, data):
        wait_until(lambda n=node: entities(n) == before, 30, f"the end of the document at the {node.role}", every=0.5)
    equal(control, data)


def gone(control, data, key, not_before):
    data.poll("/r", 401, timeout=TTL + 15, **with_key(key))
    assert time.time() >= not_before, "it ended too early"
    assert data.get("/r", **with_key("for-ever")).status == 200


def test_a_key_ends_at_its_time(guarded):
    control, data = guarded
    before = entities(data)
    not_before = short_key(control, data)
    equal(control, data)
    gone(control, data, "short", not_before)
    wait_until(lambda: keys_of(control) == ["for-ever"], 10, "the key is not listed any more")
    deleted(control, data, before)


def test_a_key_ends_without_a_control_plane(guarded):
    control, data = guarded
    before = entities(data)
    not_before = short_key(control, data)
    control.stop()
    assert data.get("/r", **with_key("short")).status == 200 or time.time() >= not_before
    gone(control, data, "short", not_before)
    mark = control.mark()
    control.start()
    wait_until(lambda: keys_of(control) == ["for-ever"], 20, "the key is not listed any more")
    deleted(control, data, before)
    assert data.get("/r", **with_key("short")).status == 401
    log = control.log(mark)
    assert " snapshot node=" not in log and "mismatch" not in log, "its deletion is a delta"


def test_a_key_ends_while_the_data_plane_is_down(guarded):
    control, data = guarded
    before = entities(data)
    not_before = short_key(control, data)
    control.stop()
    data.stop()
    wait_until(lambda: time.time() > not_before + 1, TTL + 5, "the end of the key", every=0.2)
    data.start(wait=False)
    seen = []

    def served():
        seen.append(data.get("/r", **with_key("short")).status)
        return data.get("/r", **with_key("for-ever")).status == 200
    wait_until(served, 20, "the image that it has")
    seen += [data.get("/r", **with_key("short")).status for _ in range(20)]
    assert set(seen) <= {0, 401}, seen  # 0: it does not listen yet
    control.start()
    deleted(control, data, before)


def test_a_key_ends_without_an_agent(guarded):
    """The workers look at the clock themselves; nobody has to take the key away first."""
    control, data = guarded
    not_before = short_key(control, data)
    data.kill("supervisor", "agent")
    gone(control, data, "short", not_before)
    data.start(wait=False)
    equal(control, data)


def test_a_key_whose_time_is_changed_ends_at_the_new_one(guarded):
    control, data = guarded
    short_key(control, data)
    longer = control.admin.patch("/consumers/anna/key-auth/short", ttl=3600)
    assert longer["ttl"] in (3599, 3600)
    not_before = short_key(control, data, "other")
    control.stop()
    gone(control, data, "other", not_before)
    assert data.get("/r", **with_key("short")).status == 200
    control.start()
    equal(control, data)
