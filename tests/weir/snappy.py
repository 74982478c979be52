"""The snappy block format: everything of it can be read, only literals are written."""


class SnappyError(Exception):
    """The bytes are no snappy block."""


def _varint(data, at):
    value = shift = 0
    while True:
        if at >= len(data) or shift > 28:
            raise SnappyError("bad length header")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def length(data):
    """The uncompressed length that a block claims."""
    return _varint(data, 0)[0]


def decompress(data, limit=256 << 20):
    size, at = _varint(data, 0)
    if size > limit:
        raise SnappyError(f"{size} bytes exceed the limit of {limit}")
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            count = (tag >> 2) + 1
            if count > 60:
                extra = count - 60
                count = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            if at + count > len(data):
                raise SnappyError("a literal ends early")
            out += data[at : at + count]
            at += count
            continue
        if kind == 1:
            count, width, high = ((tag >> 2) & 7) + 4, 1, (tag >> 5) << 8
        else:
            count, width, high = (tag >> 2) + 1, 2 if kind == 2 else 4, 0
        if at + width > len(data):
            raise SnappyError("a copy ends early")
        offset = high | int.from_bytes(data[at : at + width], "little")
        at += width
        if offset == 0 or offset > len(out):
            raise SnappyError(f"a copy from {offset} bytes back, {len(out)} are there")
        if offset >= count:
            start = len(out) - offset
            out += out[start : start + count]
        else:
            pattern = bytes(out[-offset:])
            out += (pattern * (count // offset + 1))[:count]
    if len(out) != size:
        raise SnappyError(f"{len(out)} bytes instead of {size}")
    return bytes(out)


def compress(data):
    header = bytearray()
    size = len(data)
    while size >= 0x80:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    out = [bytes(header)]
    for start in range(0, len(data), 65536):
        part = data[start : start + 65536]
        count = len(part) - 1
        if count < 60:
            out.append(bytes([count << 2]))
        else:
            out.append(bytes([61 << 2]) + count.to_bytes(2, "little"))
        out.append(part)
    return b"".join(out)
