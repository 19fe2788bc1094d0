"""Files with metadata, made and read by hand or with other libraries than the code under test."""

from __future__ import annotations

import io
import struct
import zlib
from functools import partial

import numpy as np
import tifffile
from PIL import Image, IptcImagePlugin

from tests.rendering.corpus import levels

HEIGHT, WIDTH = 12, 16
SIZE = (2 * WIDTH, 2 * HEIGHT)  # (height, width) of twice the picture, which lies on its side
ENDINGS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp", "PPM": "ppm"}
EXIF_IFD = 0x8769
MAKER = b"MAKER\0pointing inside"
MAKER_AT = 200  # where it stands in the structure of `exif`
THUMBNAIL = b"\xff\xd8thumbnail\xff\xd9"
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
    'tiff:Orientation="6" xmp:Rating="4"><exif:PixelXDimension>16</exif:PixelXDimension>'
    "<xmp:Thumbnails><rdf:Alt><rdf:li>AAAA</rdf:li></rdf:Alt></xmp:Thumbnails>"
    "<dc:creator><rdf:Seq><rdf:li>Zoë</rdf:li></rdf:Seq></dc:creator>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()
IPTC = b"\x1c\x02\x00\x00\x02\x00\x04" + b"\x1c\x02\x78\x00\x07A brook" + b"\x1c\x02\x19\x00\x03wet"


def exif(order: str = "<", orientation: int = 6, thumbnail: bool = True) -> bytes:
    """A structure with all kinds of directories, and a maker note at `MAKER_AT`."""
    two, wide, ratio = (partial(struct.pack, order + code) for code in ("H", "I", "II"))
    data = bytearray(MAKER_AT)
    data += MAKER + bytes(len(MAKER) % 2)

    def value(raw: bytes) -> bytes:
        if len(raw) <= 4:
            return raw.ljust(4, b"\0")
        at = len(data)
        data.extend(raw + bytes(len(raw) % 2))
        return wide(at)

    def directory(entries: list[tuple[int, int, int, bytes]], after: int = 0) -> int:
        records = [struct.pack(order + "HHI", *e[:3]) + value(e[3]) for e in sorted(entries)]
        at = len(data)
        data.extend(two(len(records)) + b"".join(records) + wide(after))
        return at

    interop = directory([(1, 2, 4, b"R98\0")])
    inner = directory(
        [
            (0x829A, 5, 1, ratio(1, 250)),
            (0x9003, 2, 20, b"2024:05:06 07:08:09\0"),
            (0x9214, 3, 2, two(3) + two(4)),
            (0x9286, 7, 8, bytes(8)),
            (0xA002, 3, 1, two(WIDTH)),
            (0xA003, 3, 1, two(HEIGHT)),
            (0xA005, 4, 1, wide(interop)),
        ]
    )
    # The maker note keeps its place: its entry is written by hand into a longer directory.
    (count,) = struct.unpack_from(order + "H", data, inner)
    records = bytes(data[inner + 2 : inner + 2 + 12 * count])
    note = struct.pack(order + "HHII", 0x927C, 7, len(MAKER), MAKER_AT)
    inner = len(data)
    data.extend(two(count + 1) + records[: 12 * 3] + note + records[12 * 3 :] + wide(0))
    degrees = ratio(48, 1) + ratio(8, 1) + ratio(1234, 100)
    gps = directory([(1, 2, 2, b"N\0"), (2, 5, 3, degrees)])
    second = 0
    if thumbnail:
        at = len(data)
        data.extend(bytes(2 + 12 * 2 + 4))
        picture = len(data)
        records = struct.pack(order + "HHII", 513, 4, 1, picture)
        records += struct.pack(order + "HHII", 514, 4, 1, len(THUMBNAIL))
        data[at : at + 30] = two(2) + records + wide(0)
        data.extend(THUMBNAIL)
        second = at
    first = directory(
        [
            (256, 3, 1, two(WIDTH)),
            (257, 3, 1, two(HEIGHT)),
            (271, 2, 6, b"Lumix\0"),
            (274, 3, 1, two(orientation)),
            (282, 5, 1, ratio(300, 1)),
            (283, 5, 1, ratio(300, 1)),
            (296, 3, 1, two(2)),
            (315, 2, 5, "Zoë\0".encode()),
            (0x8769, 4, 1, wide(inner)),
            (0x8825, 4, 1, wide(gps)),
        ],
        second,
    )
    data[:8] = (b"II" if order == "<" else b"MM") + two(42) + wide(first)
    return bytes(data)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 255, marker, len(data) + 2) + data


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def resources(*given: tuple[int, bytes]) -> bytes:
    """A block of Photoshop, each resource with a name of one letter."""
    parts = (
        struct.pack(">4sH2sI", b"8BIM", number, b"\1x", len(data)) + data + bytes(len(data) % 2)
        for number, data in given
    )
    return b"".join(parts)


