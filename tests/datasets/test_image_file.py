import errno
import io
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from datasets import patience
from datasets.header import read_header
from datasets.image_file import (
    EXTENSIONS,
    UnreadableError,
    check_targets,
    read_image,
    resize_bicubic,
    to_unit,
    write_image,
    write_pixels,
)
from errors import UserError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def test_every_mode_becomes_rgb(tmp_path):
    sixteen = RNG.integers(0, 65536, (5, 7), dtype=np.uint16)
    palette = Image.fromarray(RGB).quantize(16)
    transparent = palette.copy()
    transparent.info["transparency"] = 0
    images = {
        "rgb": (Image.fromarray(RGB), RGB),
        "gray": (Image.fromarray(GRAY), np.stack([GRAY] * 3, -1)),
        "alpha": (Image.fromarray(np.dstack([RGB, GRAY])), RGB),
        "gray-alpha": (Image.fromarray(np.dstack([GRAY, GRAY])), np.stack([GRAY] * 3, -1)),
        "palette": (palette, np.asarray(palette.convert("RGB"))),
        "transparent": (transparent, np.asarray(palette.convert("RGB"))),
        "bits": (Image.fromarray(GRAY > 99), np.stack([(GRAY > 99) * np.uint8(255)] * 3, -1)),
        "16-bit": (
            Image.fromarray(sixteen),
            np.stack([np.floor(sixteen / 257 + 0.5).astype(np.uint8)] * 3, -1),
        ),
    }
    for name, (image, wanted) in images.items():
        path = tmp_path / f"{name}.png"
        image.save(path)
        got = read_image(path)
        assert got.dtype == np.uint8, name
        np.testing.assert_array_equal(got, wanted, err_msg=name)


def test_the_orientation_of_a_photograph_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(RGB, -1))


@pytest.mark.parametrize("suffix", sorted(EXTENSIONS - {".jpg", ".jpeg", ".webp", ".pgm"}))
def test_write_then_read(tmp_path, suffix):
    path = tmp_path / "new" / f"x{suffix}"
    write_image(path, torch.from_numpy(RGB).permute(2, 0, 1) / 255)
    np.testing.assert_array_equal(read_image(path), RGB)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_written_values_are_rounded_and_not_truncated(tmp_path):
    levels = torch.tensor([0.0, 0.499, 0.501, 1.499, 254.6, 255.0, 300.0, -3.0])
    write_image(tmp_path / "x.png", (levels / 255).expand(3, 1, -1))
    assert read_image(tmp_path / "x.png")[0, :, 0].tolist() == [0, 0, 1, 1, 255, 255, 255, 0]


def test_an_ending_of_no_image_is_refused(tmp_path):
    for name in ("x.xyz", "x", "x.pdf"):
        with pytest.raises(UserError, match="ending"):
            write_image(tmp_path / name, torch.zeros(3, 2, 2))
    assert not list(tmp_path.iterdir())


