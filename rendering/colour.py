"""Colours that a file describes by numbers rather than by a profile: PNG's gAMA, cHRM and cICP.

What an ICC profile can express becomes one, since every format with profiles can hold it. HDR
curves are kept as PNG chunks. The order of precedence is that of PNG, third edition: cICP, iCCP,
sRGB, then gAMA and cHRM. sBIT and bKGD change no colours and are not kept.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from datasets.png import png_chunk

SRGB_GAMMA = 45455  # in gAMA
SRGB_PRIMARIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)  # in cHRM
UNIT = 100000  # what gAMA and cHRM store for 1
NEARLY = 100  # stored numbers at most this far apart count as equal
HDR_CHUNKS = (b"cICP", b"mDCV", b"cLLI")
COLOUR_CHUNKS = (*HDR_CHUNKS, b"sRGB", b"gAMA", b"cHRM")
HDR_CURVES = {16: "PQ", 18: "HLG"}
D50 = np.array([0.9642, 1.0, 0.8249])
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
D65, C, E, DCI = (0.3127, 0.329), (0.31, 0.316), (1 / 3, 1 / 3), (0.314, 0.351)
# ITU-T H.273, colour primaries: white, red, green, blue; (x, y) each.
PRIMARIES = {
    1: (D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    4: (C, (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (D65, (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: (D65, (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    8: (C, (0.681, 0.319), (0.243, 0.692), (0.145, 0.049)),
    9: (D65, (0.708, 0.292), (0.17, 0.797), (0.131, 0.046)),
    10: (E, (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)),
    11: (DCI, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    12: (D65, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    22: (D65, (0.63, 0.34), (0.295, 0.605), (0.155, 0.077)),
}
SRGB_CODES = (1, 13)
UNKNOWN = 2  # the code for "unspecified": taken for that of sRGB
STEPS = 1024  # entries of a curve in a table

Primaries = tuple[tuple[float, float], ...]


class Colour(NamedTuple):
    """The colour space of a file.

    Attributes:
        icc: ICC profile; None for sRGB, and for what no profile can express.
        cicp: PNG chunks that describe the colours: cICP, mDCV and cLLI.
        notes: Messages for the user.
    """

    icc: bytes | None = None
    cicp: bytes | None = None
    notes: tuple[str, ...] = ()


def colour_of_png(chunks: Mapping[bytes, bytes], icc: bytes | None, gray: bool) -> Colour:
    """Read the colour space of a PNG from its `COLOUR_CHUNKS`.

    Args:
        chunks: Content of each kind of chunk.
        icc: Profile from its iCCP chunk.
    """
    cicp = chunks.get(b"cICP", b"")
    if len(cicp) == 4:
        colour = colour_of_codes(cicp[0], cicp[1], gray, full=cicp[3] == 1)
        if colour.cicp is None:
            return colour
        kept = b"".join(png_chunk(kind, chunks[kind]) for kind in HDR_CHUNKS if kind in chunks)
        return Colour(colour.icc or icc, kept)
    if icc or b"sRGB" in chunks:
        return Colour(icc)
    gamma, points = chunks.get(b"gAMA", b""), chunks.get(b"cHRM", b"")
    return _colour_of_numbers(
        struct.unpack(">I", gamma)[0] if len(gamma) == 4 else None,
        struct.unpack(">8I", points) if len(points) == 32 else None,
        gray,
    )


def colour_of_info(info: Mapping[Any, Any], gray: bool) -> Colour:
    """Get the colour space from the gAMA and cHRM of a PNG that Pillow put in its info."""
    if "srgb" in info:
        return Colour()
    gamma, points = info.get("gamma"), info.get("chromaticity")
    return _colour_of_numbers(
        None if gamma is None else round(gamma * UNIT),
        None if points is None else tuple(round(point * UNIT) for point in points),
        gray,
    )


def colour_of_codes(primaries: int, transfer: int, gray: bool, full: bool = True) -> Colour:
    """Get the colour space that code points of ITU-T H.273 describe.

    Args:
        full: Whether black is 0 and white the largest level.
    """
    primaries, transfer = (
        code if code < 256 and code != UNKNOWN else usual
        for code, usual in zip((primaries, transfer), SRGB_CODES, strict=True)
    )
    if (primaries, transfer) == SRGB_CODES and full:
        return Colour()
    cicp = png_chunk(b"cICP", bytes([primaries, transfer, 0, full]))
    curve = _curve(transfer)
    if curve is None or primaries not in PRIMARIES or not full:
        return Colour(None, cicp)
    name = f"Code points {primaries}, {transfer}"
    return Colour(_profile(name, curve, None if gray else PRIMARIES[primaries]), cicp)


def only_in_png(cicp: bytes) -> str | None:
    """Name colours that no profile can express, so that only PNG can hold them; else None."""
    primaries, transfer, _, full = cicp[8:12]
    if full and primaries in PRIMARIES and _curve(transfer) is not None:
        return None
    return HDR_CURVES.get(transfer, f"cICP {primaries}, {transfer}")


def _colour_of_numbers(gamma: int | None, points: tuple[int, ...] | None, gray: bool) -> Colour:
    """Get the colour space that gAMA and cHRM describe, both in hundred-thousandths."""
    points = points or SRGB_PRIMARIES
    # Gray has no primaries, and its white is that of the paper or screen.
    usual = gray or all(abs(a - b) <= NEARLY for a, b in zip(points, SRGB_PRIMARIES, strict=True))
    if usual and (gamma is None or abs(gamma - SRGB_GAMMA) <= NEARLY):
        return Colour()
    curve = _curve(13) if gamma is None else _gamma(UNIT / max(gamma, 1))
    values = [point / UNIT for point in points]
    primaries = tuple(zip(values[::2], values[1::2], strict=True))
    try:
        if curve is None or gamma == 0:
            raise ValueError
        return Colour(_profile("PNG gAMA, cHRM", curve, None if gray else primaries))
    except (ValueError, np.linalg.LinAlgError, struct.error, ZeroDivisionError):
        return Colour(notes=("its gAMA and cHRM describe no colours: taken for sRGB",))


def _curve(transfer: int) -> bytes | None:
    """Make a profile tag of a code point's curve from levels to light; None if it has none."""
    x = np.linspace(0, 1, STEPS)
    if transfer in (1, 6, 14, 15):
        return _table(np.where(x < 0.081, x / 4.5, ((x + 0.099) / 1.099) ** (1 / 0.45)))
    if transfer == 7:
        return _table(np.where(x < 0.0913, x / 4, ((x + 0.1115) / 1.1115) ** (1 / 0.45)))
    if transfer == 13:
        return _table(np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4))
    gammas = {4: 2.2, 5: 2.8, 8: 1.0}
    return _gamma(gammas[transfer]) if transfer in gammas else None


