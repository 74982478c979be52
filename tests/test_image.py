"""An image that cannot be read is set aside and made anew from the control plane."""

import random
import re
import struct

import pytest
from weir import ports, wire
from weir.entities import route, service
from weir.node import wait_until

RECONNECT_MAX = 15
# An LMDB leaf node: no flags, a key of 5 bytes, "state"; its data begin with the format.
STATE = re.compile(rb"\x00\x00\x05\x00state(....)", re.DOTALL)


@pytest.fixture
def stopped(nodes):
    """A data plane that has a set and is stopped, and its played control plane."""
    upstream = nodes.upstream()
    plane = wire.ControlPlane(ports.free(), nodes.pair).start()
    plane.batch(("services", service(1, upstream.port)), ("routes", route(2, "a", ["/a"], 1)))
    data = nodes.data(("127.0.0.1", plane.port))
    data.poll("/a", 200)
    data.stop()
    plane.log.clear()
    yield plane, data
    plane.stop()


def file_of(data):
    return data.prefix / "image" / "data.mdb"


def aside(data):
    return [p for p in data.prefix.iterdir() if p.name.startswith("image.aside")]


def set_format(data, number):
    content = file_of(data).read_bytes()
    changed, count = STATE.subn(
        lambda m: m[0][:-4] + struct.pack("<I", number), content)
    assert count, "no state record in the image"
    file_of(data).write_bytes(changed)


def rebuilt(plane, data, *words):
    mark = data.mark()
    data.start()
    data.poll("/a", 200, timeout=RECONNECT_MAX)
    assert plane.answers()[0][0] is True, "it was not made anew by a full set"
    line = data.wait_log("aside", *words, mark=mark)
    assert len(aside(data)) == 1 and (aside(data)[0] / "data.mdb").exists()
    return line


def test_an_image_of_a_newer_format_is_set_aside(stopped):
    plane, data = stopped
    set_format(data, 99)
    line = rebuilt(plane, data)
    assert "99" in line or data.wait_log("format 99")


@pytest.mark.sanitized
@pytest.mark.parametrize("damage", ["garbage", "zeros", "short", "first pages"])
def test_a_corrupt_image_is_set_aside(stopped, damage):
    plane, data = stopped
    content = bytearray(file_of(data).read_bytes())
    rng = random.Random(7)
    if damage == "garbage":
        content = bytearray(rng.randbytes(len(content)))
    elif damage == "zeros":
        content = bytearray(len(content))
    elif damage == "short":
        content = content[:100]
    else:
        content[: 2 * 4096] = rng.randbytes(2 * 4096)
    file_of(data).write_bytes(content)
    rebuilt(plane, data)


def test_an_image_that_is_gone_is_made_anew(stopped):
    plane, data = stopped
    for path in file_of(data).parent.iterdir():
        path.unlink()
    data.start()
    data.poll("/a", 200, timeout=RECONNECT_MAX)
    assert plane.answers()[0][0] is True


def test_a_whole_image_is_left_as_it_is(stopped):
    plane, data = stopped
    data.start()
    data.poll("/a", 200)
    plane.wait(lambda: plane.answers(), RECONNECT_MAX, "get_delta")
    assert not any(full for full, _ in plane.answers()) and not aside(data)


def test_a_broken_id_file_gets_a_new_id(stopped):
    _, data = stopped
    path = data.prefix / "weir.id"
    before = path.read_text().strip()
    data.start()
    data.stop()
    assert path.read_text().strip() == before
    path.write_text("no uuid")
    data.start()
    after = wait_until(lambda: path.read_text().strip(), what="an id")
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", after) and after != before
