"""What goes with a picture from each format to each, read again by Pillow, tifffile or by hand."""

import hashlib
import io
import json
import shutil
import struct
import subprocess
import zlib
from functools import cache
from xml.dom import minidom

import numpy as np
import pytest
import tifffile
from PIL import Image, IptcImagePlugin

from configs.spec import UserError
from models.checkpoint import load_model
from rendering.grid import Region
from rendering.job import Wanted, render_file
from rendering.metadata.parts import carried
from rendering.metadata.pillow import kept_info
from rendering.metadata.reading import read_metadata
from rendering.tiles import Renderer
from rendering.writing import ROOMS
from tests.rendering import spoken
from tests.rendering.corpus import levels
from tests.rendering.spoken import IPTC, MAKER, MAKER_AT, THUMBNAIL, XMP, chunk, segment
from tests.test_programs import fails, run, succeeds

ENDINGS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "WEBP": "webp", "BMP": "bmp", "PPM": "ppm"}
TABLE = [(source, target) for source in list(ENDINGS)[:4] for target in list(ENDINGS)[:4]]
table = pytest.mark.parametrize(("source", "target"), TABLE)
table_without_webp = pytest.mark.parametrize(  # which holds neither IPTC nor texts
    ("source", "target"), [cell for cell in TABLE if cell[0] != "WEBP"]
)
SIZE = (2 * spoken.WIDTH, 2 * spoken.HEIGHT)  # (height, width): the picture lies on its side
EXIF_IFD, GPS_IFD, INTEROP_IFD, THUMBNAIL_IFD = 0x8769, 0x8825, 0xA005, 1


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """Renders the content of a file twice as large; returns that of the output, and the notes."""
    renderer = Renderer(*load_model("bicubic"))
    folder = tmp_path_factory.mktemp("through")

    @cache
    def render(data, target, **options):
        (folder / "input").write_bytes(data)
        output = folder / f"output.{ENDINGS[target]}"
        wanted = Wanted(**{"scale": (2, 2), **options})
        done = render_file(renderer, folder / "input", output, wanted)
        return output.read_bytes(), done.notes

    return render


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def xmp_of(data):
    info = opened(data).info
    packet = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return packet.encode() if isinstance(packet, str) else packet


def chunks(data):
    """Kind and content of the chunks of a PNG."""
    at = 8
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind, data[at + 8 : at + 8 + size]
        at += 12 + size


def iptc_of(data):
    """The records of IPTC, by Pillow; it knows none of a PNG."""
    if data.startswith(b"\x89PNG"):
        texts = [part for kind, part in chunks(data) if kind == b"zTXt"]
        (profile,) = (t for t in texts if t.startswith(b"Raw profile type iptc\0\0"))
        lines = zlib.decompress(profile.split(b"\0\0", 1)[1]).decode().split("\n")
        block = bytes.fromhex("".join(lines[3:]))
        assert (lines[1], int(lines[2])) == ("iptc", len(block))
        assert block[:6] == b"8BIM\4\4"
        return {(2, 120): b"A brook", (2, 25): b"wet"} if IPTC in block else None
    return IptcImagePlugin.getiptcinfo(opened(data))


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


def test_texts_without_a_tag_go_to_the_comment_of_the_user(through):
    given = [chunk(b"tEXt", text) for text in (b"parameters\0steps: 20", b"Author\0Ann")]
    long = chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"{}" * 1000))
    for target in ("TIFF", "WEBP"):
        exif = opened(through(spoken.png(*given, long), target)[0]).getexif()
        assert exif[315] == "Ann"
        text = "parameters: steps: 20\nworkflow: " + "{}" * 1000
        assert exif.get_ifd(EXIF_IFD)[0x9286] == b"ASCII\0\0\0" + text.encode()
    again = opened(through(spoken.png(*given, long), "PNG")[0]).text
    assert again == {"parameters": "steps: 20", "Author": "Ann", "workflow": "{}" * 1000}
    wide = through(spoken.png(chunk(b"iTXt", "x\0\0\0\0\0Ж".encode())), "WEBP")[0]
    assert "x: Ж".encode("utf-16-le") in wide


def test_a_text_for_which_there_is_no_place_is_said(through):
    taken = Image.Exif()
    taken[270] = "a view"
    taken.get_ifd(EXIF_IFD)[0x9286] = b"ASCII\0\0\0mine"
    blob = taken.tobytes().removeprefix(b"Exif\0\0")
    given = spoken.png(chunk(b"eXIf", blob), chunk(b"tEXt", b"Comment\0yours"))
    data, notes = through(given, "WEBP")
    assert notes == ("WEBP cannot hold its text 'Comment': left out",)
    exif = opened(data).getexif()
    assert (exif[270], exif.get_ifd(EXIF_IFD)[0x9286]) == ("a view", b"ASCII\0\0\0mine")