def test_thirty_two_bits_are_refused(tmp_path):
    Image.fromarray(np.full((2, 2), 10**8, np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=r"x\.tif.*32-bit"):
        read_image(tmp_path / "x.tif")


def test_outputs_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UserError, match=r"folder\.png: is a folder"):
        write_image(tmp_path / "folder.png", torch.zeros(3, 2, 2))
    with pytest.raises(UserError, match=r"wide\.webp"):
        write_image(tmp_path / "wide.webp", torch.zeros(3, 1, 20000))
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def png_of(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_bad_files_are_one_line_that_names_them(tmp_path):
    whole = png_of(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    path = tmp_path / "bad file ä.png"
    for size in (0, 5, 30, 200, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="bad file ä") as error:
            read_image(path)
        assert "\n" not in str(error.value)
    path.write_text("no image")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(path)
    with pytest.raises(UserError, match="no such image"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UserError, match="not a readable image"):
        read_image(tmp_path)


def test_a_decompression_bomb_is_refused(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    checksum = struct.pack(">I", zlib.crc32(header))
    data = b"\x89PNG\r\n\x1a\n\0\0\0\x0d" + header + checksum + b"\0\0\0\0IDAT" + bytes(4)
    (tmp_path / "bomb.png").write_bytes(data)
    with pytest.raises(UserError, match=r"bomb\.png: .*60000x60000 pixels are more than"):
        read_image(tmp_path / "bomb.png")


def test_resize_is_pillows():
    pixels = torch.from_numpy(RGB).permute(2, 0, 1)
    wanted = np.asarray(Image.fromarray(RGB).resize((4, 3), Image.Resampling.BICUBIC))
    got = resize_bicubic(pixels, 3, 4)
    np.testing.assert_array_equal(got.permute(1, 2, 0), wanted)
    assert torch.equal(resize_bicubic(pixels / 255, 3, 4), got)


DEEP = RNG.integers(0, 65536, (32, 48), dtype=np.uint16)


def test_one_channel_of_8_bits(tmp_path):
    """Colours become 0.299 R + 0.587 G + 0.114 B; gray stays."""
    Image.fromarray(RGB).save(tmp_path / "rgb.png")
    Image.fromarray(np.dstack([RGB, GRAY])).save(tmp_path / "rgba.png")
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    Image.fromarray(RGB).quantize(256).save(tmp_path / "palette.png")
    luma = RGB @ np.array([0.299, 0.587, 0.114])
    for name in ("rgb", "rgba", "palette"):
        got = read_image(tmp_path / f"{name}.png", 1)
        assert got.shape == (5, 7, 1)
        assert got.dtype == np.uint8
        assert np.abs(got[..., 0] - luma).max() <= 0.51, name
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png", 1)[..., 0], GRAY)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "lzw", "tile": (16, 16)},
        {"tile": (16, 16)},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"rowsperstrip": 5, "compression": "zlib", "predictor": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4"])
def test_one_channel_of_16_bits_from_tiff(tmp_path, options, dtype):
    levels = DEEP >> 1 if dtype == "i2" else DEEP
    tifffile.imwrite(tmp_path / "x.tif", levels.astype(dtype), photometric="minisblack", **options)
    got = read_image(tmp_path / "x.tif", 1)
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got[..., 0], levels)
    eight = read_image(tmp_path / "x.tif")
    np.testing.assert_array_equal(eight, np.stack([np.rint(levels / 257)] * 3, -1))


def test_one_channel_of_16_bits_from_other_files(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "x.png")
    Image.fromarray(DEEP).save(tmp_path / "x.pgm")
    alpha = np.dstack([DEEP, DEEP[::-1]])
    (tmp_path / "alpha.png").write_bytes(imagecodecs.png_encode(alpha))
    tifffile.imwrite(tmp_path / "white.tif", 65535 - DEEP, photometric="miniswhite")
    for name in ("x.png", "x.pgm", "alpha.png", "white.tif"):
        got = read_image(tmp_path / name, 1)
        assert got.dtype == np.uint16, name
        np.testing.assert_array_equal(got[..., 0], DEEP, err_msg=name)


def test_colours_of_16_bits_are_cut_to_8(tmp_path):
    colours = RNG.integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(colours))
    tifffile.imwrite(tmp_path / "x.tif", colours, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "y.tif", np.moveaxis(colours, -1, 0), photometric="rgb", planarconfig="separate"
    )
    for name in ("x.png", "x.tif", "y.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), colours >> 8, err_msg=name)
        luma = Image.fromarray((colours >> 8).astype(np.uint8)).convert("L")
        np.testing.assert_array_equal(read_image(tmp_path / name, 1)[..., 0], luma)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.full((2, 2), -5, np.int16), "below 0"),
        (np.full((2, 2), -5, np.int32), "below 0"),
        (np.full((2, 2), 70000, np.uint32), "32-bit"),
        (np.full((2, 2), 0.5, np.float32), "floating-point"),
        (np.full((2, 2), 0.5, np.float16), "floating-point"),
    ],
)
def test_pixels_of_no_agreed_range(tmp_path, pixels, message, channels):
    tifffile.imwrite(tmp_path / "x.tif", pixels)
    with pytest.raises(UnreadableError, match=rf"x\.tif: .*{message} pixels|pixels {message}"):
        read_image(tmp_path / "x.tif", channels)


def test_one_channel_is_written(tmp_path):
    for name, levels in (("8.png", GRAY), ("16.png", DEEP), ("16.tif", DEEP)):
        write_pixels(tmp_path / name, levels[..., None])
        got = read_image(tmp_path / name, 1)
        assert got.dtype == levels.dtype
        np.testing.assert_array_equal(got[..., 0], levels)


def test_to_unit():
    assert to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx(
        [0, 0.2, 1]
    )
    deep = torch.tensor([0, 13107, 65535], dtype=torch.int32).to(torch.uint16)
    assert to_unit(deep).dtype == torch.float32
    assert to_unit(deep).tolist() == pytest.approx([0, 0.2, 1])


