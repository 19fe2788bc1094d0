"""What would be wrong of an output, or is damaged, is left out, and said."""

import io
import zlib

import numpy as np
import tifffile

from rendering.grid import Region
from rendering.metadata.parts import Metadata, carried
from rendering.metadata.reading import read_metadata
from rendering.writing import ROOMS
from tests.rendering import spoken
from tests.rendering.spoken import IPTC, XMP, chunk, chunks, iptc_of, opened, segment, xmp_of


def test_what_of_xmp_would_be_wrong(through):
    def packet(inner):
        return XMP.replace(b"<dc:creator>", inner.encode() + b"<dc:creator>")

    upright = spoken.exif(orientation=1)
    regions = "http://www.metadataworkinggroup.com/schemas/regions/"
    faces = packet(f'<r:Regions xmlns:r="{regions}"><r:Name>Ann</r:Name></r:Regions>')
    data = spoken.plain("WEBP", xmp=faces, exif=upright)
    assert b"Ann" in xmp_of(through(data, "PNG")[0])
    part = "its XMP has a part that is not right for the output, regions of faces: left out"
    for given, options in (
        (data, {"region": Region(0, 0, 5, 5)}),
        (spoken.plain("WEBP", xmp=faces), {}),  # turned, as it says itself
        (spoken.plain("WEBP", xmp=faces, exif=spoken.exif()), {}),
    ):
        output, notes = through(given, "PNG", **options)
        assert notes == (part,)
        assert b"Ann" not in xmp_of(output)
    sphere = "http://ns.google.com/photos/1.0/panorama/"
    inner = f'<g:FullPanoWidthPixels xmlns:g="{sphere}">100</g:FullPanoWidthPixels>'
    data = spoken.plain("WEBP", xmp=packet(inner), exif=upright)
    assert b'panorama/">300</g:' in xmp_of(through(data, "PNG", scale=(2, 3))[0])
    gain = 'xmlns:h="http://ns.adobe.com/hdr-gain-map/1.0/" h:Version="1.0" xmp:Rating'
    data = spoken.plain("WEBP", xmp=XMP.replace(b"xmp:Rating", gain.encode()), exif=upright)
    output, notes = through(data, "PNG")
    assert notes == ("its XMP has a part that is not right for the output, gain map: left out",)
    assert b"h:Version" not in output


def test_a_tiff_of_other_programs(through):
    buffer = io.BytesIO()
    pixels = np.asarray(spoken.picture())
    tags = [
        (33550, "d", 3, (1.0, 1.0, 0.0), True),
        (65000, "s", 0, "mine", True),
        (33723, "I", len(IPTC) // 4 + 1, IPTC.ljust(len(IPTC) // 4 * 4 + 4, b"\0"), True),
    ]
    tifffile.imwrite(buffer, pixels, description="ImageJ=1.0\nimages=3", extratags=tags)
    data, notes = through(buffer.getvalue(), "JPEG")
    assert notes == (
        "its description, of a program's kind, is for the old size: left out",
        "its place on a map is left out",
        "its TIFF tags 65000 are left out",
    )
    assert b"ImageJ=" not in data
    assert iptc_of(data)[2, 120] == b"A brook"


def test_damage_is_left_out_and_said(through):
    data, notes = through(spoken.jpeg(segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff")), "JPEG")
    assert notes == ("its EXIF is damaged: left out",)
    assert not opened(data).getexif()
    for packet in (b"<x:xmpmeta>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"):
        _, notes = through(spoken.plain("WEBP", xmp=packet), "PNG")
        assert notes == ("its XMP is damaged: left out",)
    data, notes = through(spoken.png(chunk(b"zTXt", b"a\0\0bad")), "PNG")
    assert notes == ("one of its texts is damaged: left out",)
    long = [b"b\0\0" + zlib.compress(b"x" * 2**21), b"a\0\0" + zlib.compress(bytes(2**25))]
    data, notes = through(spoken.png(*(chunk(b"zTXt", part) for part in long)), "PNG")
    assert notes == ("one of its texts is damaged: left out",)  # the second, a bomb
    assert dict(chunks(data))[b"zTXt"].startswith(b"b\0")
    cut = spoken.resources((0x0404, IPTC))[:-9]
    _, notes = through(spoken.jpeg(segment(0xED, b"Photoshop 3.0\0" + cut)), "JPEG")
    assert notes == ("parts of its Photoshop data are damaged: left out",)


def test_no_damage_stops_a_picture():
    rng = np.random.default_rng(0)
    files = [spoken.spoken(source) for source in ("JPEG", "PNG", "TIFF", "WEBP")]
    files.append(spoken.spoken("JPEG", spoken.exif(">")))
    read = 0
    for n in range(800):
        data = bytearray(files[n % len(files)])
        for _ in range(rng.integers(1, 9)):
            data[rng.integers(8, min(len(data), 1500))] = rng.choice([0, 1, 255, rng.integers(256)])
        metadata = read_metadata(bytes(data[: rng.integers(100, 2000)] if n % 3 else data))
        for room in ROOMS.values():
            kept, _ = carried(metadata or Metadata(), room, (40, 30), (2, 2))
            read += kept.exif is not None
    assert read > 800
