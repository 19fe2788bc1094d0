"""Sizes and notes from headers agree with what reading gives."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets import header as header_module
from datasets.header import Header, read_header
from datasets.image_file import UnreadableError, read_image
from datasets.image_folder import ImageFolder, PairedImageFolders
from errors import UserError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)


def turned(path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(path, exif=exif)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_upright(tmp_path, suffix, orientation):
    path = tmp_path / f"x.{suffix}"
    turned(path, orientation)
    wanted = (5, 7) if orientation < 5 else (7, 5)
    assert read_header(path)[:2] == wanted
    assert read_image(path).shape[:2] == wanted
    assert ImageFolder(str(tmp_path)).size(0) == wanted


def test_an_orientation_after_the_pixels_is_found(tmp_path):
    """As ExifTool writes it into a PNG."""
    path = tmp_path / "x.png"
    turned(path, 6)
    data = path.read_bytes()
    at = data.index(b"eXIf") - 4
    length = int.from_bytes(data[at : at + 4], "big") + 12
    end = data.index(b"IEND") - 4
    chunk, rest = data[at : at + length], data[:at] + data[at + length : end]
    path.write_bytes(rest + chunk + data[end:])
    assert read_image(path).shape == (7, 5, 3)
    assert read_header(path)[:2] == (7, 5)


def test_a_png_is_not_decoded_for_its_size(tmp_path, monkeypatch):
    Image.fromarray(RNG.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(tmp_path / "x.png")
    monkeypatch.setattr(Image.Image, "load", None)
    assert read_header(tmp_path / "x.png") == (300, 400, False, 8)


def saved(**options):
    def write(path, pixels):
        Image.fromarray(pixels).save(path, **options)

    return write


def tiff(**options):
    return lambda path, pixels: tifffile.imwrite(path, pixels, **options)


def png(path, pixels):
    path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))


def ppm(path, pixels):
    path.write_bytes(b"P6 7 5 65535\n" + pixels.astype(">u2").tobytes())


KINDS = [
    ("rgb.png", saved(), RGB, (False, 8)),
    ("gray.png", saved(), RGB[..., 0], (True, 8)),
    ("gray-alpha.png", saved(), RGB[..., :2], (True, 8)),
    ("bits.png", saved(), RGB[..., 0] > 99, (True, 1)),
    ("gray.jpg", saved(), RGB[..., 0], (True, 8)),
    ("gray16.png", saved(), DEEP[..., 0], (True, 16)),
    ("gray16.pgm", saved(), DEEP[..., 0], (True, 16)),
    ("gray-alpha16.png", png, DEEP[..., :2], (True, 16)),
    ("rgb16.png", png, DEEP, (False, 16)),
    ("rgb16.ppm", ppm, DEEP, (False, 16)),
    ("rgb16.tif", tiff(photometric="rgb"), DEEP, (False, 16)),
    ("gray12.tif", tiff(bitspersample=12), DEEP[..., 0] >> 4, (True, 12)),
    ("gray8.tif", saved(), RGB[..., 0], (True, 8)),
]


@pytest.mark.parametrize(("name", "write", "pixels", "kind"), KINDS, ids=lambda x: str(x)[:20])
def test_kinds(tmp_path, name, write, pixels, kind):
    write(tmp_path / name, pixels)
    assert read_header(tmp_path / name) == Header(5, 7, *kind)
    assert read_image(tmp_path / name).shape == (5, 7, 3)


def test_a_header_that_cannot_be_read(tmp_path):
    whole = io.BytesIO()
    Image.fromarray(RGB).save(whole, "PNG")
    for name, data in (
        ("x.png", whole.getvalue()[:20]),
        ("x.tif", b"II*\0 damaged"),
        ("y.jpg", b""),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UnreadableError, match=f"{name}: not a readable image") as error:
            read_header(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such image"):
        read_header(tmp_path / "none.png")


def notes(root, **args):
    return ImageFolder(str(root), **args).notes()


def test_notes_of_gray_and_depth(tmp_path):
    bright = (DEEP | 0x8000)[..., 0]
    for name in ("a.png", "b.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    assert notes(tmp_path) == []
    assert notes(tmp_path, channels=1) == [
        f"{tmp_path}/a.png (and 1 more): colours, read as gray: their ITU-R 601-2 luma"
    ]
    Image.fromarray(RGB[..., 0]).save(tmp_path / "c.png")
    Image.fromarray(bright).save(tmp_path / "d.png")
    png(tmp_path / "e.png", DEEP)
    assert notes(tmp_path) == [
        f"{tmp_path}/c.png (and 1 more): gray, read as RGB; a model with out_dim: 1 reads one "
        "channel",
        f"{tmp_path}/d.png: gray of more than 8 bits, rounded to 8; with out_dim: 1 they stay",
        f"{tmp_path}/e.png: colours of more than 8 bits, of which the upper 8 are read",
    ]
    assert [note.split(": ", 1)[0] for note in notes(tmp_path, channels=1)] == [
        f"{tmp_path}/a.png (and 2 more)",
        f"{tmp_path}/e.png",
    ]


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("colour", [False, True])
def test_data_of_few_bits_in_16_are_noted(tmp_path, bits, colour):
    levels = DEEP >> (16 - bits)
    levels[0, 0] = 2**bits - 1
    png(tmp_path / "x.png", levels if colour else levels[..., 0])
    (note,) = [note for note in notes(tmp_path) if "nearly black" in note]
    assert note.startswith(f"{tmp_path}/x.png: its largest level needs {bits} of 16 bits")
    assert note.endswith(f"if these are {bits}-bit data, multiply them by {2 ** (16 - bits)}")


def test_black_and_bright_files_of_16_bits_are_not_noted(tmp_path):
    png(tmp_path / "black.png", np.zeros((5, 7), np.uint16))
    assert notes(tmp_path, channels=1) == []
    png(tmp_path / "bright.png", np.full((5, 7), 2**14, np.uint16))
    png(tmp_path / "dark.png", np.full((5, 7), 900, np.uint16))
    assert notes(tmp_path, channels=1) == []


def test_each_header_is_read_once(tmp_path, monkeypatch):
    for side in ("LR", "HR"):
        (tmp_path / side).mkdir()
        for name in ("a.png", "b.png"):
            Image.fromarray(RGB).save(tmp_path / side / name)
    (tmp_path / "LR" / "b.png").write_bytes(b"damaged")
    read = []
    monkeypatch.setattr(
        "datasets.image_folder.read_header",
        lambda p: read.append(p) or header_module.read_header(p),
    )
    folders = PairedImageFolders(str(tmp_path / "LR"), str(tmp_path / "HR"), repeat=3)
    for index in (0, 2, 4):
        assert folders.size(index) == ((5, 7), (5, 7))
    with pytest.raises(UnreadableError, match=r"LR/b\.png"):
        folders.size(3)
    assert len(read) == 3
    assert folders.notes() == []
    assert len(set(read)) == 4
