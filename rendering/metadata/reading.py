"""Read the metadata of JPEG, PNG, WebP, TIFF and BMP files; for others, take Pillow's."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image, PngImagePlugin

from datasets.png import PNG, png_chunks
from rendering.metadata import exif
from rendering.metadata.found import MOST, Found
from rendering.metadata.parts import Metadata, Text
from rendering.metadata.structure import Structure, copied

JPEG = b"\xff\xd8\xff"
EXIF_MARK, XMP_MARK = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION_MARK, PHOTOSHOP_MARK = b"http://ns.adobe.com/xmp/extension/\0", b"Photoshop 3.0\0"


def read_metadata(data: bytes, info: Mapping[Any, Any] | None = None) -> Metadata | None:
    """Read the metadata of a picture file; None if there is none.

    Damaged metadata raises no error: it is left out, with a note.

    Args:
        data: Content of the file.
        info: Pillow's `info` of the file, for formats that are not read here.
    """
    found = Found()
    try:
        if data.startswith(JPEG):
            _read_jpeg(data, found)
        elif data.startswith(PNG):
            _read_png(data, found)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            _read_webp(data, found)
        elif data[:2] in (b"II", b"MM"):
            _read_tiff(Structure(data), found)
        elif data[:2] == b"BM" and len(data) >= 46 and data[14] >= 40:
            found.per_metre(*struct.unpack_from("<ii", data, 38))
        elif info:
            _read_info(info, found)
    except (struct.error, ValueError):
        found.note("what it says beside its pixels is damaged: left out")
    return found.metadata()


def image_metadata(image: Image.Image) -> Metadata | None:
    """Read the metadata of a Pillow image; see `read_metadata`."""
    found = Found()
    if image.format == "TIFF":
        blob = image.getexif().tobytes().removeprefix(b"Exif\0\0")
        _read_tiff(Structure(blob), found)
    for keyword, text in getattr(image, "text", {}).items():
        language, translated = (getattr(text, name, "") or "" for name in ("lang", "tkey"))
        if not keyword.startswith(("XML:com.adobe", "Raw profile type ")):
            found.add_text(Text(keyword, str(text), language, translated))
    _read_info(image.info, found)
    return found.metadata()


def _read_info(info: Mapping[Any, Any], found: Found) -> None:
    """Read entries with Pillow's names."""
    for name, add in (
        ("exif", found.add_exif),
        ("xmp", found.add_xmp),
        ("XML:com.adobe.xmp", found.add_xmp),
        ("comment", found.add_comment),
    ):
        part = info.get(name)
        if part := part.encode() if isinstance(part, str) else part:
            add(bytes(part))
    resources = info.get("photoshop")
    if isinstance(resources, dict) and isinstance(iptc := resources.get(0x0404), bytes):
        found.add_iptc(iptc)
    dpi = info.get("dpi")
    if isinstance(dpi, tuple) and len(dpi) == 2 and info.get("jfif_unit") != 0:
        found.set_density(float(dpi[0]), float(dpi[1]))


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the marker and content of each segment of a JPEG before its first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (0xD9, 0xDA):
            return
        (size,) = struct.unpack_from(">H", data, at + 2)
        if size < 2 or at + 2 + size > len(data):
            return
        yield marker, data[at + 4 : at + 2 + size]
        at += 2 + size


def _read_jpeg(data: bytes, found: Found) -> None:
    resources, packet = b"", b""
    extensions: dict[bytes, dict[int, bytes]] = {}
    for marker, part in _segments(data):
        if marker == 0xE0 and part.startswith(b"JFIF\0") and len(part) >= 12:
            unit, x, y = struct.unpack_from(">BHH", part, 7)
            inches = {1: 1.0, 2: 2.54}.get(unit, 0)
            found.set_density(x * inches, y * inches)
        elif marker == 0xE1 and part.startswith(EXIF_MARK):
            found.add_exif(part[6:])
        elif marker == 0xE1 and part.startswith(XMP_MARK):
            packet = packet or part.removeprefix(XMP_MARK)
        elif marker == 0xE1 and part.startswith(EXTENSION_MARK):
            rest = part.removeprefix(EXTENSION_MARK)
            if len(rest) > 40:
                (start,) = struct.unpack_from(">I", rest, 36)
                extensions.setdefault(rest[:32], {})[start] = rest[40:]
        elif marker == 0xED and part.startswith(PHOTOSHOP_MARK):
            resources += part.removeprefix(PHOTOSHOP_MARK)
        elif marker == 0xFE:
            found.add_comment(part)
    if packet:
        parts = next((parts for guid, parts in extensions.items() if guid in packet), {})
        found.add_xmp(packet, b"".join(part for _, part in sorted(parts.items())))
    if resources:
        found.add_resources(resources)


