"""Collect the metadata found in a file; damaged parts are left out, with a note."""

from __future__ import annotations

from dataclasses import dataclass, field

from rendering.metadata import exif, photoshop, xmp
from rendering.metadata.parts import Metadata, Text

MOST = 2**24  # most bytes of a part, and
TEXTS = 10_000  # most texts; more is taken for damage


@dataclass
class Found:
    """The parts of a file as they are found; if a part occurs twice, the first one counts.

    Attributes:
        dpi: Pixels per inch, in x and y.
        notes: Messages about what is lost.
    """

    dpi: tuple[float, float] | None = None
    notes: list[str] = field(default_factory=list)
    _exif: bytes | None = None
    _xmp: bytes | None = None
    _iptc: bytes | None = None
    _resources: dict[int, bytes] = field(default_factory=dict)
    _texts: list[Text] = field(default_factory=list)

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def add_exif(self, blob: bytes) -> None:
        if self._exif is not None or not self._is_small(blob, "EXIF"):
            return
        self._exif, damaged = exif.checked(blob)
        if damaged:
            part = "its EXIF is" if self._exif is None else "parts of its EXIF are"
            self.note(f"{part} damaged: left out")

    def add_xmp(self, packet: bytes, extension: bytes = b"") -> None:
        if self._xmp is not None or not self._is_small(packet + extension, "XMP"):
            return
        self._xmp = xmp.checked(packet)
        if self._xmp is None and packet.strip(b"\0"):
            self.note("its XMP is damaged: left out")
        elif self._xmp and extension:
            whole = xmp.merged(self._xmp, extension)
            self._xmp = whole or self._xmp
            if whole is None:
                self.note("parts of its XMP are damaged: left out")

    def add_resources(self, block: bytes) -> None:
        """Add a block of Photoshop's resources, which may include IPTC."""
        if not self._is_small(block, "Photoshop data"):
            return
        found, damaged = photoshop.resources(block)
        if damaged:
            self.note("parts of its Photoshop data are damaged: left out")
        if any(number in photoshop.PATHS for number in found):
            self.note("its Photoshop paths are left out")
        if photoshop.IPTC in found:
            self.add_iptc(found.pop(photoshop.IPTC))
        self._resources |= {n: data for n, data in found.items() if n in photoshop.KEPT}

    def add_iptc(self, iptc: bytes) -> None:
        iptc = photoshop.unswapped(iptc)
        if photoshop.is_iptc(iptc) and self._is_small(iptc, "IPTC"):
            self._iptc = self._iptc or iptc
        elif iptc.strip(b"\0"):
            self.note("its IPTC is damaged: left out")

    def add_text(self, text: Text) -> None:
        if len(self._texts) >= TEXTS:
            self.note(f"more than {TEXTS} texts: left out")
        elif text.keyword and text not in self._texts[-10:]:
            self._texts.append(text)

    def add_comment(self, raw: bytes) -> None:
        if text := decoded(raw.rstrip(b"\0")):
            self.add_text(Text("Comment", text))

    def set_density(self, x: float, y: float) -> None:
        """Set the pixels per inch; the first valid values count."""
        if self.dpi is None and 0 < x < 2**31 and 0 < y < 2**31:
            self.dpi = (x, y)

    def per_metre(self, x: int, y: int) -> None:
        """Set the pixels per metre, which are mostly rounded from inches; see `set_density`."""
        self.set_density(_inches(x), _inches(y))

    def _is_small(self, part: bytes, name: str) -> bool:
        if len(part) > MOST:
            self.note(f"its {name} has more than {MOST} bytes: left out")
        return len(part) <= MOST

    def metadata(self) -> Metadata | None:
        """Make the metadata of all parts; None if there are none."""
        if self.dpi is None and self._exif is not None:
            self.dpi = exif.density_of(self._exif)
        resources = tuple(self._resources.items()) if self._iptc or self._resources else ()
        made = Metadata(
            self._exif,
            self._xmp,
            self._iptc,
            resources,
            tuple(self._texts),
            self.dpi,
            tuple(self.notes),
        )
        return None if made == Metadata() else made


def decoded(raw: bytes) -> str:
    """Decode text as UTF-8, or else as ISO 8859-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _inches(per_metre: int) -> float:
    exact = per_metre * 0.0254
    whole = round(exact)
    return whole if round(whole / 0.0254) == per_metre else exact
