"""Clients of a data plane that see what it serves: never half of anything, never nothing."""

import random
import re
import threading
import time

from weir import http

from .fleet import STATIC, ask
from .writers import GENERATION, TERMINATED, twins_of

WRONG_MAX = 20


class Reader(threading.Thread):
    def __init__(self, node, ledger, seed, until):
        super().__init__(daemon=True)
        self.node, self.ledger, self.until = node, ledger, until
        self.rng = random.Random(f"{seed} reader {node.title}")
        self.client = http.Client(node.proxy_address, timeout=5)
        self.newest = {}  # bundle -> generation: a version never gives way to an older one
        self.wrong, self.unanswered, self.answers = [], [], 0

    def run(self):
        while time.monotonic() < self.until:
            dice = self.rng.random()
            if dice < 0.2 or not self.ledger.bundles:
                self.look_static()
            elif dice < 0.5 and self.ledger.twins:
                self.look_at_twins(self.rng.choice(self.ledger.twins[-30:]))
            else:
                recent = self.ledger.bundles[-30:]
                self.look(self.rng.choice(recent))
            time.sleep(self.rng.random() * 0.004)

    def get(self, path):
        status, text = ask(self.client, path)
        if status == 0:
            self.unanswered.append((round(time.time(), 2), path))
            time.sleep(0.02)
        self.answers += status != 0
        return status, text

    def look_static(self):
        status, text = self.get(STATIC)
        if status not in (0, 200):
            self.note(STATIC, status, text)

    def look(self, name):
        """The generation of a bundle or a twin; None: it is not there, or nobody answers."""
        status, text = self.get(f"/{name}")
        if status in (0, 404):
            return None
        found = re.search(GENERATION + r"(\d+)", text)
        if status != TERMINATED or not found:
            self.note(name, status, text)  # the route without its plugin
            return None
        generation = int(found[1])
        if generation < self.newest.get(name, 0):
            self.note(name, status, f"{text} after {self.newest[name]}")
        self.newest[name] = generation
        return generation

    def look_at_twins(self, name):
        """One, the other, the first again: the other is never older nor newer than both allow."""
        one, other = twins_of(name)
        lost = len(self.unanswered)
        first, between, last = self.look(one), self.look(other), self.look(one)
        if len(self.unanswered) > lost or first is None or last is None:
            return
        if between is None or not first <= between <= last:
            self.note(name, 0, f"twins of generations {first}, {between}, {last}")

    def note(self, *what):
        if len(self.wrong) < WRONG_MAX:
            self.wrong.append((self.node.title, round(time.time(), 2), *what))
