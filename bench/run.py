#!/usr/bin/env python3
"""Runs the benchmarks, or those named, one after the other; `./dev bench` builds and calls this.

  bench/run.py [NAME...] [-- ARGUMENTS FOR EACH]
"""
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DRIVERS = ["load", "scenario", "proxy", "restart", "fleet", "onoff", "first", "sustained"]


def units():
    """The benches of single rooms, from the build directory."""
    build = HERE.parent / os.environ.get("WEIR_BUILD", "build")
    return {p.name: p for p in build.rglob("*-bench") if p.is_file() and os.access(p, os.X_OK)}


def main():
    arguments = sys.argv[1:]
    extra = arguments[arguments.index("--") + 1:] if "--" in arguments else []
    names = arguments[:arguments.index("--")] if "--" in arguments else arguments
    known = units()
    failed = 0
    for name in names or [*DRIVERS, *sorted(known)]:
        if name in DRIVERS:
            command = [sys.executable, str(HERE / f"{name}.py"), *extra]
        elif name in known:
            command = [str(known[name]), *extra]
        else:
            print(f"no benchmark {name}: {', '.join([*DRIVERS, *sorted(known)])}", file=sys.stderr)
            return 2
        print(f"== {name}", flush=True)
        failed += subprocess.run(command).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
