"""The metadata of a picture file, and how much of it another file can hold."""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

from rendering.metadata import exif, photoshop, xmp


class Text(NamedTuple):
    """A text with a keyword, as in a PNG; the keyword of a comment is "Comment".

    Attributes:
        language: Language of the text, such as "de", if it is known.
        translated: Keyword in that language.
    """

    keyword: str
    text: str
    language: str = ""
    translated: str = ""


@dataclass(frozen=True)
class Metadata:
    """The metadata of a picture file, besides its pixels and their colours.

    Attributes:
        exif: EXIF as a TIFF structure, without the mark in front of it in a JPEG.
        xmp: XMP packet in UTF-8.
        extension: Part of the XMP that does not fit into the packet, in a JPEG.
        iptc: Records of IPTC-IIM.
        resources: Numbers and contents of Photoshop's resources, without IPTC.
        texts: Texts and comments.
        dpi: Pixels per inch, in x and y.
        notes: Messages about what cannot be kept, whatever the output is.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resources: tuple[tuple[int, bytes], ...] = ()
    texts: tuple[Text, ...] = ()
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    extension: bytes = b""

    @property
    def photoshop(self) -> bytes:
        """The block of Photoshop's resources, with IPTC among them."""
        iptc = {photoshop.IPTC: self.iptc} if self.iptc else {}
        return photoshop.block_of({**iptc, **dict(self.resources)})

    @property
    def is_turned(self) -> bool:
        """Whether the pixels of the input were not upright."""
        by_exif = exif.orientation(self.exif) if self.exif else None
        by_xmp = xmp.value(self.xmp, xmp.TIFF, "Orientation") if self.xmp else None
        return str(by_exif or by_xmp or 1) in "2345678"


@dataclass(frozen=True)
class Room:
    """The metadata that a file format can hold.

    Attributes:
        name: Name of the format.
        parts: Parts that it can hold, from "EXIF", "XMP", "IPTC", "texts", "density".
        limits: Names of parts, and the most bytes that each may have.
    """

    name: str
    parts: Collection[str] = ()
    limits: tuple[tuple[str, int], ...] = ()

    def limit(self, part: str) -> int:
        return dict(self.limits).get(part, 2**31 - 1)


def carried(
    metadata: Metadata,
    room: Room,
    size: tuple[int, int],
    factors: tuple[float, float] | None = None,
    dpi: float | None = None,
) -> tuple[Metadata, list[str]]:
    """Convert metadata for an output that was turned upright and resized, in a given format.

    Args:
        metadata: Metadata of the input.
        room: What the format can hold.
        size: (height, width) of the output, in pixels.
        factors: Output pixels per input pixel, in rows and columns; None if the output shows
            another frame than the input.
        dpi: Pixels per inch, if not those of the input.

    Returns:
        The metadata to write, and a note for each part that is lost.
    """
    asked = (dpi, dpi) if dpi else None
    notes = list(metadata.notes)
    lost = _missing(metadata, asked, room)
    new = replace(
        metadata,
        exif=metadata.exif if "EXIF" in room.parts else None,
        xmp=metadata.xmp if "XMP" in room.parts else None,
        iptc=metadata.iptc if "IPTC" in room.parts else None,
        resources=metadata.resources if "IPTC" in room.parts else (),
        texts=metadata.texts if "texts" in room.parts else (),
        dpi=asked or metadata.dpi,
        notes=(),
    )
    if new.dpi and "density" not in room.parts:
        wanted: tuple[float, float] | None = new.dpi  # EXIF is the only place for it
    else:
        wanted = asked if new.exif else None
    if new.exif or (wanted and "EXIF" in room.parts):
        try:
            new = replace(new, exif=exif.corrected(new.exif, size, wanted, asked is not None))
        except (struct.error, ValueError):
            new = replace(new, exif=None)
            notes.append("its EXIF is damaged: left out")
    if "EXIF" in room.parts and "texts" not in room.parts and metadata.texts:
        plain = [(text.keyword, text.text) for text in metadata.texts]
        blob, homeless = exif.with_texts(new.exif, plain)
        new = replace(new, exif=blob)
        lost += [f"text {keyword!r}" for keyword, _ in homeless]
    if new.xmp:
        same = None if metadata.is_turned else factors
        packet, gone = xmp.corrected(new.xmp, size, asked, same)
        new = replace(new, xmp=packet)
        notes += [
            f"its XMP has a part that is not right for the output, {what}: left out"
            for what in gone
        ]
        if packet is None:
            notes.append("its XMP cannot be corrected: left out")
    new, tight = _squeezed(new, room)
    if lost:
        notes.append(f"{room.name} cannot hold its {_listed(lost)}: left out")
    return new, [*notes, *tight]


def _missing(metadata: Metadata, asked: tuple[float, float] | None, room: Room) -> list[str]:
    """List the parts for which a format has no place."""
    there = {
        "EXIF": metadata.exif,
        "XMP": metadata.xmp,
        "IPTC": metadata.iptc or metadata.resources,
        "texts": metadata.texts and "EXIF" not in room.parts,
        "density": (asked or metadata.dpi) and "EXIF" not in room.parts,
    }
    return [part for part, value in there.items() if value and part not in room.parts]


def _squeezed(metadata: Metadata, room: Room) -> tuple[Metadata, list[str]]:
    """Reduce metadata to what fits into the format, and make notes about the rest."""
    notes = []
    if metadata.exif and len(metadata.exif) > (limit := room.limit("EXIF")):
        smaller = exif.without_maker_note(metadata.exif)
        fits = len(smaller) <= limit
        metadata = replace(metadata, exif=smaller if fits else None)
        what = "the maker note of its EXIF" if fits else "its EXIF"
        notes.append(f"{room.name} has no room for {what}: left out")
    if metadata.xmp and len(metadata.xmp) > (limit := room.limit("XMP")):
        smaller = xmp.trimmed(metadata.xmp)
        main, rest = (smaller, b"") if len(smaller) <= limit else (None, b"")
        if main is None:
            main, rest = xmp.split(smaller, limit) or (None, b"")
        metadata = replace(metadata, xmp=main, extension=rest)
        if main is None:
            notes.append(f"{room.name} has no room for its XMP, {len(smaller)} bytes: left out")
    most = room.limit("texts")
    fitting = tuple(t for t in metadata.texts if len(f"{t.keyword}: {t.text}".encode()) <= most)
    for text in metadata.texts:
        if text not in fitting:
            notes.append(f"{room.name} has no room for its text {text.keyword!r}: left out")
    return replace(metadata, texts=fitting), notes


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
