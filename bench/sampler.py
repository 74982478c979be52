"""Memory and processor time of nodes, looked at ten times a second."""

import threading
import time
from pathlib import Path

from common import cpu_ticks, TICKS

EVERY_S, RELIST_S = 0.1, 1.0  # between looks; between looks for new processes


def memory_mib(pids):
    """(PSS, of it not from files) of processes."""
    shared = private = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in text.splitlines():
            if line.startswith("Pss:"):
                shared += int(line.split()[1])
            elif line.startswith("Pss_Anon:"):
                private += int(line.split()[1])
    return shared / 1024, private / 1024


class Sampler(threading.Thread):
    """samples[NAME]: of each look (seconds since the start, PSS, private MiB, seconds of processor time)."""

    def __init__(self, nodes, every=EVERY_S):
        super().__init__(daemon=True)
        self.nodes, self.every, self.going = nodes, every, True
        self.samples = {name: [] for name in nodes}
        self.marks = []
        self.began, self.length = time.monotonic(), None
        self.cpu_began = {name: cpu_ticks(node.all_pids()) for name, node in nodes.items()}

    def now(self):
        """Seconds since the start; after the end: how long it was."""
        return self.length if self.length is not None else time.monotonic() - self.began

    def mark(self, label):
        self.marks.append((self.now(), label))

    def run(self):
        listed, pids = -RELIST_S, {}
        due = self.began
        while self.going:
            if self.now() - listed >= RELIST_S:
                listed = self.now()
                pids = {name: node.all_pids() for name, node in self.nodes.items()}
            for name, found in pids.items():
                at, (shared, private) = self.now(), memory_mib(found)
                used = (cpu_ticks(found) - self.cpu_began[name]) / TICKS
                self.samples[name].append((at, shared, private, used))
            due = max(due + self.every, time.monotonic() - self.every)
            time.sleep(max(due - time.monotonic(), 0))

    def end(self):
        self.going = False
        self.join(5)
        self.length = self.now()
        return self

    def column(self, name, which, since=0.0, until=float("inf")):
        """0: moments, 1: PSS, 2: private, 3: processor time."""
        return [row[which] for row in self.samples[name] if since <= row[0] <= until]

    def rows(self):
        """All samples as text, short enough to be kept."""
        return {name: [" ".join(f"{value:.2f}" for value in row) for row in rows]
                for name, rows in self.samples.items()}
