"""What the benchmarks share: nodes with 90,000 entities, processes' memory and time, the report.

Figures of one machine are ratios: each benchmark measures what it is compared with in the same run.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from weir import certs, http  # noqa: E402
from weir.node import ControlNode, DataNode, built  # noqa: E402

DATA, RESULTS = HERE / "data", HERE / "results"
TICKS = os.sysconf("SC_CLK_TCK")
CONNECTIONS = 16
ENTITIES = 90000


def arguments(description, **extra):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--entities", type=int, default=ENTITIES)
    parser.add_argument("--keep", action="store_true", help="leave the prefixes where they are")
    for name, (kind, default, text) in extra.items():
        parser.add_argument(f"--{name}", type=kind, default=default, help=text)
    options = parser.parse_args()
    if not built():
        sys.exit("no binaries: build first, or set WEIR_BUILD")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


def tool(name):
    """Compiles bench/NAME.c when it is newer than the program."""
    DATA.mkdir(exist_ok=True)
    source, program = HERE / f"{name}.c", DATA / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", program, source], check=True)
    return program


# -- entities ---------------------------------------------------------------------------------


def ident(kind, number):
    return str(uuid.UUID(int=kind << 96 | 0x4000 << 64 | 0x8000 << 48 | number))


class Set:
    """`total` entities: of 9 there are a service, a route, a plugin, 3 consumers and 3 keys."""

    ident = staticmethod(ident)

    def __init__(self, total, upstream):
        share = max(total // 9, 1)
        self.services = self.routes = self.plugins = share
        self.consumers = self.keys = 3 * share
        self.upstream = upstream

    @property
    def total(self):
        return self.services + self.routes + self.plugins + self.consumers + self.keys

    def host(self, number):
        return f"h{number // 10}.example"

    def path(self, number):
        return f"/r{number}"

    def key(self, number):
        return f"key-{number}"

    def requests(self):
        """(method, path, body) in an order in which everything has what it refers to; None: a barrier."""
        for n in range(self.services):
            yield "PUT", f"/services/{self.ident(1, n)}", {
                "name": f"s{n}", "host": self.upstream[0], "port": self.upstream[1]}
        for n in range(self.consumers):
            yield "PUT", f"/consumers/{self.ident(3, n)}", {"username": f"c{n}"}
        yield None
        for n in range(self.routes):
            yield "PUT", f"/routes/{self.ident(2, n)}", {
                "name": f"r{n}", "hosts": [self.host(n)], "paths": [self.path(n)],
                "service": {"id": self.ident(1, n % self.services)}}
        for n in range(self.keys):
            yield "PUT", f"/consumers/{self.ident(3, n)}/key-auth/{self.ident(4, n)}", {"key": self.key(n)}
        yield None
        for n in range(self.plugins):
            # It runs for every request of its route and ends none: the trigger is never sent.
            yield "PUT", f"/routes/{self.ident(2, n)}/plugins/{self.ident(5, n)}", {
                "name": "request-termination", "config": {"trigger": "x-never-sent"}}

    def script(self, path):
        """The requests that make the set, for weir_load."""
        with open(path, "w", encoding="ascii") as out:
            for request in self.requests():
                out.write("---\n" if request is None else
                          f"{request[0]} {request[1]} {json.dumps(request[2])}\n")


def fill(control, entities):
    """Writes a set through the Admin API; what weir_load measured."""
    program, script = tool("weir_load"), DATA / f"set-{entities.total}-{entities.upstream[1]}.txt"
    entities.script(script)
    host, port = control.admin_address
    done = subprocess.run([program, host, str(port), str(CONNECTIONS), script], check=False,
                          stdout=subprocess.PIPE, text=True)
    script.unlink()
    if not done.stdout:
        sys.exit("the load generator failed\n" + control.logs())
    return json.loads(done.stdout)


# -- nodes ------------------------------------------------------------------------------------


class Pair:
    """A control plane and a data plane in a folder of their own."""

    def __init__(self, keep=False, control_settings=None, **data_settings):
        self.folder = tempfile.mkdtemp(prefix="weir-bench-")
        self.keep = keep
        pair = certs.self_signed(self.folder, "cluster")
        settings = {"log_level": "warn"}
        self.control = ControlNode(Path(self.folder) / "cp", pair, **settings, **(control_settings or {}))
        self.data = DataNode(Path(self.folder) / "dp", pair, self.control.cluster_address,
                             **settings, **data_settings)

    def __enter__(self):
        self.control.bootstrap().start()
        self.data.start().wait_ready(30)
        return self

    def __exit__(self, *_):
        self.data.end()
        self.control.end()
        if self.keep:
            say(f"left in {self.folder}")
        else:
            subprocess.run(["rm", "-rf", self.folder], check=False)

    def nodes(self):
        return {"control plane": self.control, "data plane": self.data}

    def wait_served(self, path, status=200, timeout=120, **options):
        return self.data.poll(path, status, timeout, **options)


def pss_kib(pid):
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def node_pss_mib(node):
    return sum(pss_kib(pid) for pid in node.all_pids()) / 1024


def node_private_mib(node):
    """Without what is mapped from files (the image, the database): what cannot be given back."""
    total = 0
    for pid in node.all_pids():
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss_Anon:"):
                    total += int(line.split()[1])
        except OSError:
            pass
    return total / 1024


def cpu_ticks(pids):
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total


def cpu_ms(node):
    return cpu_ticks(node.all_pids()) * 1000 / TICKS


def schedstat(pids):
    """Of all threads: nanoseconds on a processor, and how many times they got one."""
    ran, turns = 0, 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            try:
                row = task.read_text().split()
            except OSError:
                continue
            ran, turns = ran + int(row[0]), turns + int(row[2])
    return ran, turns


def precise_cpu_ns(pids):
    return schedstat(pids)[0]


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


# -- the report --------------------------------------------------------------------------------


def nodes_of_others():
    """Supervisors that run already: a node that was forgotten costs every figure some percent."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if words[0].endswith(b"weir") and words[1:2] == [b"supervise"]:
            found.append(int(entry.parent.name))
    return found


