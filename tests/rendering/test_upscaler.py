import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import torch
from PIL import Image

from engine import super_resolve
from errors import UserError
from models.checkpoint import load_model
from rendering.upscaler import load
from tests.rendering.corpus import levels, of_mode

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def up():
    return load("bicubic", "cpu")


def test_the_model_in_the_box():
    image = torch.from_numpy(levels(20, 30, 3, np.uint8)).permute(2, 0, 1) / 255
    model, norm = load_model("fast")
    got = load(device="cpu").upscale(image, scale=2.5)
    torch.testing.assert_close(
        got.clamp(0, 1), super_resolve(model, image, (50, 75), norm), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 2), (5, 6, 3), (5, 6, 4)])
def test_arrays(up, shape, dtype):
    channels = shape[2] if len(shape) == 3 else 1
    kind = np.float32 if dtype is np.float64 else dtype
    image = levels(5, 6, channels, kind).astype(dtype).reshape(shape)
    got = up.upscale(image, size=(11, 9))
    assert got.shape == (11, 9, *shape[2:])
    assert got.dtype == dtype
    atol = 1e-6 if image.dtype.kind == "f" else 1
    same = up.upscale(image, scale=1)
    if channels in (1, 3):
        np.testing.assert_allclose(same, image, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.float64])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_tensors(up, lead, dtype):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(*lead, 3, 4, 5, generator=generator)
    image = (image * 255).to(dtype) if dtype == torch.uint8 else image.to(dtype)
    got = up.upscale(image, long_side=10)
    assert got.shape == (*lead, 3, 8, 10)
    assert got.dtype == dtype
    flat = image.reshape(-1, 3, 4, 5)
    for one, wanted in zip(got.reshape(-1, 3, 8, 10), flat, strict=True):
        assert torch.equal(one, up.upscale(wanted, size=(8, 10)))


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_pillow_images(up, mode):
    image = of_mode(mode, 6, 7)
    got = up.upscale(image, scale=(2, 3))
    assert (got.mode, got.size) == (mode, (21, 12))
    wanted = up.upscale(np.asarray(image), scale=(2, 3))
    np.testing.assert_array_equal(np.asarray(got), wanted)


@pytest.mark.parametrize("scale", [np.float32(2), np.int64(2), torch.tensor(2.0), [2, 2], (2.0, 2)])
def test_numbers_of_other_libraries(up, scale):
    assert up.upscale(np.zeros((4, 5)), scale=scale).shape == (8, 10)


def test_notes_are_warnings(up, tmp_path):
    image = of_mode("RGBA", 6, 7)
    image.save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match="put on white"):
        up.upscale(tmp_path / "a.png", scale=2, output=tmp_path / "a.jpg")
    with pytest.warns(UserWarning, match="without a usable profile"):
        up.upscale(of_mode("CMYK", 4, 4), scale=2)


def test_a_region_of_a_pillow_image(up):
    image = of_mode("RGB", 20, 20)
    whole = np.asarray(up.upscale(image, scale=2))
    part = np.asarray(up.upscale(image, scale=2, region=(3, 4, 10, 5.5)))
    np.testing.assert_array_equal(part, whole[6:26, 8:19])


def test_paths(up, tmp_path):
    pixels = levels(6, 8, 3, np.uint16)
    source = tmp_path / "a.png"
    source.write_bytes(imagecodecs.png_encode(pixels))
    written = up.upscale(source, scale=2)
    assert written == tmp_path / "a-12x16.png"
    got = imagecodecs.png_decode(written.read_bytes())
    np.testing.assert_array_equal(got, up.upscale(pixels, scale=2))
    named = up.upscale(str(source), scale=2, output=tmp_path / "new/b.tif")
    assert named == str(tmp_path / "new/b.tif")
    assert Path(named).exists()


