"""Notes for the user about what reading silently changes in images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from datasets.header import Header
from datasets.image_file import Channels, read_image
from errors import UserError

PROBED = 3  # 16-bit files that are decoded to see how bright they are
DARK = 14  # bits; if a 16-bit file needs no more, its levels are those of a camera or scanner


def notes_of(headers: Mapping[Path, Header], channels: Channels) -> list[str]:
    """Return a line for each thing worth knowing, with the first file that it applies to."""
    gray = [file for file, header in headers.items() if header.gray]
    colour = [file for file, header in headers.items() if not header.gray]
    deep = {file: header for file, header in headers.items() if 8 < header.bits <= 16}
    notes = []
    if channels == 3:
        notes += _note(gray, "gray, read as RGB; a model with out_dim: 1 reads one channel")
        rounded = [file for file, header in deep.items() if header.gray]
        notes += _note(rounded, "gray of more than 8 bits, rounded to 8; with out_dim: 1 they stay")
    else:
        notes += _note(colour, "colours, read as gray: their ITU-R 601-2 luma")
    cut = [file for file, header in deep.items() if not header.gray]
    notes += _note(cut, "colours of more than 8 bits, of which the upper 8 are read")
    return notes + _dark([file for file, header in deep.items() if header.bits == 16])


def _note(files: list[Path], text: str) -> list[str]:
    more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
    return [f"{files[0]}{more}: {text}"] if files else []


def _dark(files: list[Path]) -> list[str]:
    """Note 16-bit files if the first few of them use only the lower bits."""
    used: dict[Path, int] = {}
    for file in files[:PROBED]:
        try:
            used[file] = _bits(file)
        except UserError:
            continue
    brightest = max(used, key=lambda file: used[file], default=None)
    if brightest is None or not 0 < used[brightest] <= DARK:
        return []
    bits = used[brightest]
    return _note(
        [brightest],
        f"its largest level needs {bits} of 16 bits, so it reads as nearly black; if these are "
        f"{bits}-bit data, multiply them by {2 ** (16 - bits)}",
    )


def _bits(file: Path) -> int:
    """Count the bits that the largest level of a 16-bit file needs; 0 if it is black."""
    pixels = read_image(file, 1)
    if pixels.dtype.itemsize == 2:
        return int(pixels.max()).bit_length()
    return int(read_image(file).max()).bit_length() + 8  # only the upper 8 bits of colours are read
