"""Nodes under test: a control plane or a data plane in a prefix of its own, run by the command line.

`WEIR_BUILD` names the build directory (default `build`); with `WEIR_SANITIZE=1` it is `build-asan`
and nginx, which is not ours to build, gets the sanitizer's library preloaded.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

from . import http, ports

ROOT = Path(__file__).resolve().parents[2]
SANITIZE = os.environ.get("WEIR_SANITIZE") == "1"
BUILD = (ROOT / os.environ.get("WEIR_BUILD", "build-asan" if SANITIZE else "build")).resolve()
WEIR = BUILD / "weir"
PIECES = ("supervisor", "nginx", "agent")


def built():
    return WEIR.exists() and any(BUILD.rglob("ngx_http_weir_module.so"))


def sanitizer_environment():
    """For processes that load sanitized code."""
    if not SANITIZE:
        return {}
    found = subprocess.run(
        ["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    return {
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:handle_abort=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    }


def alive(pid):
    """Whether a process runs; one that is dead and not yet reaped does not. Looks at each thread: the first one of a
    killed process is gone while another, in a write to the disk, still holds its sockets and files."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return any(thread_lives(pid, thread) for thread in threads)


def thread_lives(pid, thread):
    try:
        stat = Path(f"/proc/{pid}/task/{thread}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in ("Z", "X")


def children(pid):
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return sorted(found)


def wait_until(condition, timeout=10.0, what="what was waited for", every=0.02):
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(every)


def run(*arguments, environment=None, timeout=60, clean=True, program=WEIR):
    """`weir …`: the finished process. No WEIR_ or KONG_ variable of ours reaches it."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("WEIR_", "KONG_"))}
    variables.update(sanitizer_environment())
    variables.update(environment or {})
    return subprocess.run(
        [str(program), *map(str, arguments)], env=variables, capture_output=True, text=True,
        timeout=timeout, errors="replace", check=False)


class Failed(AssertionError):
    """A node did not do as it was told; the message has the ends of its logs."""


class Node:
    def __init__(self, folder, role, pair, **settings):
        self.prefix = Path(folder)
        self.prefix.mkdir(parents=True, exist_ok=True)
        self.role = role
        self.pair = pair
        self.settings = {"role": role, "cluster_cert": pair[0], "cluster_cert_key": pair[1],
                         "log_level": "info"}
        self.settings.update(settings)
        self.conf = Path(str(self.prefix) + ".conf")
        self.environment = {}
        self.program = WEIR  # the agent and the modules are found beside it
        self.known = set()  # every process it ever had, so that none stays behind

    # -- the command line --------------------------------------------------------------------

    def write(self):
        self.conf.write_text("".join(
            f"{name} = {value}\n" for name, value in self.settings.items() if value is not None))

    def command(self, *arguments, timeout=60):
        return run(*arguments, environment=self.environment, timeout=timeout, program=self.program)

    def weir(self, *arguments, timeout=60, fail=True):
        """A command with this node's prefix and file."""
        self.write()
        done = self.command(*arguments, "-p", self.prefix, "-c", self.conf, timeout=timeout)
        if fail and done.returncode:
            raise Failed(f"weir {' '.join(map(str, arguments))}: {done.returncode}\n"
                         f"{done.stdout}{done.stderr}\n{self.logs()}")
        return done

    def start(self, wait=True):
        self.weir("start")
        self.remember()
        if wait:
            self.wait_listening()
        return self

    def by_prefix(self, *arguments, timeout=60, fail=True):
        """A command that needs only the prefix of a prepared node."""
        done = self.command(*arguments, "-p", self.prefix, timeout=timeout)
        if fail and done.returncode:
            raise Failed(f"weir {' '.join(map(str, arguments))}: {done.returncode}\n"
                         f"{done.stdout}{done.stderr}\n{self.logs()}")
        return done

    def stop(self):
        self.remember()
        return self.by_prefix("stop", fail=False)

    def restart(self):
        self.remember()
        self.weir("restart")
        self.remember()
        self.wait_listening()

    def node_id(self):
        return (self.prefix / "weir.id").read_text().strip()

    def sync_status(self):
        """What `weir sync status` says, as text."""
        return self.by_prefix("sync", "status").stdout

    # -- its processes -------------------------------------------------------------------------

    def pid(self, piece):
        try:
            pid = int((self.prefix / "pids" / f"{piece}.pid").read_text().strip())
        except (OSError, ValueError):
            return None
        return pid if alive(pid) else None

    def workers(self):
        master = self.pid("nginx")
        return children(master) if master else []

    def pids(self):
        found = {piece: self.pid(piece) for piece in PIECES}
        return {piece: pid for piece, pid in found.items() if pid}

    def all_pids(self):
        return sorted(set(self.pids().values()) | set(self.workers()))

    def remember(self):
        self.known |= set(self.all_pids())

    def kill(self, *pieces, number=signal.SIGKILL):
        """kill -9 of "supervisor", "nginx", "agent", "worker" or "all"; returns the pids."""
        self.remember()
        victims = []
        for piece in pieces:
            if piece == "all":
                # The supervisor first: else it would start anew what dies before it.
                victims += [p for p in (self.pid(q) for q in PIECES) if p] + self.workers()
            elif piece == "worker":
                victims += self.workers()[:1]
            else:
                victims += [self.pid(piece)] if self.pid(piece) else []
        for pid in victims:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        # It takes a while to die; whoever looks meanwhile finds everything running.
        deadline = time.monotonic() + 20
        while number == signal.SIGKILL and any(alive(pid) for pid in victims):
            if time.monotonic() > deadline:
                raise Failed(f"still there after kill -9: {[pid for pid in victims if alive(pid)]}")
            time.sleep(0.002)
        return victims

    def end(self):
        """After a test: stops it, and what does not stop is killed by its pid."""
        self.remember()
        try:
            if any(alive(pid) for pid in self.known):
                self.stop()
        except (subprocess.TimeoutExpired, OSError):
            pass
        self.remember()
        deadline = time.monotonic() + 5
        while any(alive(pid) for pid in self.known) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in self.known:
            if alive(pid) and self.is_ours(pid):
                os.kill(pid, signal.SIGKILL)

    def is_ours(self, pid):
        """Guards against a pid that has been given to somebody else meanwhile."""
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return b"weir" in line or b"nginx" in line

    # -- its logs -------------------------------------------------------------------------------

    def _log_files(self):
        return [path for path in sorted((self.prefix / "logs").glob("*"))
                if path.is_file() and "access" not in path.name]

    def mark(self):
        """Where the logs end now; log(mark) is what came since."""
        return {path.name: path.stat().st_size for path in self._log_files()}

    def log(self, mark=None):
        text = ""
        for path in self._log_files():
            text += path.read_bytes()[(mark or {}).get(path.name, 0):].decode(errors="replace")
        return text

    def logs(self, lines=40):
        text = f"---- {self.role} {self.prefix}\n"
        for path in sorted((self.prefix / "logs").glob("*")):
            if path.is_file():
                tail = [line for line in path.read_text(errors="replace").splitlines()
                        if "[info]" not in line][-lines:]
                text += f"---- {path.name}\n" + "\n".join(tail) + "\n"
        return text

    def wait_log(self, *words, timeout=10.0, mark=None):
        """Until one line has all the words (letters of any case)."""

        def found():
            for line in self.log(mark).splitlines():
                if all(word.lower() in line.lower() for word in words):
                    return line
            return None

        try:
            return wait_until(found, timeout, f"a log line with {words}")
        except AssertionError as error:
            raise Failed(f"{error}\n{self.logs()}") from None

    def wait_listening(self, timeout=20.0):
        raise NotImplementedError


class ControlNode(Node):
    def __init__(self, folder, pair, **settings):
        self.admin_address = ("127.0.0.1", ports.free())
        self.cluster_address = ("127.0.0.1", ports.free())
        self.status_address = ("127.0.0.1", ports.free())
        wanted = {
            "admin_listen": "%s:%d" % self.admin_address,
            "cluster_listen": "%s:%d" % self.cluster_address,
            "status_listen": "%s:%d" % self.status_address,
        }
        wanted.update(settings)
        super().__init__(folder, "control_plane", pair, **wanted)
        self.admin = http.Admin(self.admin_address)

    def bootstrap(self):
        self.weir("migrations", "bootstrap")
        return self

    def wait_listening(self, timeout=20.0):
        self.admin.close()  # a connection to processes that are gone
        try:
            http.poll(self.admin_address, "/status", 200, timeout, every=0.05)
        except AssertionError as error:
            raise Failed(f"{error}\n{self.logs()}") from None

    def data_planes(self):
        return {row["id"]: row for row in self.admin.list("/clustering/data-planes")}

    def client(self):
        return http.Admin(self.admin_address)


class DataNode(Node):
    def __init__(self, folder, pair, control, **settings):
        """`control`: the (host, port) of a control plane."""
        self.proxy_address = ("127.0.0.1", ports.free())
        self.tls_address = ("127.0.0.1", ports.free())
        self.status_address = ("127.0.0.1", ports.free())
        wanted = {
            "database": "off",
            "proxy_listen": "%s:%d, %s:%d http2 ssl" % (self.proxy_address + self.tls_address),
            "status_listen": "%s:%d" % self.status_address,
            "cluster_control_plane": "%s:%d" % tuple(control),
            "nginx_worker_processes": "2",
        }
        wanted.update(settings)
        super().__init__(folder, "data_plane", pair, **wanted)

    def wait_listening(self, timeout=20.0):
        try:
            http.poll(self.status_address, "/status", 200, timeout, every=0.05)
        except AssertionError as error:
            raise Failed(f"{error}\n{self.logs()}") from None

    def wait_ready(self, timeout=20.0):
        try:
            http.poll(self.status_address, "/status/ready", 200, timeout, every=0.02)
        except AssertionError as error:
            raise Failed(f"{error}\n{self.logs()}") from None
        return self

    def get(self, path, **options):
        return http.once(self.proxy_address, path, **options)

    def poll(self, path, wanted, timeout=10.0, **options):
        try:
            return http.poll(self.proxy_address, path, wanted, timeout, **options)
        except AssertionError as error:
            raise Failed(f"{error}\n{self.logs()}") from None