@pytest.mark.parametrize(
    ("image", "ways", "message"),
    [
        (np.zeros((4, 4), np.uint8), {}, "exactly one"),
        (np.zeros((4, 4), np.uint8), {"scale": 2, "long_side": 3}, "exactly one"),
        (np.zeros((4, 4), np.int32), {"scale": 2}, "got int32"),
        (np.zeros((4, 4, 5), np.uint8), {"scale": 2}, "wanted, got"),
        (np.zeros((0, 4), np.uint8), {"scale": 2}, "wanted, got"),
        (np.full((4, 4), np.nan), {"scale": 2}, "not finite"),
        (np.zeros((4, 4), np.uint8), {"scale": 2, "region": (0, 0, 9, 9)}, "not within"),
        (torch.zeros(4, 4), {"scale": 2}, "a tensor"),
        (torch.zeros(0, 3, 4, 4), {"scale": 2}, "with pixels"),
        (np.zeros((4, 4)), {"scale": (2,)}, "scale: expected 2 numbers"),
        (np.zeros((4, 4)), {"scale": (2, 3, 4)}, "scale: expected 2 numbers"),
        (np.zeros((4, 4)), {"scale": float("nan")}, "scale: expected a number"),
        (np.zeros((4, 4)), {"scale": -1}, "above 0"),
        (np.zeros((4, 4)), {"size": (3.5, 5)}, "size: expected 2 numbers"),
        (np.zeros((4, 4)), {"size": 5}, "size: expected 2 numbers"),
        (np.zeros((4, 4)), {"size": (0, 5)}, "above 0"),
        (np.zeros((4, 4)), {"long_side": -5}, "long_side: expected a whole number from 1"),
        (np.zeros((4, 4)), {"scale": 2, "region": (0, 0, 1)}, "region: expected 4 numbers"),
        (7, {"scale": 2}, "cannot render a int"),
        (np.zeros((4, 4)), {"scale": 2, "output": "a.png"}, "save what is returned"),
        (torch.zeros(3, 4, 4), {"scale": 2, "output": "a.png"}, "save what is returned"),
        (of_mode("RGB", 4, 4), {"scale": 2, "output": "a.png"}, "save what is returned"),
        (np.zeros((4, 4)), {"scale": 2, "quality": 0}, "quality: expected a whole number from 1"),
        (np.zeros((4, 4)), {"scale": 2, "quality": 9.5}, "quality: expected .*, got 9.5"),
        (np.zeros((4, 4)), {"scale": 2, "max_pixels": "all"}, "max_pixels: .* got 'all'"),
        (np.zeros((4, 4)), {"scale": 2, "max_pixels": 63}, "8x8 pixels are more than the 63"),
        ("none.png", {"scale": 2}, "no such image"),
    ],
)
def test_mistakes(up, image, ways, message):
    with pytest.raises(UserError, match=message):
        up.upscale(image, **ways)


def test_a_file_that_is_there_is_only_replaced_if_asked_for(up, tmp_path):
    source, target = tmp_path / "a.png", tmp_path / "a-12x16.png"
    Image.fromarray(levels(6, 8, 3, np.uint8)).save(source)
    content = source.read_bytes()
    target.write_text("mine")
    with pytest.raises(UserError, match=r"a-12x16\.png: is there already; set overwrite=True"):
        up.upscale(source, scale=2)
    assert target.read_text() == "mine"
    assert up.upscale(source, scale=2, overwrite=True) == target
    assert Image.open(target).size == (16, 12)
    (tmp_path / "link.png").symlink_to(source)
    for output in (source, tmp_path / "link.png", str(source)):
        with pytest.raises(UserError, match="would replace it"):
            up.upscale(source, scale=2, output=output, overwrite=True)
        with pytest.raises(UserError, match="would replace it"):
            up.encode(source).render(scale=2, output=output, overwrite=True)
    assert source.read_bytes() == content
    with pytest.raises(UserError, match="is a folder; name a file"):
        up.upscale(source, scale=2, output=tmp_path)


def test_an_input_whose_format_is_not_written_becomes_a_png(up, tmp_path):
    image = of_mode("RGB", 6, 8)
    image.save(tmp_path / "a.jpe", format="JPEG")
    assert up.upscale(tmp_path / "a.jpe", scale=2) == tmp_path / "a-12x16.png"
    assert Image.open(tmp_path / "a-12x16.png").format == "PNG"


def test_quality_is_that_of_the_file(up, tmp_path):
    of_mode("RGB", 20, 20).save(tmp_path / "a.png")
    of_mode("RGB", 40, 40).save(tmp_path / "wanted.jpg", quality=30)
    up.upscale(tmp_path / "a.png", scale=2, output=tmp_path / "b.jpg", quality=30)
    tables = [Image.open(tmp_path / name).quantization for name in ("b.jpg", "wanted.jpg")]
    assert tables[0] == tables[1]