class Report:
    """Figures beside their goals; the raw values go to results/NAME.json, or NAME-SIZE.json for
    another number of entities than the usual."""

    def __init__(self, name, options):
        self.name = name if options.entities == ENTITIES else f"{name}-{options.entities}"
        self.lines, self.raw = [], {}
        self.others = nodes_of_others()
        if self.others:
            say(f"WARNING: other nodes run on this machine, process ids {self.others}: not a result to quote")

    def figure(self, label, value, unit, goal=None, better="<="):
        """`goal`: what it should be at most (or, with better=">=", at least)."""
        verdict = ""
        if goal is not None:
            met = value <= goal if better == "<=" else value >= goal
            verdict = f"goal {better} {goal:g} {unit}: {'met' if met else 'MISSED'}"
        self.lines.append((label, f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}", unit, verdict))
        self.raw[label] = {"value": value if math.isfinite(value) else None, "unit": unit, "goal": goal, "better": better}
        say(f"  {label}: {value:.4g} {unit} {verdict}")

    def compared(self, label, text):
        """A figure of the incumbent, measured elsewhere, to be read beside ours."""
        self.lines.append((label, text, "", "incumbent, measured earlier"))

    def note(self, key, value):
        self.raw[key] = value

    def finish(self):
        RESULTS.mkdir(exist_ok=True)
        machine = f"{os.cpu_count()} processors, {time.strftime('%Y-%m-%d %H:%M')}"
        machine += f", beside {len(self.others)} other nodes: not to be quoted" if self.others else ""
        width = max(len(line[0]) for line in self.lines)
        text = f"{self.name} ({machine})\n" + "".join(
            f"  {label:{width}}  {value:>10} {unit:<8} {verdict}\n"
            for label, value, unit, verdict in self.lines)
        print(text)
        (RESULTS / f"{self.name}.txt").write_text(text)
        (RESULTS / f"{self.name}.json").write_text(json.dumps(self.raw, indent=1) + "\n")


class Reused:
    """A keep-alive connection that only asks for statuses, as cheaply as Python can."""

    def __init__(self, address):
        import socket

        self.sock = socket.create_connection(address, 10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def status(self, path, host="bench.example"):
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        while b"\r\n\r\n" not in self.buffer:
            self.buffer += self.sock.recv(65536)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        lower = head.lower()
        if b"content-length:" in lower:
            size = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            while len(self.buffer) < size:
                self.buffer += self.sock.recv(65536)
            self.buffer = self.buffer[size:]
        else:
            while b"0\r\n\r\n" not in self.buffer:
                self.buffer += self.sock.recv(65536)
            self.buffer = self.buffer.split(b"0\r\n\r\n", 1)[1]
        return int(head.split()[1])


def upstream_nginx(folder, port, worker_cpu=None):
    """A small nginx that answers 200 and counts connections at /counts; its Popen."""
    folder = Path(folder)
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    affinity = f"worker_cpu_affinity {worker_cpu};" if worker_cpu else ""
    (folder / "nginx.conf").write_text(f"""
daemon off; worker_processes 1; {affinity} pid {folder}/nginx.pid; error_log {folder}/logs/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 1000000; keepalive_timeout 600s;
    server {{ listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "ok\\n"; }}
        location = /counts {{ stub_status; }} }}
}}
""")
    process = subprocess.Popen(["nginx", "-p", f"{folder}/", "-c", folder / "nginx.conf"],
                               stderr=subprocess.DEVNULL)
    http.poll(("127.0.0.1", port), "/", 200, 5)
    return process


def upstream_counts(port):
    """(connections accepted, requests) of upstream_nginx; asking is one of each."""
    text = http.once(("127.0.0.1", port), "/counts").text.splitlines()[2].split()
    return int(text[0]), int(text[2])