def test_resize_of_one_channel():
    gray = torch.from_numpy(GRAY)[None]
    got = resize_bicubic(gray, 3, 4)
    wanted = np.asarray(Image.fromarray(GRAY).resize((4, 3), Image.Resampling.BICUBIC))
    assert got.dtype == torch.uint8
    np.testing.assert_array_equal(got[0], wanted)
    colours = resize_bicubic(gray.expand(3, -1, -1), 3, 4)
    assert torch.equal(colours, got.expand(3, -1, -1))


def test_resize_of_16_bits_is_not_rounded_to_8():
    """Against Keys' kernel with a = -1/2 in double precision, stretched to average."""

    def matrix(n, m):
        scale = n / m
        at = (np.arange(m)[:, None] + 0.5) * scale - (np.arange(n) + 0.5)
        x = np.abs(at) / scale
        near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        weights = np.where(x < 1, near, np.where(x < 2, far, 0))
        return weights / weights.sum(1, keepdims=True)

    wanted = matrix(32, 13) @ DEEP.astype(np.float64) @ matrix(48, 17).T
    wanted = wanted.clip(0, 65535)
    assert (wanted == 65535).sum() + (wanted == 0).sum() == 0
    deep = torch.from_numpy(DEEP.astype(np.int32)).to(torch.uint16)[None]
    got = resize_bicubic(deep, 13, 17)
    assert got.dtype == torch.uint16
    assert np.abs(got[0].numpy() - wanted).max() < 0.6
    floats = resize_bicubic(to_unit(deep), 13, 17)
    assert floats.dtype == torch.float32
    assert torch.equal((floats * 65535).round(), got.float())
    black_and_white = torch.zeros(1, 8, 8)
    black_and_white[..., 4:] = 1
    edge = resize_bicubic(black_and_white, 24, 24)
    assert (edge.min(), edge.max()) == (0, 1)


@pytest.fixture
def flaky(tmp_path, monkeypatch):
    """A file, and a list of errors that its next readings meet."""
    monkeypatch.setattr(patience, "WAITS", (0.5, 2, 5))
    waits, errors = [], []
    monkeypatch.setattr(patience.time, "sleep", waits.append)
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)
    original = Path.open

    def opened(self, *args, **options):
        if errors:
            code = errors.pop(0)
            raise OSError(code, errno.errorcode[code], str(self))
        return original(self, *args, **options)

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(Path, "read_bytes", lambda self: self.open("rb").read())
    return path, errors, waits


PASSING = ["EIO", "ESTALE", "ETIMEDOUT", "ECONNRESET", "EAGAIN", "EINTR", "ENETDOWN", "ENETUNREACH"]


@pytest.mark.parametrize("name", [*PASSING, "EREMOTEIO"])
@pytest.mark.parametrize("read", [read_image, read_header])
def test_an_error_that_passes_is_waited_for(flaky, name, read):
    path, errors, waits = flaky
    errors += [getattr(errno, name)] * 3
    result = read(path)
    np.testing.assert_array_equal(result, RGB if read is read_image else (5, 7, False, 8))
    assert waits == [0.5, 2, 5]
    errors += [getattr(errno, name)] * 4
    with pytest.raises(UnreadableError, match=rf"x\.png: not a readable image: {name}"):
        read(path)


@pytest.mark.parametrize("name", ["EACCES", "ENOENT", "EISDIR", "ELOOP"])
def test_an_error_that_stays_is_not_waited_for(flaky, name):
    path, errors, waits = flaky
    errors += [getattr(errno, name)]
    with pytest.raises(UnreadableError, match=r"x\.png"):
        read_image(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UnreadableError, match=r"x\.png"):
        read_image(path)
    assert waits == []


@pytest.mark.parametrize(("name", "advice"), [("EMFILE", "ulimit -n"), ("ENFILE", "machine")])
def test_too_many_open_files_are_not_the_files_fault(flaky, name, advice):
    path, errors, waits = flaky
    errors += [getattr(errno, name)]
    with pytest.raises(UserError, match=rf"too many files are open.*{advice}") as error:
        read_image(path)
    assert not isinstance(error.value, UnreadableError)
    assert waits == []


def test_targets_that_would_be_lost(tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "a.jpg"
    check_targets([(a, tmp_path / "1.png"), (a, tmp_path / "1.png"), (b, tmp_path / "2.png")])
    with pytest.raises(UserError, match=r"a\.png and .*a\.jpg: both .*/1\.png"):
        check_targets([(a, tmp_path / "1.png"), (b, tmp_path / "x" / ".." / "1.png")])
    with pytest.raises(UserError, match=r"a\.png: would be overwritten"):
        check_targets([(b, tmp_path / "1.png"), (a, a)])
