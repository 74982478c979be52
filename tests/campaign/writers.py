"""Clients that write at random, and the ledger of what each entity may be now.

Two kinds of entities show whether half of a change is ever seen. A bundle is a route with a plugin:
it is made hidden, shown by one write, and taken away by one, which the plugin follows in the same
version. Twins, where the control plane has transactions, are two routes with a plugin each, made,
changed and taken away together.
"""

import json
import random
import threading
import time
import uuid

GENERATION = "generation "
TERMINATED = 418  # what a bundle answers: nothing else in the fleet does


class Ledger:
    """What was acknowledged, and what is open because no answer came: shared by a run's writers."""

    def __init__(self):
        self.lock = threading.Lock()
        self.values = {}  # (kind, name) -> set of possible values; None: it does not exist
        self.bundles, self.twins = [], []  # names that readers may ask for
        self.writes = self.acknowledged = self.refused = self.open = 0

    def known(self, kind, owner):
        with self.lock:
            return [name for (k, name), values in self.values.items()
                    if k == kind and name.startswith(owner) and len(values) == 1
                    and None not in values]

    def value(self, kind, name):
        values = self.values[(kind, name)]
        return next(iter(values)) if len(values) == 1 else None

    def begin(self, kind, name, after):
        with self.lock:
            before = self.values.get((kind, name), {None})
            self.values[(kind, name)] = before | {after}
            self.writes += 1
            return before

    def end(self, kind, name, before, after, status):
        """2xx: written. 4xx: not. Anything else: it may have been."""
        with self.lock:
            if status in (200, 201, 204):
                self.values[(kind, name)] = {after}
                self.acknowledged += 1
            elif 400 <= status < 500:
                self.values[(kind, name)] = before
                self.refused += 1
            else:
                self.open += 1


    def owner_may_be_gone(self, name):
        """After a try to delete a consumer: its keys are as it is."""
        with self.lock:
            gone = self.values[("consumer", name)]
            for key, values in self.values.items():
                if key[0] == "key" and name in values and None in gone:
                    self.values[key] = values | {None} if len(gone) > 1 else values - {name} | {None}


