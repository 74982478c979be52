"""What must hold when the faults have ended."""

import time

from weir import http, wire
from weir.node import wait_until

from .fleet import HEAL_SECONDS, STATIC, ask, version_of
from .writers import GENERATION, TERMINATED, plugin_id, twins_of

SHOWN = 5


def control_set(fleet):
    """(version, {(type, id): entity}) as a data plane that has nothing gets it."""
    with wire.DataPlane(fleet.control.cluster_address, fleet.pair) as plane:
        plane.sync()
        return version_of(plane.version), plane.held


def comparable(kind, entity):
    entity = dict(entity)
    entity.pop("ws_id", None)  # the planes' own
    if kind == "keyauth_credentials":
        entity.setdefault("ttl", None)
    return entity


def same_set(fleet, node, version, held):
    """What a data plane holds is what the control plane holds: a list of differences."""
    has, documents = fleet.documents(node)
    if has != version:
        return [f"{node.title} has version {has}, the control plane {version}"]
    wrong = [f"{node.title} lacks {key}" for key in held if key not in documents]
    wrong += [f"{node.title} still has {key}" for key in documents if key not in held]
    for key in held.keys() & documents.keys():
        mine, theirs = comparable(key[0], documents[key]), comparable(key[0], held[key])
        if mine != theirs:
            wrong.append(f"{node.title} {key}: {mine} is not {theirs}")
    return wrong


def verified(node):
    """What `weir sync verify` finds: the digest that a node keeps is that of what it holds."""
    done = node.by_prefix("sync", "verify", fail=False)
    if done.returncode == 0 or "not available" in done.stderr:
        return []
    return [f"{node.title}: sync verify: {done.stdout}{done.stderr}"]


def wait_same(fleet, version):
    started = time.monotonic()
    for node in fleet.data:
        left = HEAL_SECONDS - (time.monotonic() - started)
        wait_until(lambda: fleet.image(node, "version")[0] == version, max(left, 1),
                   f"{node.title} at version {version}; it has {fleet.image(node, 'version')[0]}")
    return time.monotonic() - started


def found_values(fleet):
    """What the Admin API says, in the terms of the ledger."""
    admin = fleet.control.client()
    routes = {r["name"]: r for r in admin.list("/routes")}
    plugins = {p["id"]: p for p in admin.list("/plugins")}
    consumers = {c["username"]: c for c in admin.list("/consumers")}
    names = {c["id"]: name for name, c in consumers.items()}
    keys = {k["key"]: names.get(k["consumer"]["id"]) for k in admin.list("/key-auths")}
    admin.close()

    def value(kind, name):
        if kind == "route":
            return routes[name]["tags"][0] if name in routes else None
        if kind == "consumer":
            return consumers[name]["custom_id"][len(name):] if name in consumers else None
        if kind == "key":
            return keys.get(name)
        if kind == "twins":
            one, other = (bundle(twin) for twin in twins_of(name))
            return one if one == other else f"torn: {one}, {other}"
        return bundle(name)

    def bundle(name):
        if name not in routes or routes[name]["paths"] != [f"/{name}"]:
            return None
        plugin = plugins.get(plugin_id(name))
        return int(plugin["config"]["message"].removeprefix(GENERATION)) if plugin else "torn"

    return value


def lost_writes(ledger, value):
    wrong = []
    for (kind, name), allowed in ledger.values.items():
        is_now = value(kind, name)
        if is_now not in allowed:
            wrong.append(f"{kind} {name} is {is_now!r}, acknowledged {sorted(map(str, allowed))}")
    return wrong


def served(node, ledger, value):
    """Every route of the run answers as the control plane's entities say."""
    client = http.Client(node.proxy_address, timeout=5)
    wrong = []

    def check(path, wanted, text):
        status, body = ask(client, path)
        if status != wanted or text not in body:
            wrong.append(f"{node.title} {path}: {status} {body[:100]!r}, wanted {wanted} {text!r}")

    check(STATIC, 200, "shared")
    for kind, name in list(ledger.values):
        now = value(kind, name)
        if kind == "route":
            check(f"/{name}", 404 if now is None else 200, "")
        elif kind in ("bundle", "twins"):
            for path in [name] if kind == "bundle" else twins_of(name):
                check(f"/{path}",
                      *((404, "") if now is None else (TERMINATED, f"{GENERATION}{now}")))
    client.close()
    return wrong


def check(fleet, ledger, earlier=()):
    """Everything; a list of what is wrong, and the seconds that the data planes needed.

    `earlier`: ledgers of runs before; what was acknowledged in them is still so."""
    version, held = control_set(fleet)
    seconds = wait_same(fleet, version)
    wrong = []
    for node in fleet.nodes():
        wrong += verified(node)
    for node in fleet.data:
        wrong += same_set(fleet, node, version, held)[:SHOWN]
        quarantined = fleet.image(node, "version")[1]
        if quarantined:
            wrong.append(f"{node.title}: {quarantined} entities are quarantined")
    value = found_values(fleet)
    for each in [ledger, *earlier]:
        wrong += lost_writes(each, value)[:SHOWN]
    for node in fleet.data:
        wrong += served(node, ledger, value)[:SHOWN]
    return wrong, seconds
