"""What goes with a picture from each format to each, read again by Pillow, tifffile or by hand."""

import io
import json
import shutil
import struct
import subprocess

import pytest
import tifffile

from tests.programs import fails, run, succeeds
from tests.rendering import spoken
from tests.rendering.spoken import (
    ENDINGS,
    EXIF_IFD,
    MAKER,
    MAKER_AT,
    SIZE,
    THUMBNAIL,
    XMP,
    chunk,
    chunks,
    iptc_of,
    opened,
    xmp_of,
)

TABLE = [(source, target) for source in list(ENDINGS)[:4] for target in list(ENDINGS)[:4]]
table = pytest.mark.parametrize(("source", "target"), TABLE)
table_without_webp = pytest.mark.parametrize(  # which holds neither IPTC nor texts
    ("source", "target"), [cell for cell in TABLE if cell[0] != "WEBP"]
)
GPS_IFD, INTEROP_IFD, THUMBNAIL_IFD = 0x8825, 0xA005, 1


@pytest.mark.parametrize(
    ("source", "target", "order"),
    [(*cell, order) for cell in TABLE for order in "<>" if order == "<" or cell[0] != "TIFF"],
)
def test_exif(through, source, target, order):
    data, notes = through(spoken.spoken(source, spoken.exif(order)), target)
    assert not [note for note in notes if "EXIF" in note]
    exif = opened(data).getexif()
    assert (exif[271], exif[274]) == ("Lumix", 1)
    assert "Zoë".encode() in data
    assert exif.get(256, SIZE[1]) == SIZE[1]
    assert exif.get(257, SIZE[0]) == SIZE[0]
    assert (exif[282], exif[283], exif[296]) == (300, 300, 2)
    inner = exif.get_ifd(EXIF_IFD)
    assert inner[0x829A] == pytest.approx(1 / 250)
    assert inner[0x9003] == "2024:05:06 07:08:09"
    assert (inner[0xA003], inner[0xA002]) == SIZE
    assert 0x9214 not in inner  # where the subject was
    assert exif.get_ifd(INTEROP_IFD)[1] == "R98"
    gps = exif.get_ifd(GPS_IFD)
    assert (gps[1], gps[2]) == ("N", (48, 8, 12.34))
    assert not exif.get_ifd(THUMBNAIL_IFD)
    assert THUMBNAIL not in data
    place = data.index(MAKER)
    assert place - data.rindex(b"II*\0" if order == "<" else b"MM\0*", 0, place) == MAKER_AT


@table
def test_xmp(through, source, target):
    packet = xmp_of(through(spoken.spoken(source), target)[0])
    a, b = XMP.index(b"<xmp:Thumbnails>"), XMP.index(b"<dc:creator>")
    expected = XMP[:a] + XMP[b:]
    expected = expected.replace(b'Orientation="6"', b'Orientation="1"').replace(b">16<", b">24<")
    assert packet == expected


@table_without_webp
def test_iptc(through, source, target):
    data, notes = through(spoken.spoken(source), target)
    assert notes == (() if target != "WEBP" else ("WEBP cannot hold its IPTC: left out",))
    if target != "WEBP":
        records = iptc_of(data)
        assert (records[2, 120], records[2, 25]) == (b"A brook", b"wet")
    if (source, target) == ("JPEG", "JPEG"):
        assert opened(data).info["photoshop"][0x040A] == b"\1"


@table_without_webp
def test_texts(through, source, target):
    image = opened(through(spoken.spoken(source), target)[0])
    if source == "TIFF" or target in ("TIFF", "WEBP"):
        assert image.getexif()[270] == "by hand"
    elif target == "JPEG":
        comments = [part for name, part in image.applist if name == "COM"]
        title = "Title: Größe".encode()
        assert comments == ([title, b"by hand"] if source == "PNG" else [b"by hand"])
    else:
        assert image.text["Comment"] == "by hand"
    if (source, target) == ("PNG", "PNG"):
        title = image.text["Title"]
        assert (title, title.lang, title.tkey) == ("Größe", "de", "Titel")
    if source == "PNG" and target in ("TIFF", "WEBP"):
        assert image.getexif()[269].encode("latin-1").decode() in ("Größe",)


@table
def test_density(through, source, target):
    for dpi, options in ((300, {}), (240.5, {"dpi": 240.5})):
        data, _ = through(spoken.spoken(source), target, **options)
        image = opened(data)
        exif = image.getexif()
        assert (exif[282], exif[283], exif[296]) == (dpi, dpi, 2)
        if target != "WEBP":
            rounded = {"JPEG": round(dpi), "PNG": round(dpi / 0.0254) * 0.0254}.get(target, dpi)
            assert image.info["dpi"] == pytest.approx((rounded, rounded), abs=1e-6)


