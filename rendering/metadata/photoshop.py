"""Read and write IPTC and Photoshop's resources, which hold IPTC in a JPEG."""

from __future__ import annotations

import struct

IPTC, URL, COPYRIGHTED, DIGEST = 0x0404, 0x040B, 0x040A, 0x0425
KEPT = (IPTC, URL, COPYRIGHTED, DIGEST)
PATHS = range(2000, 2999)


def resources(block: bytes) -> tuple[dict[int, bytes], bool]:
    """Read the number and content of each resource, and whether the block is damaged."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 12 <= len(block):
        if block[at : at + 4] not in (b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"):
            return found, True
        (number,) = struct.unpack_from(">H", block, at + 4)
        at += 6 + (block[at + 6] + 2) // 2 * 2  # past the name, padded with its length
        if at + 4 > len(block):
            return found, True
        (size,) = struct.unpack_from(">I", block, at)
        if at + 4 + size > len(block):
            return found, True
        found.setdefault(number, block[at + 4 : at + 4 + size])
        at += 4 + size + size % 2
    return found, bool(block[at:].strip(b"\0"))


def block_of(found: dict[int, bytes]) -> bytes:
    """Make the block of resources from their numbers and contents."""
    parts = (
        struct.pack(">4sHHI", b"8BIM", number, 0, len(data)) + data + bytes(len(data) % 2)
        for number, data in found.items()
    )
    return b"".join(parts)


def unswapped(iptc: bytes) -> bytes:
    """Fix IPTC of a TIFF that a program wrote as 32-bit numbers in the wrong byte order."""
    if iptc[:1] != b"\x1c" and iptc[3:4] == b"\x1c":
        whole = len(iptc) // 4
        iptc = struct.pack(f">{whole}I", *struct.unpack(f"<{whole}I", iptc[: whole * 4]))
    return iptc


def is_iptc(iptc: bytes) -> bool:
    return iptc[:1] == b"\x1c" and len(iptc) >= 5