def _read_png(data: bytes, found: Found) -> None:
    for _, kind, part in png_chunks(data):
        if kind == b"pHYs" and len(part) == 9 and part[8:] == b"\1":
            found.per_metre(*struct.unpack(">II", part[:8]))
        elif kind == b"eXIf":
            found.add_exif(part)
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            try:
                text = _png_text(kind, part)
            except (ValueError, zlib.error):
                found.note("one of its texts is damaged: left out")
            else:
                _add_png_text(text, found)


def without_long_texts(data: bytes) -> bytes:
    """Remove texts from a PNG that are so long that Pillow would refuse the picture."""
    kept, start = [], 0
    for at, kind, part in png_chunks(data):
        if kind in (b"zTXt", b"iTXt"):
            try:
                long = len(_png_text(kind, part).text) > PngImagePlugin.MAX_TEXT_CHUNK
            except (ValueError, zlib.error):
                long = True
            if long:
                kept.append(data[start:at])
                start = at + 12 + len(part)
    return b"".join([*kept, data[start:]]) if start else data


def _png_text(kind: bytes, part: bytes) -> Text:
    keyword, _, rest = part.partition(b"\0")
    name = keyword.decode("latin-1")
    if kind == b"tEXt":
        return Text(name, rest.decode("latin-1"))
    if kind == b"zTXt":
        return Text(name, _inflated(rest[1:]).decode("latin-1"))
    if len(rest) < 2:
        raise ValueError("an iTXt chunk is too short")
    language, translated, text = rest[2:].split(b"\0", 2)
    text = _inflated(text) if rest[0] else text
    return Text(name, text.decode(), language.decode("latin-1"), translated.decode())


def _inflated(data: bytes) -> bytes:
    inflate = zlib.decompressobj()
    plain = inflate.decompress(data, MOST)
    if not inflate.eof:
        raise ValueError("a text is cut off, or too large")
    return plain


def _add_png_text(text: Text, found: Found) -> None:
    """Add a text, or the XMP, EXIF or IPTC that programs store in texts with certain keywords."""
    kind = text.keyword.removeprefix("Raw profile type ")
    if text.keyword == "XML:com.adobe.xmp":
        found.add_xmp(text.text.encode())
    elif kind == text.keyword:
        found.add_text(text)
    else:
        profile = bytes.fromhex("".join(text.text.split("\n")[3:]))
        if kind.lower() in ("exif", "app1") and profile.startswith(EXIF_MARK):
            found.add_exif(profile)
        elif kind.lower() in ("xmp", "app1"):
            found.add_xmp(profile.removeprefix(XMP_MARK))
        elif kind.lower() in ("iptc", "8bim"):
            (found.add_resources if profile[:4] == b"8BIM" else found.add_iptc)(profile)


def _read_webp(data: bytes, found: Found) -> None:
    at = 12
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF":
            found.add_exif(data[at + 8 : at + 8 + size])
        elif kind == b"XMP ":
            found.add_xmp(data[at + 8 : at + 8 + size])
        at += 8 + size + size % 2


# Tags of the first directory of a TIFF that describe the picture: those of EXIF, and the times and
# exposures that EXIF has in a directory of its own.
DESCRIBING = {
    *(269, 270, 271, 272, 274, 282, 283, 285, 296, 305, 306, 315, 316, 18246, 18249, 33432),
    *(33434, 33437, 34665, 34850, 34852, 34853, 34855, 36867, 36868, 37393, 37396, 50341),
    *range(37377, 37387),
    *range(40091, 40096),
}
ELSEWHERE = {256, 257, 297, exif.XMP, exif.IPTC, exif.PHOTOSHOP, exif.ICC} | exif.STORAGE
MAPS = {33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}
# Beginnings of descriptions from which programs would read the sizes of the input; the first kind
# contains nothing else.
SHAPE = b'{"shape"'
TECHNICAL = (SHAPE, b"ImageJ=", b"<?xml", b"<OME", b"SCANIMAGE")


def _read_tiff(source: Structure, found: Found) -> None:
    first, _ = source.entries(source.first)
    description = source.value(first[270]) if 270 in first else b""
    technical = description.startswith(TECHNICAL)
    if technical and not description.startswith(SHAPE):
        found.note("its description, of a program's kind, is for the old size: left out")
    new = copied(source, DESCRIBING, without=[270] if technical else [])
    if new.entries.keys() - exif.DENSITY:
        new.structure.put_first(new.entries)
        found.add_exif(bytes(new.structure.data))
    if new.moved:
        found.note("the maker note of its EXIF has another place now: parts may be unreadable")
    if dpi := exif.density(source):
        found.set_density(*dpi)
    for tag, add in (
        (exif.XMP, found.add_xmp),
        (exif.IPTC, found.add_iptc),
        (exif.PHOTOSHOP, found.add_resources),
    ):
        if tag in first:
            add(source.value(first[tag]))
    if first.keys() & MAPS:
        found.note("its place on a map is left out")
    others = sorted(first.keys() - DESCRIBING - ELSEWHERE - MAPS)
    if others:
        found.note(f"its TIFF tags {', '.join(map(str, others))} are left out")
    if source.damaged:
        found.note("parts of its TIFF tags are damaged: left out")
