"""What is larger than a format has room for, or has no place of its own in it."""

import hashlib
import io
import struct
import zlib
from xml.dom import minidom

import numpy as np
import tifffile
from PIL import Image

from tests.rendering import spoken
from tests.rendering.spoken import (
    EXIF_IFD,
    IPTC,
    MAKER,
    XMP,
    chunk,
    opened,
    segment,
    xmp_of,
)


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


def test_a_maker_note_far_from_the_beginning_is_moved(through):
    blob = spoken.exif(thumbnail=False)
    far = bytearray(blob + bytes(70000))
    entry = blob.index(struct.pack("<HHI", 0x927C, 7, len(MAKER)))
    struct.pack_into("<I", far, entry + 8, len(far))
    data = spoken.tiff(bytes(far + MAKER))
    output, notes = through(data, "JPEG")
    assert notes == ("the maker note of its EXIF has another place now: parts may be unreadable",)
    assert opened(output).getexif().get_ifd(EXIF_IFD)[0x927C] == MAKER