def test_more_than_a_segment_holds(through):
    note = Image.Exif()
    note[271] = "Lumix"
    note.get_ifd(EXIF_IFD)[0x927C] = bytes(70000)
    note.get_ifd(EXIF_IFD)[0x9003] = "2024:05:06 07:08:09"
    blob = note.tobytes().removeprefix(b"Exif\0\0")
    data, notes = through(spoken.png(chunk(b"eXIf", blob)), "JPEG")
    assert notes == ("JPEG has no room for the maker note of its EXIF: left out",)
    exif = opened(data).getexif()
    assert (exif[271], exif.get_ifd(EXIF_IFD)[0x9003]) == ("Lumix", "2024:05:06 07:08:09")
    other = Image.Exif()
    other[270] = "x" * 70000
    blob = other.tobytes().removeprefix(b"Exif\0\0")
    data, notes = through(spoken.png(chunk(b"eXIf", blob)), "JPEG")
    assert notes == ("JPEG has no room for its EXIF: left out",)
    assert not opened(data).getexif()
    padded = XMP.replace(b"<?xpacket end", b" " * 70000 + b"<?xpacket end")
    data, notes = through(spoken.plain("WEBP", xmp=padded), "JPEG")
    assert notes == ()
    assert xmp_of(data).endswith(b'</x:xmpmeta>\n<?xpacket end="w"?>')
    large = XMP.replace(b"xmp:Rating", b"xmp:" + b"x" * 70000)  # a name, which stands in the packet
    data, notes = through(spoken.plain("WEBP", xmp=large), "JPEG")
    thumbnails = XMP.index(b"<dc:creator>") - XMP.index(b"<xmp:Thumbnails>")
    length = len(large) - thumbnails + len("\n")
    assert notes == (f"JPEG has no room for its XMP, {length} bytes: left out",)
    assert len(xmp_of(through(spoken.plain("WEBP", xmp=large), "PNG")[0])) == length - 1
    text = spoken.png(chunk(b"tEXt", b"Comment\0" + b"x" * 70000))
    _, notes = through(text, "JPEG")
    assert notes == ("JPEG has no room for its text 'Comment': left out",)


def test_parts_of_several_segments(through):
    captions = b"".join(b"\x1c\x02\x19\x7f\xff" + bytes([65 + n]) * 32767 for n in range(5))
    block = spoken.resources((0x0404, IPTC + captions))
    mark = b"Photoshop 3.0\0"
    cut = [block[at : at + 60000] for at in range(0, len(block), 60000)]
    data, _ = through(spoken.jpeg(*(segment(0xED, mark + part) for part in cut)), "JPEG")
    parts = [part for name, part in opened(data).applist if name == "APP13"]
    assert len(parts) == 3
    kept = b"".join(part.removeprefix(mark) for part in parts)
    assert kept == struct.pack(">4sHHI", b"8BIM", 0x0404, 0, len(IPTC + captions)) + (
        IPTC + captions
    ) + bytes(len(IPTC + captions) % 2)

    extension = XMP.replace(b'tiff:Orientation="6" xmp:Rating="4"', b"")
    extension = extension.replace("Zoë".encode(), b"Z" * 90000)
    a, b = extension.index(b"<exif:Pixel"), extension.index(b"<dc:creator>")
    extension = extension[:a] + extension[b:]
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    note = b'xmlns:n="http://ns.adobe.com/xmp/note/" n:HasExtendedXMP="' + guid + b'" xmp:Rating'
    parts = [
        segment(
            0xE1,
            b"http://ns.adobe.com/xmp/extension/\0"
            + guid
            + struct.pack(">II", len(extension), at)
            + extension[at : at + 50000],
        )
        for at in (50000, 0)  # in no order
    ]
    main = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP.replace(b"xmp:Rating", note))
    packet = xmp_of(through(spoken.jpeg(main, *parts), "TIFF")[0])
    assert b"HasExtendedXMP" not in packet
    assert b"Z" * 90000 in packet
    assert packet.count(b"<rdf:Description") == 2
    assert packet.count("Zoë".encode()) == 1


def test_xmp_larger_than_a_segment_of_a_jpeg(through):
    masks = b"<xmp:Masks>" + b"&lt;m>" * 25000 + b"</xmp:Masks><dc:creator>"
    label = b'xmp:Label="' + b"&amp;Zo\xc3\xab" * 9000 + b'" xmp:Rating'
    large = XMP.replace(b"<dc:creator>", masks).replace(b"xmp:Rating", label)
    data, notes = through(spoken.plain("WEBP", xmp=large), "JPEG")
    assert notes == ()
    segments = [part for name, part in opened(data).applist if name == "APP1"]
    main, *parts = (part.split(b"\0", 1) for part in segments if part.startswith(b"http"))
    assert main[0] == b"http://ns.adobe.com/xap/1.0/"
    assert b"Seq><rdf:li>Zo" in main[1]
    guid = hashlib.md5(b"".join(part[40:] for _, part in parts)).hexdigest().upper().encode()
    assert b'xmpNote:HasExtendedXMP="' + guid + b'"' in main[1]
    at = 0
    for mark, part in parts:
        assert mark == b"http://ns.adobe.com/xmp/extension/"
        assert part[:32] == guid
        assert struct.unpack_from(">I", part, 36) == (at,)
        at += len(part) - 40
    assert {part[32:36] for _, part in parts} == {struct.pack(">I", at)}
    # All of it comes back as one packet.
    whole = minidom.parseString(xmp_of(through(data, "PNG")[0]))
    (masks,) = whole.getElementsByTagName("xmp:Masks")
    assert masks.firstChild.data == "<m>" * 25000
    (label,) = whole.getElementsByTagName("xmp:Label")
    assert label.firstChild.data == "&Zoë" * 9000
    assert len(whole.getElementsByTagName("dc:creator")) == 1


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


