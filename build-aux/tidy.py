#!/usr/bin/env python3
"""What the compiler does not say: direction of rooms, banned calls, names, READMEs, paths.

Prints a line for each fault and, last, how many checks passed and failed.
"""
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["base", "model", "plugins", "store", "admin", "cluster", "image", "agent", "balance", "node", "proxy", "host", "cli"]
BANNED = {
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "strcpy": "snprintf or memcpy with a length",
    "strcat": "weir_buffer_append", "strncpy": "snprintf", "atoi": "weir_parse_int64",
    "atol": "weir_parse_int64", "gets": "fgets", "strtok": "strcspn", "system": "posix_spawn",
    "alloca": "weir_arena_alloc",
}
EMPTY_NAMES = re.compile(r"(^|_)(utils?|helpers?|misc|common|manager)\.[ch]$")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)
COMMENT = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"', re.S)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work/(?:main|shared)|home/\w+|root/\.)")


def files(*patterns):
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def room_of(path):
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "src" and len(parts) > 2 else None


def check_direction(path, text):
    room = room_of(path)
    for name in INCLUDE.findall(text):
        target = name.split("/")[0]
        if room is None or target not in ROOMS:
            continue
        if "/" not in name:
            yield f'includes "{name}" without its room'
        elif ROOMS.index(target) > ROOMS.index(room):
            yield f'includes "{name}": {target} comes after {room}'
        elif target != room and name.endswith("/internal.h"):
            yield f'includes "{name}", which is private to {target}'


def check_nginx(path, code):
    if room_of(path) not in ("node", "proxy", "host", None) and re.search(r"\bngx_\w+|\bNGX_\w+", code):
        yield "speaks of nginx outside src/node, src/proxy and src/host"


def check_banned(code):
    for name, instead in BANNED.items():
        if re.search(rf"(?<![\w.>]){name}\s*\(", code):
            yield f"calls {name}: use {instead}"


def check_source(path):
    text = path.read_text(errors="replace")
    code = COMMENT.sub(" ", text)
    faults = [*check_direction(path, text), *check_nginx(path, code), *check_banned(code)]
    if not text.lstrip().startswith("/*"):
        faults.append("does not say in its first lines what lives there")
    if EMPTY_NAMES.search(path.name):
        faults.append("has a name that says nothing")
    if UNFINISHED.search(text):
        faults.append("is marked unfinished")
    return faults


def main():
    passed, faults = 0, []
    for path in files("*.c", "*.h"):
        found = check_source(path)
        passed += not found
        faults += [f"{path.relative_to(ROOT)}: {fault}" for fault in found]
    for room in ROOMS:
        folder = ROOT / "src" / room
        if folder.is_dir() and not (folder / "README.md").is_file():
            faults.append(f"src/{room}: has no README.md")
        else:
            passed += 1
    for path in files():
        if path.suffix in (".png", ".svg", ".jsonl") or "fuzz/corpus" in str(path):
            continue
        if path.name != "tidy.py" and MACHINE_PATH.search(path.read_text(errors="replace")):
            faults.append(f"{path.relative_to(ROOT)}: has the path of one machine")
        else:
            passed += 1
    for fault in faults:
        print(f"tidy: {fault}")
    print(f"{passed} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
