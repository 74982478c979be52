"""The corpus' replay_proxy.py for a control plane: replay_entities.py TOOL [its arguments].

The tool makes every entity by PUT; of a target PUT only changes what is there (admin-api 9.3), so here
targets are made by POST.
"""

import importlib.util
import sys
from pathlib import Path


def load(path):
    sys.path.insert(0, str(Path(path).parent))  # what it imports lies beside it
    spec = importlib.util.spec_from_file_location("replay_proxy", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def making_targets(put):
    def instead(gateway, kind, entity):
        if kind != "targets":
            put(gateway, kind, entity)
            return
        upstream = entity.pop("upstream")
        gateway.call("POST", f"/upstreams/{upstream}/targets", entity)
        gateway.made.append(f"/upstreams/{upstream}/targets/{entity['id']}")
    return instead


if __name__ == "__main__":
    tool = load(sys.argv[1])
    tool.Gateway.put = making_targets(tool.Gateway.put)
    sys.argv[:2] = [sys.argv[1]]
    sys.exit(tool.main())