def _table(light: np.ndarray) -> bytes:
    levels = np.rint(light * 65535).astype(">u2").tobytes()
    return b"curv" + struct.pack(">II", 0, STEPS) + levels


def _gamma(exponent: float) -> bytes | None:
    levels = round(exponent * 256)
    return b"curv" + struct.pack(">IIH", 0, 1, levels) if 0 < levels < 2**16 else None


def _profile(name: str, curve: bytes, primaries: Primaries | None) -> bytes:
    """Make an ICC profile, version 2, for a display, or for gray if there are no primaries.

    Raises:
        ValueError, LinAlgError, ZeroDivisionError, struct.error: If the primaries span no colours.
    """
    text = name.encode("ascii") + b"\0"
    tags = {
        b"desc": b"desc" + struct.pack(">II", 0, len(text)) + text + bytes(4 + 4 + 2 + 1 + 67),
        b"cprt": b"text" + bytes(4) + b"No copyright\0",
        b"wtpt": _xyz(D50),
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        colorants = _colorants(primaries)
        for letter, column in zip("rgb", colorants.T, strict=True):
            tags[f"{letter}XYZ".encode()] = _xyz(column)
            tags[f"{letter}TRC".encode()] = curve
    table, body = [], b""
    places: dict[bytes, int] = {}  # equal tags share their content
    for tag, content in tags.items():
        if content not in places:
            places[content] = 128 + 4 + 12 * len(tags) + len(body)
            body += content + bytes(-len(content) % 4)
        table.append(tag + struct.pack(">II", places[content], len(content)))
    rest = struct.pack(">I", len(tags)) + b"".join(table) + body
    space = b"GRAY" if primaries is None else b"RGB "
    header = struct.pack(">I4xI4s4s4s", 128 + len(rest), 0x02100000, b"mntr", space, b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    return (header + _xyz(D50)[8:]).ljust(128, b"\0") + rest


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + struct.pack(">I3i", 0, *(round(float(value) * 65536) for value in values))


def _colorants(primaries: Primaries) -> np.ndarray:
    """Compute the XYZ of red, green and blue under D50, in columns."""
    if any(not 0 <= number <= 1 for point in primaries for number in point):
        raise ValueError
    points = np.array([(x, y, 1 - x - y) for x, y in primaries])
    white = points[0] / points[0, 1] if points[0, 1] else None
    if white is None or abs(np.linalg.det(points[1:])) < 1e-4:
        raise ValueError
    matrix = points[1:].T * np.linalg.solve(points[1:].T, white)
    gains = (BRADFORD @ D50) / (BRADFORD @ white)
    adapted: np.ndarray = np.linalg.inv(BRADFORD) @ np.diag(gains) @ BRADFORD @ matrix
    return adapted
