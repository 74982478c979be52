"""Recorded exchanges of the wire: reading them, what they say about entities, and comparing."""

import json
import re
from pathlib import Path

from .wire import items, number

GIVEN = re.compile(r"^(00000000|[0-9]{8})-0000-[45]000-[89a-f0-9]000-[0-9a-f]{12}$")
UUID = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
# What differs from run to run, or is made by the gateway.
VOLATILE = {"created_at", "updated_at", "timestamp"}
FOREIGN = {"service": "services", "route": "routes", "consumer": "consumers",
           "certificate": "certificates", "client_certificate": "certificates",
           "upstream": "upstreams", "set": "key_sets", "credential": "oauth2_credentials"}


class Recording:
    def __init__(self, path):
        self.path = Path(path)
        self.name = self.path.stem
        lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        self.head, self.lines = lines[0], lines[1:]
        self.dialect = self.head["dialect"]
        self.classic = self.head["protocol"].startswith("v1")
        ends = self.head["recorded"]
        self.both = "both ends" in ends
        self.control = "control plane" in ends  # the real end, which ours has to equal

    def admin_calls(self):
        return [line for line in self.lines if "admin" in line]


def default_of(line):
    """The `default` member of an answer to get_delta, or None."""
    message = line.get("json")
    result = message.get("result") if isinstance(message, dict) else None
    default = result.get("default") if isinstance(result, dict) else None
    return default if isinstance(default, dict) and "deltas" in default else None


def is_full(default):
    return bool(default.get("wipe") or default.get("full_sync")) and bool(items(default["deltas"]))


def method_of(line):
    message = line.get("json")
    return message.get("method") if isinstance(message, dict) else None


def entities_of(default):
    """{(type, id): entity} of a full answer; parameters by their key."""
    found = {}
    for delta in items(default["deltas"]):
        entity = delta.get("entity")
        if isinstance(entity, dict) and (entity.get("id") or entity.get("key")):
            found[(delta.get("type"), entity.get("id") or entity["key"])] = entity
    return found


class Catalog:
    """Every entity that some recording shows, to rebuild the state before a recording began."""

    def __init__(self, recordings):
        self.entities = {}
        self.ids = {}  # name, username, key … -> (type, id)
        for recording in recordings:
            for line in recording.lines:
                default = default_of(line)
                if default and line.get("dir") == "cp>dp":
                    for key, entity in entities_of(default).items():
                        if key not in self.entities:
                            self.entities[key] = entity
        for (kind, ident), entity in self.entities.items():
            for field in ("name", "username"):
                if isinstance(entity.get(field), str):
                    self.ids.setdefault((kind, entity[field]), ident)

    def closure(self, keys):
        """These entities and all they refer to, parents first. Unknown ones are left out."""
        ordered = {}

        def add(key, depth=0):
            entity = self.entities.get(key)
            if entity is None or key in ordered or depth > 8:
                return
            for field, kind in FOREIGN.items():
                parent = entity.get(field)
                if isinstance(parent, dict) and "id" in parent:
                    add((kind, parent["id"]), depth + 1)
            ordered[key] = entity

        for key in keys:
            add(key)
        return ordered


# Secrets that are stored as hashes: the recorded ones cannot be made again, as nobody knows
# what was hashed. test_corpus.py compares hashes of known secrets.
HASH = {"password": re.compile(r"[0-9a-f]{40}$"), "client_secret": re.compile(r"\$pbkdf2-sha512\$i=10000,l=32\$")}
NEVER = re.compile(r"(?!)")


def plain(value, key=None):
    """An entity or answer without what may differ: times, ids made by the gateway, {} for []."""
    if isinstance(value, dict):
        if not value:
            return []
        # Certificates have `snis: null` in some answers of the reference and not in others.
        return {k: plain(v, k) for k, v in value.items()
                if k not in VOLATILE and not (k == "snis" and v is None and "cert" in value)}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, str) and UUID.match(value) and not GIVEN.match(value):
        return "<uuid>"
    if isinstance(value, str) and HASH.get(key, NEVER).match(value):
        return "<hash>"
    if key == "ttl" and isinstance(value, (int, float)):
        return "<ttl>"
    if isinstance(value, float) and value == int(value):
        return int(value)
    return value


def differences(wanted, got, where=""):
    """How two plain values differ; one line each, at most a dozen."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        found = []
        for key in sorted(set(wanted) | set(got)):
            place = f"{where}.{key}" if where else key
            if key not in got:
                found.append(f"{place}: missing, wanted {wanted[key]!r}")
            elif key not in wanted:
                found.append(f"{place}: not wanted, is {got[key]!r}")
            else:
                found += differences(wanted[key], got[key], place)
        return found[:12]
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        found = []
        for index, pair in enumerate(zip(wanted, got)):
            found += differences(*pair, f"{where}[{index}]")
        return found[:12]
    return [] if wanted == got else [f"{where}: wanted {wanted!r}, is {got!r}"]


def sortable(delta):
    entity = delta.get("entity") or {}
    pk = delta.get("pk") or {}
    return str(delta.get("type")), str(entity.get("id") or entity.get("key") or pk.get("id"))


def by_version(deltas):
    """Deltas in groups of one version: [(version, first, the rest sorted)]."""
    groups = []
    for delta in deltas:
        if not groups or groups[-1][0] != delta.get("version"):
            groups.append((delta.get("version"), []))
        groups[-1][1].append(delta)
    return [(v, group[0], sorted(group[1:], key=sortable)) for v, group in groups]


def delta_differences(wanted, got, where):
    """One delta against another; versions are compared elsewhere."""
    found = differences(wanted.get("type"), got.get("type"), f"{where}.type")
    found += differences(plain(wanted.get("entity")), plain(got.get("entity")), f"{where}.entity")
    if wanted.get("entity") is None:
        found += differences(plain(wanted.get("pk")), plain(got.get("pk")), f"{where}.pk")
    if ("ws_id" in wanted) != ("ws_id" in got):
        found.append(f"{where}.ws_id: missing or not wanted")
    return found


def same_kind_of_token(wanted, got):
    return isinstance(wanted, str) == isinstance(got, str)


class Held:
    """What a data plane holds after the answers of a recording, and after ours."""

    def __init__(self):
        self.entities = {}
        self.keys = {}  # real (type, id) -> the key under which both are compared

    def apply(self, default):
        if is_full(default):
            self.entities.clear()
        for delta in items(default.get("deltas")):
            entity, pk = delta.get("entity"), delta.get("pk") or {}
            ident = (entity or pk).get("id") or (entity or pk).get("key")
            real = (delta.get("type"), ident)
            if not entity:
                self.entities.pop(self.keys.get(real, real), None)
                continue
            if ident and UUID.match(ident) and not GIVEN.match(ident):
                label = entity.get("name") or entity.get("key") or entity.get("target") or ""
                ident = f"<uuid>{label}"
            self.keys[real] = (delta.get("type"), ident)
            self.entities[self.keys[real]] = plain(entity)


def highest(default):
    return max((number(d.get("version")) for d in items(default["deltas"])), default=0)
