"""Correct in EXIF what a changed picture makes wrong, and touch nothing else.

EXIF is a TIFF structure. It is edited in place, so that maker notes, which may contain offsets in
it, stay valid.
"""

from __future__ import annotations

from rendering.metadata.structure import (
    ASCII,
    EXIF_IFD,
    LONG,
    MAKER_NOTE,
    RATIONAL,
    SHORT,
    UNDEFINED,
    Entry,
    Structure,
    copied,
)

WIDTH, LENGTH, ORIENTATION = 256, 257, 274
X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT = 282, 283, 296
DENSITY = {X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT}
PIXEL_X, PIXEL_Y, USER_COMMENT = 0xA002, 0xA003, 0x9286
# Positions of the subject in the picture, and the image that this one is a part of.
PLACES = (0x9214, 0xA214, 0xA20C)
THUMBNAIL, THUMBNAIL_SIZE, STRIPS, STRIP_SIZES = 513, 514, 273, 279
# Tags of the first directory that describe how pixels are stored.
STORAGE = {
    *(254, 255, 258, 259, 262, 263, 264, 265, 266, STRIPS, 277, 278, STRIP_SIZES, 280, 281, 284),
    *(290, 291, 292, 293, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332, 334, 336),
    *(338, 339, 340, 341, 342, 347, 512, THUMBNAIL, THUMBNAIL_SIZE, *range(515, 533)),
}
POSITIONING = {529, 530, 531, 532}  # how a JPEG stores colours; right in every EXIF
XMP, IPTC, PHOTOSHOP, ICC = 700, 33723, 34377, 34675
# The keyword of a text -> the tag with the same meaning.
TAG_OF = {"Title": 269, "Description": 270, "Author": 315, "Copyright": 33432, "Software": 305}
INCH, CENTIMETRE = 2, 3


def checked(blob: bytes) -> tuple[bytes | None, bool]:
    """Return EXIF, or None if it is empty or unreadable, and whether some of it is damaged."""
    blob = blob.removeprefix(b"Exif\0\0")
    try:
        structure = Structure(blob)
    except ValueError:
        return None, bool(blob)
    if structure.big:
        return None, True
    first, _ = structure.entries(structure.first)
    for entry in (first[tag] for tag in (EXIF_IFD, 0x8825) if tag in first):
        structure.entries(structure.target_of(entry))
    return (blob if first else None), structure.damaged or not first


def orientation(blob: bytes) -> int | None:
    structure = Structure(blob)
    entry = structure.entries(structure.first)[0].get(ORIENTATION)
    numbers = structure.numbers(entry) if entry else []
    return int(numbers[0]) if numbers else None


def density(structure: Structure) -> tuple[float, float] | None:
    """Read the pixels per inch, in x and y, from the first directory; None if they are missing."""
    first, _ = structure.entries(structure.first)
    values = []
    for tag in (X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT):
        numbers = structure.numbers(first[tag]) if tag in first else [INCH]
        values.append(numbers[0] if numbers else 0)
    x, y, unit = values
    if X_RESOLUTION not in first or min(x, y) <= 0 or unit not in (INCH, CENTIMETRE):
        return None
    y = y if Y_RESOLUTION in first else x
    return (x * 2.54, y * 2.54) if unit == CENTIMETRE else (x, y)


def density_of(blob: bytes) -> tuple[float, float] | None:
    """Read the pixels per inch, in x and y, from EXIF; None if they are missing."""
    return density(Structure(blob))


def corrected(
    blob: bytes | None, size: tuple[int, int], dpi: tuple[float, float] | None, force: bool
) -> bytes | None:
    """Correct EXIF for a picture that was turned upright and resized.

    Args:
        blob: EXIF of the input; None if it has none, so that only the density is written.
        size: (height, width) of the output, in pixels.
        dpi: Pixels per inch, in x and y.
        force: Write dpi even if the EXIF has another density.
    """
    if blob is None:
        if dpi is None:
            return None
        structure = Structure.empty("<")
        structure.put_first(_with_density(structure, {}, dpi))
        return bytes(structure.data)
    structure = Structure(bytearray(blob))
    first, second = structure.entries(structure.first)
    if second and second != structure.first:
        _erase_thumbnail(structure, second)
        first, _ = structure.entries(structure.first)
    for tag in STORAGE - POSITIONING:
        first.pop(tag, None)
    if ORIENTATION in first:
        first[ORIENTATION] = structure.of_numbers(SHORT, 1)
    _resize(structure, first, (LENGTH, WIDTH), size)
    if dpi and (force or density(structure) is None):
        first = _with_density(structure, first, dpi)
    if EXIF_IFD in first and (at := structure.target_of(first[EXIF_IFD])):
        inner, after = structure.entries(at)
        _resize(structure, inner, (PIXEL_Y, PIXEL_X), size)
        for tag in PLACES:
            inner.pop(tag, None)
        if inner:
            first[EXIF_IFD] = structure.of_numbers(LONG, structure.put(inner, at, after))
        else:
            del first[EXIF_IFD]
    structure.put_first(first, structure.first)
    return bytes(structure.data)


