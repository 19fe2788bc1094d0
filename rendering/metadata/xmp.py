"""Correct in XMP packets what a changed picture makes wrong, and leave the rest of the text.

This follows ISO 16684-1 and Adobe's XMP specification, part 3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from functools import partial
from xml.dom import minidom
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

TIFF, EXIF = "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/exif/1.0/"
BASIC, NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NOTE_SIZE = 150  # most bytes of the attributes that announce an extension
REGIONS = "http://www.metadataworkinggroup.com/schemas/regions/"
PANORAMA = "http://ns.google.com/photos/1.0/panorama/"
GOOGLE = "http://ns.google.com/photos/1.0/camera/"
FILM = ("MicroVideo", "MicroVideoVersion", "MicroVideoOffset", "MotionPhoto", "MotionPhotoVersion")
# Properties of other pictures in the file, which are not written.
ELSEWHERE: dict[str, list[tuple[str, str | None]]] = {
    "gain map": [
        ("http://ns.adobe.com/hdr-gain-map/1.0/", None),
        ("http://ns.apple.com/HDRGainMap/1.0/", None),
        ("http://ns.google.com/photos/1.0/container/", None),
    ],
    "film": [(GOOGLE, name) for name in FILM],
    "depths": [
        ("http://ns.google.com/photos/1.0/depthmap/", None),
        ("http://ns.google.com/photos/dd/1.0/device/", None),
    ],
}
# Properties of a panorama that are in pixels, for rows and for columns.
SPANS = (
    ("FullPanoHeightPixels", "CroppedAreaImageHeightPixels", "CroppedAreaTopPixels"),
    ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels", "CroppedAreaLeftPixels"),
)


def checked(packet: bytes) -> bytes | None:
    """Return the packet as UTF-8, or None if it is damaged."""
    packet = packet.strip(b"\0")
    try:
        if packet[:2] in (b"\xff\xfe", b"\xfe\xff"):
            packet = packet.decode("utf-16").encode()
        _parse(packet)
    except (expat.ExpatError, ValueError):
        return None
    return packet


def _parse(packet: bytes) -> None:
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")

    def refuse(*_: object) -> None:
        raise ValueError("XMP has no document type")

    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(packet, True)


def corrected(
    packet: bytes,
    size: tuple[int, int],
    dpi: tuple[float, float] | None,
    factors: tuple[float, float] | None,
) -> tuple[bytes | None, list[str]]:
    """Correct XMP for a picture that was turned upright and resized.

    Args:
        packet: XMP of the input.
        size: (height, width) of the output, in pixels.
        dpi: Pixels per inch, in x and y, if not those of the input.
        factors: Output pixels per input pixel, in rows and columns, if the output shows the same
            frame as the input with the same side up.

    Returns:
        The new packet, None if it is damaged, and the names of the parts that are lost.
    """
    height, width = (str(pixels) for pixels in size)
    values = [
        (TIFF, "Orientation", "1"),
        (TIFF, "ImageWidth", width),
        (TIFF, "ImageLength", height),
        (EXIF, "PixelXDimension", width),
        (EXIF, "PixelYDimension", height),
    ]
    if dpi:
        x, y = (f"{round(1000 * each)}/1000" for each in dpi)
        values += [
            (TIFF, "XResolution", x),
            (TIFF, "YResolution", y),
            (TIFF, "ResolutionUnit", "2"),
        ]
    for uri, name, new in values:
        packet = _replaced(packet, uri, name, partial(_instead, new))
    gone: dict[str, list[tuple[str, str | None]]] = dict(ELSEWHERE)
    if factors is None:
        gone["regions of faces"] = [(REGIONS, "Regions")]
        gone["angles of a panorama"] = [(PANORAMA, None)]
    else:
        for names, factor in zip(SPANS, factors, strict=True):
            for name in names:
                packet = _replaced(packet, PANORAMA, name, partial(_scaled, factor))
    for name in ("SubjectArea", "SubjectLocation"):
        packet = _removed(packet, EXIF, name)
    packet = _removed(packet, BASIC, "Thumbnails")
    lost = []
    for what, properties in gone.items():
        before = packet
        for uri, tag in properties:
            packet = _removed(packet, uri, tag)
        if packet != before:
            lost.append(what)
    return checked(packet), lost


def _instead(new: str, _: str) -> str:
    return new


def _scaled(factor: float, number: str) -> str:
    return str(round(int(number) * factor)) if re.fullmatch(r"\d{1,9}", number) else number


def _prefixes(packet: bytes, uri: str) -> list[bytes]:
    pattern = rb"""xmlns:([\w.-]+)\s*=\s*["']""" + re.escape(uri.encode()) + rb"""["']"""
    return [re.escape(prefix) for prefix in dict.fromkeys(re.findall(pattern, packet))]


def value(packet: bytes, uri: str, name: str) -> str | None:
    """Read the value of a property; None if it has none."""
    found: list[str] = []

    def remember(text: str) -> str:
        found.append(text)
        return text

    _replaced(packet, uri, name, remember)
    return found[0] if found else None


def _replaced(packet: bytes, uri: str, name: str, change: Callable[[str], str]) -> bytes:
    """Change the value of a property in a packet."""

    def changed(match: re.Match[bytes]) -> bytes:
        before, value, after = match.group("before", "value", "after")
        return before + change(value.decode(errors="replace").strip()).encode() + after

    for prefix in _prefixes(packet, uri):
        tag = prefix + b":" + name.encode()
        places = (
            (rb"\s" + tag + rb'\s*=\s*"', rb'[^"<]*', rb'"'),
            (rb"\s" + tag + rb"\s*=\s*'", rb"[^'<]*", rb"'"),
            (rb"<" + tag + rb"(?:\s[^<>]*)?>", rb"[^<]*", rb"</" + tag + rb"\s*>"),
        )
        for before, inside, after in places:
            pattern = b"(?P<before>%b)(?P<value>%b)(?P<after>%b)" % (before, inside, after)
            packet = re.sub(pattern, changed, packet)
    return packet


def _removed(packet: bytes, uri: str, name: str | None) -> bytes:
    """Remove a property, or everything in a namespace, from a packet."""
    for prefix in _prefixes(packet, uri):
        tag = prefix + b":" + (name.encode() + rb"(?![\w.-])" if name else rb"[\w.-]+")
        packet = re.sub(rb"\s" + tag + rb"""\s*=\s*("[^"<]*"|'[^'<]*')""", b"", packet)
        kept, at = [], 0
        for match in re.finditer(rb"<(" + tag + rb")(?:\s[^<>]*)?>", packet):
            if match.start() < at:  # inside a removed part
                continue
            end = match.end()
            if not match.group().endswith(b"/>"):
                closing = b"</" + match.group(1) + b">"
                if (last := packet.find(closing, end)) < 0:
                    break
                end = last + len(closing)
            kept.append(packet[at : match.start()])
            at = end
        packet = b"".join(kept) + packet[at:]
    return packet


def merged(packet: bytes, extension: bytes) -> bytes | None:
    """Join a packet and its extension from further segments of a JPEG; None if it is damaged."""
    inner = re.search(rb"<rdf:RDF(\s[^>]*)?>(.*)</rdf:RDF\s*>", extension, re.DOTALL)
    end = re.search(rb"</rdf:RDF\s*>", packet)
    if inner is None or end is None:
        return None
    packet = packet[: end.start()] + inner.group(2) + packet[end.start() :]
    return checked(_removed(packet, NOTE, "HasExtendedXMP"))


def trimmed(packet: bytes) -> bytes:
    """Remove from a packet the padding for editing in place."""
    end = packet.rfind(b"<?xpacket end")
    return packet if end < 0 else packet[:end].rstrip() + b"\n" + packet[end:]


def split(packet: bytes, limit: int) -> tuple[bytes, bytes] | None:
    """Split a packet into one of at most ``limit`` bytes and an extension; `merged` undoes it.

    The largest properties go into the extension. None means that it cannot be split.
    """
    try:
        document = minidom.parseString(packet)
        descriptions = [
            node
            for node in document.getElementsByTagNameNS(RDF, "Description")
            if node.parentNode is not None and node.parentNode.localName == "RDF"
        ]
        properties = [(len(_bytes(node)), node) for node in _properties(descriptions)]
        over = sum(len(_bytes(node)) for node in document.childNodes) + NOTE_SIZE - limit
    except (expat.ExpatError, RecursionError):
        return None
    moved = []
    for size, node in sorted(properties, key=lambda each: -each[0]):
        if over > 0 and node.parentNode is not None:
            moved.append(_described(node))
            node.parentNode.removeChild(node)
            over -= size
    if over > 0:
        return None
    extension = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'.encode()
    extension += "".join(moved).encode() + b"</rdf:RDF></x:xmpmeta>"
    descriptions[0].setAttribute("xmlns:xmpNote", NOTE)
    descriptions[0].setAttribute("xmpNote:HasExtendedXMP", digest(extension))
    return b"".join(map(_bytes, document.childNodes)), extension


def _bytes(node: minidom.Node) -> bytes:
    return node.toxml().encode()


def digest(extension: bytes) -> str:
    """Make the name by which a packet and the segments of its extension refer to the extension."""
    return hashlib.md5(extension, usedforsecurity=False).hexdigest().upper()


def _properties(descriptions: list[minidom.Element]) -> Iterator[minidom.Element]:
    """Yield the elements that are properties, after turning long attributes into elements."""
    for description in descriptions:
        for name, text in [*description.attributes.items()]:
            if len(text) > 1000 and not name.startswith("xmlns:"):
                assert description.ownerDocument is not None
                element = description.ownerDocument.createElement(name)
                element.appendChild(description.ownerDocument.createTextNode(text))
                description.removeAttribute(name)
                description.appendChild(element)
        yield from (node for node in description.childNodes if isinstance(node, minidom.Element))


def _described(node: minidom.Element) -> str:
    """Put a property in a description of its own, with the namespaces known at its place."""
    known: dict[str, str] = {}
    above = node.parentNode
    while isinstance(above, minidom.Element):
        for name, uri in above.attributes.items():
            if name.startswith("xmlns:"):
                known.setdefault(name, uri)
        above = above.parentNode
    known["rdf:about"] = ""
    names = "".join(f" {name}={quoteattr(uri)}" for name, uri in known.items())
    return f"<rdf:Description{names}>{node.toxml()}</rdf:Description>"