def test_exif_in_a_bigtiff(through, monkeypatch):
    small = through(spoken.spoken("JPEG"), "TIFF")[0]
    monkeypatch.setattr("rendering.tiff.BIG", 0)
    for order in "<>":
        data, _ = through(spoken.spoken("JPEG", spoken.exif(order)), "TIFF", max_pixels=9999)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            assert file.is_bigtiff
            assert file.byteorder == order
            tags = file.pages[0].tags
            assert tags["ExifTag"].value["ExposureTime"] == (1, 250)
            assert tags["ExifTag"].value["MakerNote"] == MAKER
            at = tags["ExifTag"].value["InteroperabilityTag"]
            directory = struct.unpack_from(order + "QHHQ4s", data, at)
            assert directory == (1, 1, 2, 4, b"R98\0")
            assert tags["GPSTag"].value["GPSLatitude"] == (48, 1, 8, 1, 1234, 100)
            assert tags["XMP"].value.startswith(b"<?xpacket")
            with tifffile.TiffFile(io.BytesIO(small)) as other:
                np.testing.assert_array_equal(file.asarray(), other.asarray())


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


def test_a_maker_note_far_from_the_beginning_is_moved(through):
    blob = spoken.exif(thumbnail=False)
    far = bytearray(blob + bytes(70000))
    entry = blob.index(struct.pack("<HHI", 0x927C, 7, len(MAKER)))
    struct.pack_into("<I", far, entry + 8, len(far))
    data = spoken.tiff(bytes(far + MAKER))
    output, notes = through(data, "JPEG")
    assert notes == ("the maker note of its EXIF has another place now: parts may be unreadable",)
    assert opened(output).getexif().get_ifd(EXIF_IFD)[0x927C] == MAKER


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
            kept, _ = carried(metadata, room, (40, 30), (2, 2))
            read += kept is not None and kept.exif is not None
    assert read > 800


def test_lossless_webp(through):
    buffer = io.BytesIO()
    Image.fromarray(levels(20, 30, 4, np.uint8)).save(buffer, "PNG")
    exact = np.asarray(opened(through(buffer.getvalue(), "PNG")[0]))
    for lossless in (False, True):
        data, _ = through(buffer.getvalue(), "WEBP", lossless=lossless)
        assert np.array_equal(np.asarray(opened(data)), exact) == lossless
    with pytest.raises(UserError, match="JPEG always loses"):
        through(buffer.getvalue(), "JPEG", lossless=True)


def test_the_info_of_a_pillow_image():
    for source in ("JPEG", "PNG", "TIFF", "WEBP"):
        info, notes = kept_info(opened(spoken.spoken(source)), SIZE, (2, 2))
        assert not notes
        result = Image.new("RGB", SIZE[::-1])
        result.info |= info
        buffer = io.BytesIO()
        result.save(buffer, "PNG", exif=info["exif"], dpi=info["dpi"])
        exif = opened(buffer.getvalue()).getexif()
        assert (exif[271], exif.get(274, 1), exif.get_ifd(EXIF_IFD)[0xA003]) == (
            "Lumix",
            1,
            SIZE[0],
        )
        assert info["dpi"] == pytest.approx((300, 300), abs=0.01)
        assert b"Rating" in info["xmp"]
        assert (info.get("comment") == b"by hand") == (source in ("JPEG", "PNG"))
        assert info.get("Title") == ("Größe" if source == "PNG" else None)
    assert kept_info(Image.new("RGB", (3, 4)), SIZE) == ({}, [])


def test_what_pillow_says_of_other_formats():
    data = spoken.plain("GIF", comment=b"by hand")
    assert read_metadata(data) is None
    metadata = read_metadata(data, opened(data).info)
    assert metadata.texts == (("Comment", "by hand", "", ""),)
    metadata = read_metadata(b"as of a phone", {"exif": b"Exif\0\0" + spoken.exif(), "xmp": XMP})
    assert (metadata.exif, metadata.xmp, metadata.dpi) == (spoken.exif(), XMP, (300, 300))


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