def picture() -> Image.Image:
    return Image.fromarray(levels(HEIGHT, WIDTH, 3, np.uint8))


def plain(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(*segments: bytes) -> bytes:
    """A JPEG with segments behind its JFIF header."""
    data = plain("JPEG")
    (size,) = struct.unpack_from(">H", data, 4)
    return data[: 4 + size] + b"".join(segments) + data[4 + size :]


def png(*chunks: bytes) -> bytes:
    """A PNG with chunks before its pixels."""
    data = plain("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def spoken(format: str, blob: bytes | None = None) -> bytes:
    """A picture with EXIF, XMP, IPTC and a comment, of what the format holds."""
    blob = exif() if blob is None else blob
    if format == "JPEG":
        return jpeg(
            segment(0xE1, b"Exif\0\0" + blob),
            segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
            segment(0xED, b"Photoshop 3.0\0" + resources((0x0404, IPTC), (0x040A, b"\1"))),
            segment(0xFE, b"by hand"),
        )
    if format == "PNG":
        digits = resources((0x0404, IPTC)).hex()
        profile = f"\niptc\n{len(digits) // 2:8}\n{digits}\n".encode()
        return png(
            chunk(b"eXIf", blob),
            chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
            chunk(b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile)),
            chunk(b"tEXt", b"Comment\0by hand"),
            chunk(b"iTXt", "Title\0\0\0de\0Titel\0Größe".encode()),
            chunk(b"pHYs", struct.pack(">IIB", 11811, 11811, 1)),
        )
    if format == "WEBP":
        return plain("WEBP", exif=blob, xmp=XMP)
    assert format == "TIFF"
    return tiff()


def tiff(blob: bytes | None = None) -> bytes:
    """A TIFF whose directories of EXIF and GPS are behind the pixels, as tifffile cannot make it.

    The first directory of a structure as of `exif` is moved behind it, and its places stay.
    """
    blob = blob or exif(thumbnail=False)
    (first,) = struct.unpack_from("<I", blob, 4)
    (count,) = struct.unpack_from("<H", blob, first)
    records = [blob[first + 2 + 12 * n : first + 14 + 12 * n] for n in range(count)]
    data = bytearray(blob)

    def long(tag: int, kind: int, raw: bytes) -> None:
        records.append(struct.pack("<HHII", tag, kind, len(raw), len(data)))
        data.extend(raw + bytes(len(raw) % 2))

    def short(tag: int, number: int) -> None:
        records.append(struct.pack("<HHII", tag, 3, 1, number))

    long(270, 2, b"by hand\0")
    long(700, 1, XMP)
    long(33723, 7, IPTC)
    bits = len(data)
    data.extend(struct.pack("<4H", 8, 8, 8, 0))
    records.append(struct.pack("<HHII", 258, 3, 3, bits))
    pixels = np.asarray(picture()).tobytes()
    for tag, number in ((259, 1), (262, 2), (277, 3), (278, HEIGHT), (284, 1)):
        short(tag, number)
    records.append(struct.pack("<HHII", 273, 4, 1, len(data)))
    records.append(struct.pack("<HHII", 279, 4, 1, len(pixels)))
    data.extend(pixels)
    records.sort(key=lambda record: struct.unpack_from("<H", record))
    struct.pack_into("<I", data, 4, len(data))
    data.extend(struct.pack("<H", len(records)) + b"".join(records) + bytes(4))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:  # which is right
        assert np.array_equal(file.asarray(), np.asarray(picture()))
    return bytes(data)


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def xmp_of(data):
    info = opened(data).info
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet


def chunks(data):
    """Kind and content of the chunks of a PNG."""
    at = 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def iptc_of(data):
    """The records of IPTC, by Pillow; it knows none of a PNG."""
    if data.startswith(b"\x89PNG"):
        texts = [part for kind, part in chunks(data) if kind == b"zTXt"]
        (profile,) = (t for t in texts if t.startswith(b"Raw profile type iptc\0\0"))
        lines = zlib.decompress(profile.split(b"\0\0", 1)[1]).decode().split("\n")
        block = bytes.fromhex("".join(lines[3:]))
        assert (lines[1], int(lines[2])) == ("iptc", len(block))
        assert block[:6] == b"8BIM\4\4"
        return {(2, 120): b"A brook", (2, 25): b"wet"} if IPTC in block else None
    return IptcImagePlugin.getiptcinfo(opened(data))