class Writer(threading.Thread):
    def __init__(self, fleet, ledger, number, owner, seed, until):
        super().__init__(daemon=True)
        self.client = fleet.control.client()
        self.client.timeout = 5
        self.fleet, self.ledger, self.until = fleet, ledger, until
        self.owner = f"{owner}w{number}-"  # no name is a prefix of another's
        self.rng = random.Random(f"{seed} writer {number}")
        self.count = 0
        self.errors = []
        self.pace = self.rng.choice([0, 0.005, 0.02])

    def run(self):
        while time.monotonic() < self.until:
            try:
                self.one()
                time.sleep(self.rng.random() * self.pace)
            except Exception as error:  # noqa: BLE001: a bug of the campaign must not look like success
                self.errors.append(repr(error))
                return

    def name(self):
        self.count += 1
        return f"{self.owner}{self.count:05d}"

    def one(self):
        dice = self.rng.random()
        if dice < 0.45:
            self.route()
        elif dice < 0.6:
            self.consumer()
        elif dice < 0.8 and self.fleet.transactions:
            self.twins()
        else:
            self.bundle()

    # -- one write, one ledger entry -------------------------------------------------------------

    def write(self, kind, name, after, method, path, body=None):
        """True if it was acknowledged."""
        before = self.ledger.begin(kind, name, after)
        status = self.send(method, path, body)
        self.ledger.end(kind, name, before, after, status)
        return status in (200, 201, 204)

    def send(self, method, path, body):
        """The status; 0 if the connection broke, or the client left, before the answer."""
        try:
            if self.rng.random() < 0.01:
                return self.leave(method, path, body)
            return self.client.request(method, path, body).status
        except Exception:  # noqa: BLE001: whatever broke it, no answer came
            self.client.close()
            time.sleep(self.rng.random() * 0.1)
            return 0

    def leave(self, method, path, body):
        """A client that goes away without waiting for the answer."""
        client = self.fleet.control.client()
        client._connect()
        client.connection.request(method, path, None if body is None else json.dumps(body),
                                  {"Content-Type": "application/json"})
        time.sleep(self.rng.random() * 0.002)
        client.close()
        return 0

    # -- routes: one entity each --------------------------------------------------------------------

    def route(self):
        known = self.ledger.known("route", self.owner)
        dice = self.rng.random()
        tag = str(self.rng.randrange(10**9))
        if dice < 0.5 or not known:
            name = self.name()
            self.write("route", name, tag, "PUT", f"/routes/{name}", {
                "paths": [f"/{name}"], "tags": [tag], "service": {"id": self.fleet.service}})
        elif dice < 0.8:
            name = self.rng.choice(known)
            self.write("route", name, tag, "PATCH", f"/routes/{name}", {"tags": [tag]})
        else:
            name = self.rng.choice(known)
            self.write("route", name, None, "DELETE", f"/routes/{name}")

    # -- consumers: their keys go with them -------------------------------------------------------------

    def consumer(self):
        known = self.ledger.known("consumer", self.owner)
        dice = self.rng.random()
        text = str(self.rng.randrange(10**9))
        if dice < 0.4 or not known:
            name = self.name()
            self.write("consumer", name, text, "PUT", f"/consumers/{name}", {"custom_id": name + text})
        elif dice < 0.6:
            name = self.rng.choice(known)
            self.write("consumer", name, text, "PATCH", f"/consumers/{name}",
                       {"custom_id": name + text})
        elif dice < 0.85:
            key, owner = self.name(), self.rng.choice(known)
            self.write("key", key, owner, "POST", f"/consumers/{owner}/key-auth", {"key": key})
        else:
            self.remove_consumer(self.rng.choice(known))

    def remove_consumer(self, name):
        """Cascades to its keys: whether they are gone is as open as whether it is."""
        self.write("consumer", name, None, "DELETE", f"/consumers/{name}")
        self.ledger.owner_may_be_gone(name)

    # -- bundles: a route with a plugin that must never be seen without it -----------------------------------

    def bundle(self):
        known = self.ledger.known("bundle", self.owner)
        dice = self.rng.random()
        if dice < 0.35 or not known:
            self.make_bundle(self.name())
            return
        name = self.rng.choice(known)
        if dice < 0.75:
            generation = self.ledger.value("bundle", name) + 1
            self.write("bundle", name, generation, "PATCH", f"/plugins/{plugin_id(name)}",
                       {"config": {"message": f"{GENERATION}{generation}"}})
        else:
            # The plugin goes with its route, in one version.
            self.write("bundle", name, None, "DELETE", f"/routes/{name}")

    def make_bundle(self, name):
        """Hidden first; the last step shows all of it, so until then it counts as not there."""
        route = {"paths": [f"/hidden/{name}"]}
        steps = [
            ("PUT", f"/routes/{name}", route),
            ("PUT", f"/plugins/{plugin_id(name)}", {
                "name": "request-termination", "route": {"name": name},
                "config": {"status_code": TERMINATED, "message": f"{GENERATION}1"}}),
        ]
        for method, path, body in steps:
            if self.send(method, path, body) not in (200, 201):
                return  # half of it may be there, hidden; nobody counts on it
        with self.ledger.lock:
            self.ledger.bundles.append(name)
        self.write("bundle", name, 1, "PATCH", f"/routes/{name}", {"paths": [f"/{name}"]})


    # -- twins: all of it in one transaction, or none --------------------------------------------------------

    def twins(self):
        known = self.ledger.known("twins", self.owner)
        dice = self.rng.random()
        if dice < 0.35 or not known:
            name = self.name()
            self.ledger.twins.append(name)
            self.transact(name, 1, [operation for twin in twins_of(name) for operation in (
                {"op": "upsert", "path": f"/routes/{twin}", "body": {"paths": [f"/{twin}"]}},
                {"op": "upsert", "path": f"/plugins/{plugin_id(twin)}", "body": {
                    "name": "request-termination", "route": {"name": twin},
                    "config": {"status_code": TERMINATED, "message": f"{GENERATION}1"}}})])
            return
        name = self.rng.choice(known)
        if dice < 0.75:
            generation = self.ledger.value("twins", name) + 1
            self.transact(name, generation, [
                {"op": "update", "path": f"/plugins/{plugin_id(twin)}",
                 "body": {"config": {"message": f"{GENERATION}{generation}"}}}
                for twin in twins_of(name)])
        else:
            self.transact(name, None, [{"op": "delete", "path": f"/routes/{twin}"}
                                       for twin in twins_of(name)])

    def transact(self, name, after, operations):
        self.write("twins", name, after, "POST", "/transactions", {"operations": operations})


def twins_of(name):
    return f"{name}-a", f"{name}-b"


def plugin_id(name):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
