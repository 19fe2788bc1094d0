"""Read TIFF directories, which EXIF uses, too; edit them in place, and copy them.

This follows TIFF revision 6.0, and BigTIFF, whose directories have numbers twice as wide.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from fractions import Fraction
from typing import Literal, NamedTuple

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
ASCII, SHORT, LONG, RATIONAL, UNDEFINED, LONG8 = 2, 3, 4, 5, 7, 16
BIG_SIZES = {**SIZES, 16: 8, 17: 8, 18: 8}
EXIF_IFD, GPS_IFD, INTEROP_IFD = 0x8769, 0x8825, 0xA005
MAKER_NOTE = 0x927C
PINNED = 2**16  # a maker note at this offset or beyond is moved
MOST = 2**16 - 1  # most entries of a directory, and
LARGEST = 2**26  # most bytes of a value or of all copied values; more is taken for damage
Order = Literal["<", ">"]
# Types of whole numbers, and their codes in `struct`.
CODES = {1: "B", SHORT: "H", LONG: "I", 6: "b", 8: "h", 9: "i", 13: "I", LONG8: "Q", 18: "Q"}


class Entry(NamedTuple):
    """The entry of a tag in a directory.

    Attributes:
        kind: Type of its numbers.
        length: Number of them.
        field: The value, or the offset where it is stored.
    """

    kind: int
    length: int
    field: bytes


class Structure:
    """The bytes of a TIFF structure.

    Args:
        data: Bytes that begin with the header.

    Attributes:
        order: Byte order, "<" or ">".
        big: Whether it is a BigTIFF.
        damaged: Whether invalid entries were found; they are left out.

    Raises:
        ValueError: If there is no header.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data
        self.order: Order = ">" if data[:2] == b"MM" else "<"
        if data[:2] not in (b"II", b"MM") or len(data) < 8 or self.unpack("H", 2) not in (42, 43):
            raise ValueError("no TIFF structure")
        self.big = self.unpack("H", 2) == 43
        if self.big and len(data) < 16:
            raise ValueError("no TIFF structure")
        self.damaged = False

    @classmethod
    def empty(cls, order: Order, big: bool = False) -> Structure:
        """Make a header with nothing behind it; see `put_first`."""
        mark = b"II" if order == "<" else b"MM"
        rest = struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
        return cls(bytearray(mark + rest))

    @property
    def _width(self) -> int:
        """The number of bytes in the field of an entry."""
        return 8 if self.big else 4

    @property
    def first(self) -> int:
        """The offset of the first directory."""
        return self.unpack("Q", 8) if self.big else self.unpack("I", 4)

    def unpack(self, code: str, at: int) -> int:
        size = struct.calcsize(code)
        return struct.unpack(self.order + code, bytes(self.data[at : at + size]))[0]

    def entries(self, at: int) -> tuple[dict[int, Entry], int]:
        """Read the entries of a directory by tag, and the offset of the next directory, or 0."""
        head, each = ("Q", 20) if self.big else ("H", 12)
        start = at + struct.calcsize(head)
        if at < 8 or start > len(self.data):
            self.damaged = True
            return {}, 0
        count = self.unpack(head, at)
        whole = min(count, (len(self.data) - start) // each, MOST)
        self.damaged |= whole < count
        found: dict[int, Entry] = {}
        for place in range(start, start + each * whole, each):
            entry = Entry(
                self.unpack("H", place + 2),
                self.unpack("Q" if self.big else "I", place + 4),
                bytes(self.data[place + each - self._width : place + each]),
            )
            if self._is_whole(entry):
                found.setdefault(self.unpack("H", place), entry)
            else:
                self.damaged = True
        end = start + each * count
        inside = end + self._width <= len(self.data)
        return found, self.unpack("Q" if self.big else "I", end) if inside else 0

    def _is_whole(self, entry: Entry) -> bool:
        size = BIG_SIZES.get(entry.kind, 0) * entry.length
        at = self.pointer(entry) if size > self._width else 0
        return 0 < size <= LARGEST and at + size <= len(self.data)

    def pointer(self, entry: Entry) -> int:
        """Read the field as the offset of a value."""
        return struct.unpack(self.order + ("Q" if self.big else "I"), entry.field)[0]

    def place(self, entry: Entry) -> int | None:
        """Get the offset of the value; None if it is in the field itself."""
        size = BIG_SIZES[entry.kind] * entry.length
        return self.pointer(entry) if size > self._width else None

    def target_of(self, entry: Entry) -> int:
        """Get the offset of the directory that an entry points to; 0 if it points to none."""
        numbers = self.numbers(entry)
        return int(numbers[0]) if len(numbers) == 1 else 0

    def value(self, entry: Entry) -> bytes:
        """Get the bytes of the value."""
        size = BIG_SIZES[entry.kind] * entry.length
        at = self.place(entry)
        return entry.field[:size] if at is None else bytes(self.data[at : at + size])

    def numbers(self, entry: Entry) -> list[float]:
        """Read the values of whole and rational numbers; an empty list for other types."""
        raw = self.value(entry)
        if entry.kind in (RATIONAL, 10):
            code = "I" if entry.kind == RATIONAL else "i"
            parts = struct.unpack(f"{self.order}{2 * entry.length}{code}", raw)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            return [above / below if below else 0.0 for above, below in pairs]
        if entry.kind not in CODES:
            return []
        return [*map(float, struct.unpack(f"{self.order}{entry.length}{CODES[entry.kind]}", raw))]

    def entry(self, kind: int, raw: bytes, at: int | None = None) -> Entry:
        """Make an entry; a value that does not fit into the field is appended.

        Args:
            kind: Type of the value.
            raw: Value in the byte order of this structure.
            at: Offset of the value, if it is already stored.
        """
        assert isinstance(self.data, bytearray)
        count = len(raw) // BIG_SIZES[kind]
        if len(raw) <= self._width:
            return Entry(kind, count, raw.ljust(self._width, b"\0"))
        if at is None:
            at = self._end()
            self.data += raw
        return Entry(kind, count, struct.pack(self.order + ("Q" if self.big else "I"), at))

    def of_numbers(self, kind: int, *numbers: int) -> Entry:
        """Make an entry of whole numbers; see `entry`."""
        return self.entry(kind, self.packed(kind, *numbers))

    def packed(self, kind: int, *numbers: int) -> bytes:
        """Pack whole numbers as the value of an entry."""
        return struct.pack(f"{self.order}{len(numbers)}{CODES[kind]}", *numbers)

    def fraction(self, number: float) -> bytes:
        """Pack a positive number as a fraction, the value of an entry."""
        part = Fraction(min(number, 2.0**31)).limit_denominator(10000 if number < 2**16 else 1)
        return struct.pack(self.order + "II", part.numerator, part.denominator)

    def _end(self) -> int:
        assert isinstance(self.data, bytearray)
        self.data += bytes(len(self.data) % 2)
        return len(self.data)

    def directory(self, entries: dict[int, Entry], after: int = 0) -> bytes:
        """Make the bytes of a directory, with its entries sorted by tag."""
        wide = "Q" if self.big else "I"
        records = [
            struct.pack(f"{self.order}HH{wide}", tag, entry.kind, entry.length) + entry.field
            for tag, entry in sorted(entries.items())
        ]
        head = struct.pack(self.order + ("Q" if self.big else "H"), len(records))
        return head + b"".join(records) + struct.pack(self.order + wide, after)

    def put(self, entries: dict[int, Entry], at: int | None = None, after: int = 0) -> int:
        """Write a directory, replacing the one at ``at`` if it is no longer than that.

        Returns:
            The offset of the directory.
        """
        assert isinstance(self.data, bytearray)
        raw = self.directory(entries, after)
        room = 0
        if at is not None:
            assert not self.big
            room = min(len(self.directory({})) + self.unpack("H", at) * 12, len(self.data) - at)
        if at is None or len(raw) > room:
            place = self._end()
            self.data += raw
            return place
        self.data[at : at + room] = raw.ljust(room, b"\0")
        return at

    def put_first(self, entries: dict[int, Entry], at: int | None = None) -> None:
        """Write the first directory; see `put`."""
        self.point(self.put(entries, at))

    def point(self, first: int) -> None:
        """Write the offset of the first directory into the header."""
        code, place = ("Q", 8) if self.big else ("I", 4)
        assert isinstance(self.data, bytearray)
        struct.pack_into(self.order + code, self.data, place, first)

    def erase(self, at: int, size: int) -> None:
        """Overwrite bytes with zeros, or cut them off if they are the last ones."""
        assert isinstance(self.data, bytearray)
        if size <= 0 or not 8 <= at < len(self.data):
            return
        if at + size >= len(self.data) - 1:
            del self.data[at:]
        else:
            self.data[at : at + size] = bytes(size)


class Copied(NamedTuple):
    """A structure with only the copied values, their entries, and whether the maker note moved."""

    structure: Structure
    entries: dict[int, Entry]
    moved: bool


def copied(
    source: Structure,
    tags: Collection[int] | None = None,
    without: Collection[int] = (),
    big: bool = False,
    farthest: int = PINNED,
) -> Copied:
    """Copy the first directory, and those of EXIF, GPS and interoperability, to a new structure.

    A maker note may contain offsets within the file. So it keeps its offset, unless that is too far
    from the beginning.

    Args:
        source: Structure to copy from.
        tags: Tags of the first directory to copy; None: all.
        without: Tags of the first directory to leave out.
        big: Whether the new structure is a BigTIFF.
        farthest: Offset from which on a maker note is moved.

    Returns:
        The copies; the first directory is not written yet.
    """
    target = Structure.empty(source.order, big)
    first, _ = source.entries(source.first) if source.first else ({}, 0)
    note = None
    if EXIF_IFD in first:
        note = source.entries(source.target_of(first[EXIF_IFD]))[0].get(MAKER_NOTE)
    place = source.place(note) if note else None
    pinned = place is not None and len(target.data) <= place < farthest
    if pinned and note and place:
        assert isinstance(target.data, bytearray)
        target.data += bytes(place - len(target.data)) + source.value(note)

    def copy(entries: dict[int, Entry], inner: tuple[int, ...]) -> dict[int, Entry]:
        new = {}
        for tag, entry in entries.items():
            if tag in inner:
                within, _ = source.entries(source.target_of(entry))
                if within:
                    at = target.put(copy(within, (INTEROP_IFD,)))
                    new[tag] = target.of_numbers(LONG8 if big else LONG, at)
            elif entry.kind in SIZES and len(target.data) <= LARGEST:
                known = place if tag == MAKER_NOTE and pinned else None
                new[tag] = target.entry(entry.kind, source.value(entry), known)
            else:
                source.damaged = True
        return new

    wanted = (first.keys() if tags is None else first.keys() & tags) - set(without)
    kept = {tag: entry for tag, entry in first.items() if tag in wanted}
    entries = copy(kept, (EXIF_IFD, GPS_IFD))
    return Copied(target, entries, place is not None and not pinned)