def test_tile():
    image = levels(90, 70, 3, np.float32)
    whole, tiled = load("compact", "cpu", tile=0), load("compact", "cpu", tile=32)
    seen = []
    tiled.renderer.model.encoder.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[-2:])
    )
    found = tiled.upscale(image, scale=1.5)
    np.testing.assert_allclose(found, whole.upscale(image, scale=1.5), rtol=0, atol=1e-5)
    assert len(seen) >= 9
    for tile in (-1, 2.5, "all"):
        with pytest.raises(UserError, match=f"tile: expected a whole number from 0 .*{tile}"):
            load("bicubic", "cpu", tile=tile)


def test_torch_hub_among_packages_of_the_same_names(tmp_path):
    """From another folder, with ``models``, ``utils`` and ``datasets`` of somebody else loaded."""
    for name in ("models", "datasets", "utils", "rendering"):
        (tmp_path / f"{name}.py").write_text("mine = True\n")
    (tmp_path / "use.py").write_text(
        "import models, datasets, utils, rendering, numpy, sys, torch\n"
        f"up = torch.hub.load({str(ROOT)!r}, 'upscaler', 'fast', 'cpu', source='local')\n"
        "picture = numpy.zeros((4, 5, 3), numpy.uint8)\n"
        "assert up.upscale(picture, scale=2.5).shape == (10, 12, 3)\n"
        "from PIL import Image\n"
        "Image.fromarray(picture).save('a.png')\n"
        "up.upscale('a.png', scale=2, output='b.tif')\n"
        f"model = torch.hub.load({str(ROOT)!r}, 'liif', source='local')\n"
        "assert model(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 2), torch.ones(1, 2, 2)).shape\n"
        "assert type(model).__name__ == 'LIIF'\n"
        "assert models.mine and datasets.mine and utils.mine and rendering.mine\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def load(_):\n"
        f"    return torch.hub.load({str(ROOT)!r}, 'upscaler', 'bicubic', 'cpu', source='local')\n"
        "path = list(sys.path)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    results = [up.upscale(picture, scale=2) for up in pool.map(load, range(4))]\n"
        "assert {result.shape for result in results} == {(8, 10, 3)}\n"
        "assert sys.path == path\n"
        "import models, utils\n"
        "assert models.mine and utils.mine\n"
        "try:\n"
        f"    torch.hub.load({str(ROOT)!r}, 'liif', 'none.pth', source='local')\n"
        "except Exception as error:\n"
        "    assert 'none.pth: cannot read' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    done = subprocess.run(
        [sys.executable, "use.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b.tif").exists()


def test_sizes_as_arrays_and_messages_of_one_number():
    up, image = load("bicubic", "cpu"), np.zeros((4, 6, 3), np.uint8)
    for factors in (np.array([2, 3]), torch.tensor([2.0, 3.0])):
        assert up.upscale(image, factors, fit="stretch").shape == (8, 18, 3)
    for factor in (np.float32(2), np.array(2.0), torch.tensor(2.0)):
        assert up.upscale(image, factor).shape == (8, 12, 3)
    with pytest.raises(UserError, match=r"^dpi: expected a number, got 'x'$"):
        up.upscale(image, 2, dpi="x")
    with pytest.raises(UserError, match="scale: expected a number, got nan"):
        up.upscale(image, float("nan"))
    with pytest.raises(
        UserError, match=r"long_side: expected a whole number from 1 to \d+, got 2\.5"
    ):
        up.upscale(image, long_side=2.5)
    with pytest.raises(UserError, match="fit is for an output of a given height and width"):
        up.upscale(image, long_side=9, fit="crop")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [2, 4])
def test_at_its_own_size_a_picture_keeps_what_its_alpha_hides(up, channels, dtype):
    image = levels(20, 30, channels, dtype)
    image[:10, :, -1] = 0
    image[10, :, -1] = 1 if dtype is not np.float32 else 1e-5
    np.testing.assert_array_equal(up.upscale(image, scale=1.0), image)
    part = up.upscale(image, scale=1.0, region=(3, 4, 10, 12))
    np.testing.assert_array_equal(part, image[3:13, 4:16])
