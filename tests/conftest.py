"""Fixtures: certificates, nodes, and a cluster of one control plane, one data plane, one upstream."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from weir import certs, ports  # noqa: E402
from weir.node import ControlNode, DataNode, built  # noqa: E402
from weir.upstream import Upstream  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than some ten seconds")
    config.addinivalue_line("markers", "sanitized: also run with WEIR_SANITIZE=1")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the ends of the logs of every node it used."""
    outcome = yield
    report = outcome.get_result()
    if report.when in ("setup", "call") and report.failed:
        for node in list(Nodes.running):
            if node.known:
                report.sections.append((f"logs of {node.prefix.name}", node.logs(25)))


class Nodes:
    """Makes nodes below one folder, and ends them all."""

    running = []

    def __init__(self, folder, pair):
        self.folder, self.pair = folder, pair
        self.nodes, self.upstreams, self.count = [], [], 0

    def _name(self, name):
        """A folder of its own for each node that has the same name."""
        self.count += 1
        return self.folder / (name if not (self.folder / name).exists() else f"{name}{self.count}")

    def _add(self, node):
        self.nodes.append(node)
        Nodes.running.append(node)
        return node

    def control(self, name="cp", start=True, pair=None, **settings):
        node = self._add(ControlNode(self._name(name), pair or self.pair, **settings))
        if start:
            node.bootstrap().start()
        return node

    def data(self, control, name="dp", start=True, pair=None, **settings):
        node = self._add(DataNode(self._name(name), pair or self.pair, control, **settings))
        if start:
            node.start()
        return node

    def upstream(self, port=None, **options):
        self.upstreams.append(Upstream(port or ports.free(), **options))
        return self.upstreams[-1]

    def end(self):
        for node in reversed(self.nodes):
            node.end()
            Nodes.running.remove(node)
        for upstream in self.upstreams:
            upstream.close()


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """The shared cluster certificate."""
    return certs.self_signed(tmp_path_factory.mktemp("certs"), "cluster")


def _nodes(tmp_path_factory, pair, request):
    if not built():
        pytest.skip("no binaries: build first, or set WEIR_BUILD")
    name = request.node.name.replace("/", "-").replace(".py", "")[:40]
    return Nodes(tmp_path_factory.mktemp(name), pair)


@pytest.fixture
def nodes(tmp_path_factory, pair, request):
    """Nodes of one test."""
    made = _nodes(tmp_path_factory, pair, request)
    yield made
    made.end()


@pytest.fixture(scope="module")
def module_nodes(tmp_path_factory, pair, request):
    made = _nodes(tmp_path_factory, pair, request)
    yield made
    made.end()


class Cluster:
    """A control plane, a data plane that is ready, and an upstream."""

    def __init__(self, nodes, control_settings=None, data_settings=None):
        self.upstream = nodes.upstream()
        self.control = nodes.control(**(control_settings or {}))
        self.data = nodes.data(self.control.cluster_address, **(data_settings or {}))
        self.data.wait_ready()
        self.admin = self.control.admin
        self.count = 0

    def name(self, kind="x"):
        """A name that was not used before."""
        self.count += 1
        return f"{kind}{self.count:05d}"  # none is a prefix of another

    def service(self, **fields):
        """A field that is None is left out; `path` is that of the URL."""
        url = self.upstream.url + fields.pop("path", "")
        fields = {"name": self.name("service"), "url": url, **fields}
        return self.admin.post("/services", **{k: v for k, v in fields.items() if v is not None})

    def route(self, service=None, **fields):
        """A route on a path of its own (to a service of its own), and that path."""
        service = service or self.service()
        name = self.name("route")
        fields = {"name": name, "paths": [f"/{name}"], "service": {"id": service["id"]}, **fields}
        route = self.admin.post("/routes", **fields)
        return route, (route["paths"] or ["/"])[0]

    def served(self, path, status=200, **options):
        return self.data.poll(path, status, **options)


@pytest.fixture(scope="module")
def cluster(module_nodes):
    return Cluster(module_nodes)


@pytest.fixture(scope="module")
def control_plane(module_nodes):
    return module_nodes.control()


@pytest.fixture(scope="module")
def data_plane(cluster):
    return cluster.data
