#!/usr/bin/env python3
"""Everything that CI runs, step by step; ends with one line: "N passed, N failed".

A step that fails prints the command that repeats it. `./dev check` installs and calls this.
"""
import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FUZZ_SECONDS = 10
SANITIZERS = "address,undefined"


class Totals:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, passed, failed, repeat, seconds):
        self.passed += passed
        self.failed += failed
        print(f"== {name}: {passed} passed, {failed} failed ({seconds:.0f} s)", flush=True)
        if failed:
            print(f"   again: {repeat}", flush=True)


def run(command, env=None, quiet=False, timeout=3000):
    """Runs it, shows what it prints, returns (status, output)."""
    environment = {**os.environ, **(env or {})}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    lines = []
    started = time.monotonic()
    for line in process.stdout:
        lines.append(line)
        if not quiet:
            print(line, end="", flush=True)
        if time.monotonic() - started > timeout:
            process.kill()
            lines.append("the time is up\n")
            break
    return process.wait(), "".join(lines)


def shown(command, env=None):
    return " ".join([*(f"{k}={v}" for k, v in (env or {}).items()), *map(str, command)])


def last_number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def meson_tests(totals, folder):
    started = time.monotonic()
    command = ["meson", "test", "-C", folder, "--print-errorlogs", "--no-rebuild", "--num-processes", "2"]
    env = {"ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1"}
    status, text = run(command, env)
    passed = last_number(r"Ok:\s+(\d+)", text)
    failed = last_number(r"Fail:\s+(\d+)", text) + last_number(r"Timeout:\s+(\d+)", text)
    failed += last_number(r"Unexpected Pass:\s+(\d+)", text)
    if status != 0 and failed == 0:
        failed = 1
    if passed == 0:
        failed += 1  # a run of no test is no success
    totals.add(f"unit tests in {folder}", passed, failed, shown(command), time.monotonic() - started)


def pytest(totals, name, arguments, env):
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "--tb=short", *arguments]
    status, text = run(command, env)
    summary = text.strip().splitlines()[-1] if text.strip() else ""
    passed = last_number(r"(\d+) passed", summary)
    failed = last_number(r"(\d+) failed", summary) + last_number(r"(\d+) error", summary)
    if status not in (0, 5) and failed == 0:
        failed = 1
    if passed == 0:
        failed += 1
    totals.add(name, passed, failed, shown(command, env), time.monotonic() - started)


def tidy(totals):
    started = time.monotonic()
    command = [sys.executable, "build-aux/tidy.py"]
    _, text = run(command)
    totals.add("tidy", last_number(r"(\d+) passed", text), last_number(r"(\d+) failed", text),
               "./dev tidy", time.monotonic() - started)


def sources():
    listed = subprocess.run(["git", "ls-files", "*.c", "*.h"], cwd=ROOT, capture_output=True, text=True,
                            check=True).stdout.split()
    return [name for name in listed if (ROOT / name).is_file()]


def clang_format(totals):
    started = time.monotonic()
    failed = 0
    names = sources()
    for name in names:
        status, text = run(["clang-format", "--dry-run", "-Werror", name], quiet=True)
        if status != 0:
            failed += 1
            print(text.splitlines()[0])
    totals.add("clang-format", len(names) - failed, failed, "./dev format", time.monotonic() - started)


def clang_tidy(totals, folder):
    """Over what is compiled and shipped (the tests are run, too, under sanitizers); two at a time."""
    import concurrent.futures
    import json
    started = time.monotonic()
    compiled = {os.path.relpath(os.path.join(e["directory"], e["file"]), ROOT)
                for e in json.loads((ROOT / folder / "compile_commands.json").read_text())}
    names = sorted(name for name in sources()
                   if name in compiled and not name.endswith(("_test.c", "_test_server.c", "_fuzz.c", "_bench.c")))

    def one(name):
        return name, run(["clang-tidy", "--quiet", "-p", folder, "--extra-arg=-Wno-unknown-warning-option", name],
                         quiet=True, timeout=300)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for name, (status, text) in pool.map(one, names):
            if status != 0:
                failed += 1
                print("\n".join(line for line in text.splitlines() if "error:" in line or "warning:" in line))
                print(f"   again: clang-tidy -p {folder} {name}")
    totals.add("clang-tidy", len(names) - failed, failed, f"clang-tidy -p {folder} FILE",
               time.monotonic() - started)


def fuzz(totals, folder, seconds, only=None):
    """Every target: its corpus is replayed, then it runs for a short while."""
    targets = sorted(p for p in (ROOT / folder).rglob("fuzz-*") if p.is_file() and os.access(p, os.X_OK))
    if only:
        targets = [t for t in targets if t.name == f"fuzz-{only}"]
    passed = failed = 0
    started = time.monotonic()
    for target in targets:
        name = target.name.removeprefix("fuzz-")
        corpus = ROOT / "fuzz" / "corpus" / name
        corpus.mkdir(parents=True, exist_ok=True)
        found = ROOT / folder / "found" / name
        found.mkdir(parents=True, exist_ok=True)
        command = [str(target), f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=2048",
                   "-print_final_stats=0", f"-artifact_prefix={found}/", str(found), str(corpus)]
        status, text = run(command, {"ASAN_OPTIONS": "detect_leaks=1"}, quiet=True, timeout=seconds + 120)
        passed += status == 0
        failed += status != 0
        if status != 0:
            print("\n".join(text.splitlines()[-40:]))
            print(f"   again: ./dev fuzz {name}")
    if not targets:
        failed = 1
    totals.add("fuzzing", passed, failed, "./dev fuzz NAME", time.monotonic() - started)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fuzz", metavar="NAME", help="only this fuzz target")
    parser.add_argument("--seconds", type=int, default=FUZZ_SECONDS, help="for each fuzz target")
    parser.add_argument("--skip", default="", help="steps to leave out, by commas: unit,asan,pytest,"
                        "sanitized,format,tidy,clang-tidy,fuzz")
    options = parser.parse_args()
    totals = Totals()
    if options.fuzz:
        fuzz(totals, "build-fuzz", options.seconds, options.fuzz)
        return 1 if totals.failed else 0
    skip = set(options.skip.split(","))
    steps = [
        ("unit", lambda: meson_tests(totals, "build")),
        ("asan", lambda: meson_tests(totals, "build-asan")),
        ("pytest", lambda: pytest(totals, "integration tests", ["tests"], {})),
        ("sanitized", lambda: pytest(totals, "integration tests, sanitized",
                                     ["tests", "-m", "sanitized"], {"WEIR_SANITIZE": "1"})),
        ("tidy", lambda: tidy(totals)),
        ("format", lambda: clang_format(totals)),
        ("clang-tidy", lambda: clang_tidy(totals, "build")),
        ("fuzz", lambda: fuzz(totals, "build-fuzz", options.seconds)),
    ]
    for name, step in steps:
        if name not in skip:
            step()
    print(f"{totals.passed} passed, {totals.failed} failed")
    return 1 if totals.failed else 0


if __name__ == "__main__":
    sys.exit(main())