def _resize(
    structure: Structure, entries: dict[int, Entry], tags: tuple[int, int], size: tuple[int, int]
) -> None:
    for tag, pixels in zip(tags, size, strict=True):
        if tag in entries:
            entries[tag] = structure.of_numbers(LONG if pixels > 65535 else SHORT, pixels)


def _with_density(
    structure: Structure, entries: dict[int, Entry], dpi: tuple[float, float]
) -> dict[int, Entry]:
    x, y = (structure.entry(RATIONAL, structure.fraction(each)) for each in dpi)
    new = {X_RESOLUTION: x, Y_RESOLUTION: y, RESOLUTION_UNIT: structure.of_numbers(SHORT, INCH)}
    return {**entries, **new}


def _erase_thumbnail(structure: Structure, at: int) -> None:
    """Erase the thumbnail in the second directory, as it shows the input, and the directory."""
    entries, _ = structure.entries(at)
    structure.erase(at, len(structure.directory(entries)))
    for entry in entries.values():
        if (place := structure.place(entry)) is not None:
            structure.erase(place, len(structure.value(entry)))
    for tag, size_tag in ((THUMBNAIL, THUMBNAIL_SIZE), (STRIPS, STRIP_SIZES)):
        if tag in entries and size_tag in entries:
            starts, sizes = (structure.numbers(entries[each]) for each in (tag, size_tag))
            for start, size in zip(starts, sizes, strict=False):
                structure.erase(int(start), int(size))


def with_texts(
    blob: bytes | None, texts: list[tuple[str, str]]
) -> tuple[bytes | None, list[tuple[str, str]]]:
    """Add texts to EXIF, for formats that have no other place for them.

    Texts with a tag of their own go there, a comment goes to the description, and all others go
    together to the user comment. Existing values stay.

    Args:
        blob: EXIF, or None.
        texts: Keywords and texts.

    Returns:
        The new EXIF, and the texts for which there was no place.
    """
    structure = Structure(bytearray(blob)) if blob else Structure.empty("<")
    first, _ = structure.entries(structure.first) if blob else ({}, 0)
    inner: dict[int, Entry] = {}
    at = structure.target_of(first[EXIF_IFD]) if EXIF_IFD in first else None
    if at:
        inner, _ = structure.entries(at)
    others = []
    for keyword, text in texts:
        tag = TAG_OF.get(keyword, 270 if keyword == "Comment" else None)
        raw = text.encode() + b"\0"
        if tag is None or b"\0" in raw[:-1]:
            others.append((keyword, text))
        elif tag not in first:
            first[tag] = structure.entry(ASCII, raw)
        elif structure.value(first[tag]).rstrip(b"\0 ") != raw.rstrip(b"\0 "):
            others.append((keyword, text))
    if others and (USER_COMMENT not in inner or _is_blank(structure, inner[USER_COMMENT])):
        single = len(others) == 1 and others[0][0] == "Comment"
        text = others[0][1] if single else "\n".join(map(": ".join, others))
        inner[USER_COMMENT] = structure.entry(UNDEFINED, _user_comment(text, structure.order))
        first[EXIF_IFD] = structure.of_numbers(LONG, structure.put(inner, at))
        others = []
    if not first:
        return blob, others
    structure.put_first(first, structure.first or None)
    return bytes(structure.data), others


def _is_blank(structure: Structure, comment: Entry) -> bool:
    return not structure.value(comment)[8:].strip(b"\0 ")


def _user_comment(text: str, order: str) -> bytes:
    if text.isascii():
        return b"ASCII\0\0\0" + text.encode()
    return b"UNICODE\0" + text.encode("utf-16-le" if order == "<" else "utf-16-be")


def without_maker_note(blob: bytes) -> bytes:
    """Remove the maker note, which only its maker can read and which is often the largest part."""
    structure = Structure(bytearray(blob))
    first, _ = structure.entries(structure.first)
    if EXIF_IFD in first:
        at = structure.target_of(first[EXIF_IFD])
        inner, after = structure.entries(at)
        if inner.pop(MAKER_NOTE, None) and inner:
            structure.put(inner, at, after)
    new = copied(Structure(structure.data))
    new.structure.put_first(new.entries)
    return bytes(new.structure.data)
