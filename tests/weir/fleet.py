"""A fleet of simulated data planes (weir-fleet), driven over its commands."""

import json
import select
import subprocess
import time

from .node import BUILD, sanitizer_environment

PROGRAM = BUILD / "weir-fleet"


class Fleet:
    """Runs until `end` or the end of a `with`. `faults` and other options as keywords: `slow="10:4096"`,
    `connect_rate=500`, `resume=True`."""

    def __init__(self, control, pair, nodes, log=None, **options):
        command = [str(PROGRAM), "--control", "--control-plane", "%s:%d" % tuple(control),
                   "--cert", pair[0], "--key", pair[1], "--nodes", str(nodes)]
        for name, value in options.items():
            if value is not None and value is not False:
                command.append("--" + name.replace("_", "-"))
                if value is not True:
                    command.append(str(value))
        self.nodes = nodes
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                        env=sanitizer_environment() or None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def ask(self, command, timeout=30.0):
        """One command; its line of answer."""
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        line, deadline = b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f"the fleet does not answer {command!r} within {timeout} s")
            part = self.process.stdout.read1(1 << 20)
            if not part:
                raise AssertionError(f"the fleet has ended: {self.process.wait(5)}")
            line += part
        return line.decode().strip()

    def _pairs(self, command, timeout):
        """(whether it came to pass, the numbers it said)."""
        word, *pairs = self.ask(command, timeout + 10).split()
        if word == "error":
            raise AssertionError(f"{command}: {' '.join(pairs)}")
        return word == "ok", {k: int(v) for k, v in (pair.split("=") for pair in pairs)}

    def wait(self, version, timeout=10.0, count=None):
        command = f"wait {version} {int(timeout * 1000)}" + (f" {count}" if count is not None else "")
        return self._pairs(command, timeout)

    def connected(self, count, timeout=30.0):
        return self._pairs(f"connected {count} {int(timeout * 1000)}", timeout)

    def cut(self, count):
        return self.ask(f"cut {count}")

    def stats(self):
        return json.loads(self.ask("stats"))

    def report(self):
        return json.loads(self.ask("report"))

    def end(self):
        """Ends it; its exit status."""
        if self.process.poll() is None:
            try:
                self.process.stdin.write(b"quit\n")
                self.process.stdin.close()
            except OSError:
                pass
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.stdout.close()
        return self.process.wait(5)
