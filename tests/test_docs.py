"""Documents that name tests, settings and files: what they name is there."""

import re
import subprocess

import pytest
from weir.node import ROOT, WEIR, run

COMPATIBILITY = ROOT / "docs" / "compatibility.md"
OPERATIONS = ROOT / "docs" / "operations-sync.md"
SYNC_SETTINGS = re.compile(r"cluster_(?!cert|ca_cert|server_name|listen|control_plane|rpc|cjson|v2|ocsp|use_proxy)\w+")


def names(path):
    """Every FILE::NAME of a document."""
    found = re.findall(r"`([\w/]+\.(?:py|c))::(\w+)`", path.read_text())
    assert found, f"{path} names no test"
    return found


def missing(file, name):
    """Why there is no such test; None if there is."""
    if file.endswith(".py"):
        path = ROOT / "tests" / file
        wanted = rf"^def {name}\("
    else:
        path = ROOT / "src" / file
        wanted = rf"\b(?:TEST|cmocka_unit_test\w*)\(\s*{name}\b"  # it is run, not only written
    if not path.is_file():
        return f"{file}: no such file"
    return None if re.search(wanted, path.read_text(), re.M) else f"{file}: no test {name}"


def test_each_test_that_is_named_exists():
    faults = sorted({fault for file, name in names(COMPATIBILITY) if (fault := missing(file, name))})
    assert not faults, "\n".join(faults)


def test_a_test_that_is_named_wrongly_is_found():
    assert missing("test_docs.py", "test_a_test_that_is_named_wrongly_is_found") is None
    assert missing("host/identity_test.c", "an_id_has_one_spelling") is None
    assert missing("test_docs.py", "test_a_test") and missing("test_nothing.py", "test_a")
    assert missing("host/identity_test.c", "certificate"), "a function that is no test"


def test_each_weakness_has_a_line_with_a_test_or_a_reason():
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", COMPATIBILITY.read_text(), re.M)
    assert [int(number) for number, _ in rows] == list(range(1, 32))
    for number, row in rows:
        shown = row.split(" | ")[-1]
        assert "::" in shown or (shown.startswith("line ") and "**" in row), f"{number}: {row}"


def test_each_behaviour_has_a_test_or_a_reason():
    text = COMPATIBILITY.read_text()
    part = text[text.index("## Behaviours"):text.index("## Weaknesses")]
    rows = [line for line in part.splitlines() if line.startswith("|") and "---" not in line
            and not line.startswith("| behaviour |")]
    assert len(rows) > 40
    for row in rows:
        assert "::" in row or "**does not apply.**" in row or "**not there" in row, row


def settings():
    done = run("settings", "--help")
    assert done.returncode == 0
    return re.findall(r"^  (\S+) = ", done.stdout, re.M)


@pytest.mark.skipif(not WEIR.exists(), reason="no binaries: build first, or set WEIR_BUILD")
def test_the_man_page_is_what_the_command_says():
    made = subprocess.run(["python3", ROOT / "build-aux/man.py", WEIR], capture_output=True, text=True, check=True,
                          timeout=60).stdout
    assert made == (ROOT / "docs/man/weir.1").read_text(), "build-aux/man.py build/weir > docs/man/weir.1"
    for name in settings():
        assert f"\\fB{name}\\fR" in made, name


@pytest.mark.skipif(not WEIR.exists(), reason="no binaries: build first, or set WEIR_BUILD")
def test_each_setting_of_the_sync_is_explained():
    text, known = OPERATIONS.read_text(), settings()
    wanted = [name for name in known if SYNC_SETTINGS.fullmatch(name)]
    assert len(wanted) > 10
    for name in [*wanted, "lmdb_map_size", "image_sync", "cluster_rpc", "cluster_rpc_sync", "db_update_frequency"]:
        assert name in known and f"`{name}" in text, name
    for name in re.findall(r"`((?:cluster|lmdb|image|db|admin)_\w+)[` ]", text):
        assert name in known, f"{name} is no setting"


@pytest.mark.parametrize("path", sorted(path.relative_to(ROOT) for path in (ROOT / "docs").glob("*.md")), ids=str)
def test_links_of_a_document_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / path).read_text()):
        assert (ROOT / path.parent / target).exists(), target


def test_each_line_of_sync_status_is_explained():
    labels = re.findall(r'(?:%-16s .*?\\n", |print_text\(|print_time\()"([a-z ]+)"', (ROOT / "src/cli/sync.c").read_text())
    assert len(set(labels)) > 12
    text = OPERATIONS.read_text()
    for label in labels:
        assert f"`{label}`" in text, label