def test_a_density_alone(through):
    per_metre = struct.pack(">IIB", 7874, 3937, 1)
    for target in ENDINGS:
        data, notes = through(spoken.png(chunk(b"pHYs", per_metre)), target)
        if target == "PPM":
            assert notes == ("PPM cannot hold its density: left out",)
            continue
        assert notes == ()
        if target == "WEBP":
            exif = opened(data).getexif()
            assert dict(exif) == {282: 200, 283: 100, 296: 2}
        else:
            assert opened(data).info["dpi"] == pytest.approx((200, 100), abs=0.02)
    data, _ = through(spoken.plain("BMP", dpi=(200, 100)), "TIFF")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = file.pages[0].tags
        assert [tags[name].value for name in ("XResolution", "YResolution")] == [(200, 1), (100, 1)]
        assert tags["ResolutionUnit"].value == 2
    none, _ = through(spoken.plain("PNG"), "JPEG")
    assert "dpi" not in opened(none).info
    asked, _ = through(spoken.plain("PNG"), "JPEG", dpi=72)
    assert opened(asked).info["dpi"] == (72, 72)
    assert not opened(asked).getexif()


def test_centimetres(through):
    data = spoken.jpeg()
    data = data[:13] + struct.pack(">BHH", 2, 100, 50) + data[18:]
    png, _ = through(data, "PNG")
    assert dict(chunks(png))[b"pHYs"] == struct.pack(">IIB", 10000, 5000, 1)


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("target", ENDINGS)
def test_strip_leaves_nothing(through, source, target):
    data, notes = through(spoken.spoken(source), target, strip=True)
    assert notes == ()
    for part in (b"Lumix", b"2024:05", b"adobe:ns:meta", b"A brook", b"by hand", b"Raw profile"):
        assert part not in data
    assert opened(data).size == SIZE[::-1]  # and upright
    assert "dpi" not in opened(data).info or target in ("BMP", "TIFF")


def test_strip_keeps_an_asked_density(through):
    data, _ = through(spoken.spoken("JPEG"), "PNG", strip=True, dpi=254)
    assert [kind for kind, _ in chunks(data)] == [b"IHDR", b"pHYs", b"IDAT", b"IDAT", b"IEND"]


def test_what_bmp_and_ppm_lose_is_said(through):
    parts = "EXIF, XMP, IPTC"
    _, notes = through(spoken.spoken("JPEG"), "BMP")
    assert notes == (f"BMP cannot hold its {parts} and texts: left out",)
    _, notes = through(spoken.spoken("JPEG"), "PPM")
    assert notes == (f"PPM cannot hold its {parts}, texts and density: left out",)


def test_the_command(tmp_path):
    (tmp_path / "i.jpg").write_bytes(spoken.spoken("JPEG"))
    args = ["--input", "i.jpg", "--model", "bicubic", "--scale", "2"]
    succeeds(tmp_path, "demo.py", *args, "--output", "o.webp", "--lossless", "--strip")
    assert b"VP8L" in (tmp_path / "o.webp").read_bytes()
    assert b"Lumix" not in (tmp_path / "o.webp").read_bytes()
    error = fails(tmp_path, "demo.py", *args, "--output", "o.jpg", "--lossless")
    assert error == "error: --lossless: JPEG always loses something; use .webp, .png or .tif"
    assert not (tmp_path / "o.jpg").exists()
    done = run(tmp_path, "demo.py", *args, "--output", "p.webp")
    assert done.stderr == "i.jpg: WEBP cannot hold its IPTC: left out\n"
    assert b"Lumix" in (tmp_path / "p.webp").read_bytes()


@pytest.mark.slow
@table
def test_exiftool_reads_the_same(through, tmp_path, source, target):
    assert shutil.which("exiftool"), "needs exiftool: apt-get install libimage-exiftool-perl"

    def tags(data, ending):
        path = tmp_path / f"x.{ending}"
        path.write_bytes(data)
        command = ["exiftool", "-j", "-G1", "-a", "-u", "-n", path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)[0]

    before = tags(spoken.spoken(source), ENDINGS[source])
    after = tags(through(spoken.spoken(source), target)[0], ENDINGS[target])
    assert {name for name in after if "Warning" in name or "Error" in name} <= {"ExifTool:Warning"}
    assert after.get("ExifTool:Warning", "[minor] Unrecognized MakerNotes").startswith("[minor]")
    groups = ("IFD0", "ExifIFD", "GPS", "InteropIFD", "XMP", "IPTC")
    changed = {
        **{"IFD0:Orientation": 1, "XMP-tiff:Orientation": 1, "XMP-exif:ExifImageWidth": SIZE[1]},
        **{"ExifIFD:ExifImageWidth": SIZE[1], "ExifIFD:ExifImageHeight": SIZE[0]},
        **{"IFD0:ImageWidth": SIZE[1], "IFD0:ImageHeight": SIZE[0]},
    }
    gone = {"ExifIFD:SubjectArea", "XMP-xmp:Thumbnails"}
    stored = ("Strip", "Tile", "BitsPer", "Compression", "Photometric", "Planar", "Samples", "Rows")
    for name, value in before.items():
        group, _, tag = name.partition(":")
        if name in gone:
            assert name not in after
        elif group.startswith(groups) and not tag.startswith(stored):
            if group == "IPTC" and target == "WEBP":
                continue
            if source == "TIFF" and tag in ("ImageWidth", "ImageHeight"):
                continue
            assert after[name] == changed.get(name, value), name
