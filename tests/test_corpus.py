"""The recorded exchanges of the Admin API, of routing and of plugins, replayed by the corpus' own tools."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import wire_replay
from weir import ports

CORPUS = wire_replay.CORPUS
HERE = Path(__file__).parent / "corpus"
ADMIN = sorted((CORPUS / "admin").glob("*.jsonl"))
ROUTING = sorted((CORPUS / "routing").glob("*.jsonl"))
PLUGINS = [CORPUS / "plugins" / f"{path.parent.name.replace('_', '-')}.jsonl"
           for path in sorted((Path(__file__).parents[1] / "src" / "plugins").glob("*/phases.c"))]

SHARED = [CORPUS / "plugins" / f"{name}.jsonl"
          for name in ("cross-plugin", "changes", "cluster-policy", "grpc-errors")]
HASHED = 22080  # the first port of the recorded upstreams, which a consistent hash is made of

pytestmark = pytest.mark.skipif(not (CORPUS / "replay_admin.py").exists(),
                                reason="no corpus: WEIR_CORPUS names its folder")


def replay(tool, *arguments, known, timeout=300):
    """Runs a tool of the corpus; fails with what it printed if it found what is no gap."""
    through = [str(Path(__file__).parent / "replay_entities.py")] if "entities" in arguments else []
    command = [sys.executable, *through, str(CORPUS / tool), *map(str, arguments)]
    if known.exists():
        command += ["--known", str(known)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=CORPUS,
                          errors="replace", check=False)
    text = done.stdout + done.stderr
    if done.returncode:
        pytest.fail(text[-6000:], pytrace=False)
    found = re.findall(r"(\d+) passed", text)
    assert found and int(found[-1]) >= 0, text[-500:]


@pytest.mark.slow
@pytest.mark.parametrize("path", ADMIN, ids=lambda path: path.stem)
def test_admin(control_plane, path):
    replay("replay_admin.py", "--admin", "http://%s:%d" % control_plane.admin_address, path,
           known=HERE / "gaps-admin.txt")


@pytest.mark.slow
@pytest.mark.parametrize("path", ROUTING, ids=lambda path: path.stem)
def test_routing(cluster, path):
    upstream = HASHED if path.stem == "consistent-hashing" else ports.block(9)
    if upstream == HASHED and not ports.is_free(HASHED, 9):
        pytest.skip(f"the ring is one of the recorded ports, from {HASHED} on, and somebody has them")
    replay("replay_proxy.py", "--mode", "entities",
           "--admin", "http://%s:%d" % cluster.control.admin_address,
           "--proxy", "%s:%d" % cluster.data.proxy_address,
           "--proxy-tls", "%s:%d" % cluster.data.tls_address, "--upstream-port", upstream, path,
           known=HERE / "gaps-routing.txt")


@pytest.mark.slow
@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_plugins(cluster, path):
    """Those of each plugin of this build."""
    replay("replay_proxy.py", "--mode", "entities", "--settle-ms", 200,
           "--admin", "http://%s:%d" % cluster.control.admin_address,
           "--proxy", "%s:%d" % cluster.data.proxy_address,
           "--proxy-tls", "%s:%d" % cluster.data.tls_address, "--upstream-port", ports.block(9),
           "--sink-port", ports.block(4), path, known=HERE / "gaps-plugins.txt")


def of_this_build(path):
    """The cases of a file that use no other plugins than those of this build, as lines."""
    ours = {path.stem for path in PLUGINS}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if {plugin["name"] for plugin in json.loads(line).get("config", {}).get("plugins", [])} <= ours:
            yield line


@pytest.mark.slow
@pytest.mark.parametrize("path", SHARED, ids=lambda path: path.stem)
def test_plugins_together(cluster, path, tmp_path):
    """Those of several plugins, or of none, as far as this build has them."""
    ours = tmp_path / path.name
    ours.write_text("".join(of_this_build(path)), encoding="utf-8")
    replay("replay_proxy.py", "--mode", "entities", "--settle-ms", 200,
           "--admin", "http://%s:%d" % cluster.control.admin_address,
           "--proxy", "%s:%d" % cluster.data.proxy_address,
           "--proxy-tls", "%s:%d" % cluster.data.tls_address, "--upstream-port", ports.block(9),
           "--sink-port", ports.block(4), ours, known=HERE / "gaps-plugins.txt")
