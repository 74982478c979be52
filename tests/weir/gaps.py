"""Lists of what need not pass yet: one id a line, grouped under `# reason` lines."""


def read(path):
    """{id: reason}"""
    found, reason = {}, ""
    if not path.exists():
        return found
    for line in path.read_text().splitlines():
        line = line.strip()
        if line.startswith("#"):
            reason = line.lstrip("# ")
        elif line:
            found[line] = reason
    return found


def judge(name, differences, gaps):
    """Fails a test as it should fail: a gap that passes is an error too."""
    import pytest

    if name in gaps:
        if not differences:
            pytest.fail(f"{name} is in the list of gaps ({gaps[name]}) and passes: take it out")
        pytest.xfail(gaps[name])
    if differences:
        pytest.fail(f"{name}:\n  " + "\n  ".join(str(d)[:400] for d in differences[:20]))
