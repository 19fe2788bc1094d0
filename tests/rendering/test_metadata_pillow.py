"""What goes with Pillow images, and with what Pillow says of a file."""

import io

import pytest
from PIL import Image

from rendering.metadata.pillow import kept_info
from rendering.metadata.reading import read_metadata
from tests.rendering import spoken
from tests.rendering.spoken import EXIF_IFD, SIZE, XMP, opened


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
