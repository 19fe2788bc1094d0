"""Pictures of any kind, rendered by models for gray images."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from engine import super_resolve
from errors import UserError
from rendering.compare import compare
from rendering.grid import output_grid
from rendering.job import Wanted, render_file
from rendering.picture import Picture
from rendering.reading import read_picture
from rendering.tiles import Renderer
from rendering.transparency import consistent
from rendering.upscaler import Upscaler
from rendering.zoom import zoom
from tests.cases import GRAY_ARGS, make
from tests.rendering.corpus import levels

SIZE = (33, 29)
ONE_BY_ONE = "red, green and blue are rendered one by one"
CASES = [*GRAY_ARGS.items(), ("liif", {**GRAY_ARGS["liif"], "input_skip": "bicubic"})]


def gray(name="liif", args=None):
    return make(name, **(args or GRAY_ARGS[name]))


def alone(model, plane, size=SIZE):
    """A plane (h, w) in [0, 1], rendered for itself."""
    return super_resolve(model, torch.from_numpy(plane).float().unsqueeze(0), size)[0].numpy()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("name", "args"), CASES, ids=str)
def test_tiles_equal_the_whole(name, args, channels):
    model = gray(name, args)
    pixels = levels(14, 11, channels, np.float32).clip(0, 1)
    source = Picture(pixels)
    rows, cols = output_grid(source.size, resolution=SIZE)
    tile = 0 if model.margin is None else 5
    bands = torch.cat(list(Renderer(model, tile=tile).render(source, rows, cols)), dim=2)
    assert bands.shape == (channels, 1, *SIZE)
    for c in range(channels):
        wanted = alone(model, pixels[..., c])
        np.testing.assert_allclose(bands[c, 0].clamp(0, 1), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_keep_their_depth_and_channels(channels, dtype):
    pixels = levels(9, 8, channels, dtype)
    white = 1 if dtype is np.float32 else np.iinfo(dtype).max
    if channels in (2, 4):
        pixels[..., -1] = pixels[..., -1].clip(white * 0.2, white)  # colours stay visible
    model = gray()
    up, planes = Upscaler(Renderer(model)), pixels.astype(np.float32) / np.float32(white)
    if channels < 3:
        got = up.upscale(pixels, size=SIZE)
    else:
        with pytest.warns(UserWarning, match=ONE_BY_ONE):
            got = up.upscale(pixels, size=SIZE)
    assert got.dtype == dtype
    assert got.shape == (*SIZE, channels)
    if dtype is np.float32:
        return  # not clamped; above, in tiles
    if channels in (2, 4):
        alpha = planes[..., -1:]
        planes = np.concatenate([planes[..., :-1] * alpha, alpha], axis=2)
    made = np.stack([alone(model, plane) for plane in np.moveaxis(planes, 2, 0)])
    if channels in (2, 4):
        source = Picture(pixels)
        fitting = torch.from_numpy(made).unsqueeze(1)
        made = consistent(source, fitting, *output_grid(source.size, resolution=SIZE))[:, 0].numpy()
        made = np.concatenate([made[:-1] / made[-1:], made[-1:]])
    wanted = np.moveaxis(made, 0, 2).clip(0, 1) * white
    np.testing.assert_allclose(got, wanted, rtol=0, atol=white * 1e-5 + 1)


def test_two_planes_of_which_one_is_the_alpha():
    """Where a pixel is transparent, its colour does not count."""
    pixels = np.full((6, 6, 2), 200, np.uint8)
    pixels[:, 3:] = 0
    picture = Picture(pixels)
    planes = picture.planes(channels=1)
    assert planes.shape == (picture.count(1), 1, 6, 6) == (2, 1, 6, 6)
    np.testing.assert_allclose(planes[0, 0, 0, :3], (200 / 255) ** 2, rtol=1e-6)
    assert picture.rows(planes, 2, np.dtype(np.uint8)).tolist() == pixels.tolist()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_files_of_16_bits(ending, tmp_path):
    pixels = levels(9, 8, 1, np.uint16)[..., 0]
    source, target = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    if ending == "png":
        Image.fromarray(pixels).save(source)
    else:
        tifffile.imwrite(source, pixels)
    model = gray()
    done = render_file(Renderer(model), source, target, Wanted(resolution=SIZE))
    assert done.notes == ()
    got = read_picture(target).pixels
    assert got.shape == (*SIZE, 1)
    assert got.dtype == np.uint16
    np.testing.assert_allclose(got[..., 0], alone(model, pixels / 65535) * 65535, rtol=0, atol=2)


def test_a_file_with_colours_has_a_note(tmp_path):
    Image.fromarray(levels(9, 8, 3, np.uint8)).save(tmp_path / "a.png")
    wanted = Wanted(resolution=SIZE)
    done = render_file(Renderer(gray()), tmp_path / "a.png", tmp_path / "b.png", wanted)
    assert [ONE_BY_ONE in note for note in done.notes] == [True]
    done = render_file(Renderer(make("liif")), tmp_path / "a.png", tmp_path / "c.png", wanted)
    assert done.notes == ()


def test_pillow_images_and_tensors():
    model = gray()
    up, pixels = Upscaler(Renderer(model)), levels(9, 8, 1, np.uint8)
    wanted = up.upscale(pixels, size=SIZE)
    image = up.upscale(Image.fromarray(pixels[..., 0]), size=SIZE)
    assert image.mode == "L"
    assert (np.asarray(image) == wanted[..., 0]).all()
    tensor = up.upscale(torch.from_numpy(pixels).permute(2, 0, 1), size=SIZE)
    assert torch.equal(tensor, torch.from_numpy(wanted).permute(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_looking_at_it(channels, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rendering.zoom.FRAMES", 3)
    pixels = levels(24, 30, channels, np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(tmp_path / "a.png")
    renderer, wanted = Renderer(gray()), Wanted(scale=(3.0, 3.0))
    compare(renderer, tmp_path / "a.png", tmp_path / "c.png", wanted, "gray")
    zoom(renderer, tmp_path / "a.png", tmp_path / "z.gif", wanted, None)
    page = np.asarray(Image.open(tmp_path / "c.png"))
    details = page[40:, 700:]  # beside the frames of the overview
    assert details.size
    assert (details == details[..., :1]).all() == (channels < 3)
    assert Image.open(tmp_path / "z.gif").n_frames == 3
    assert (ONE_BY_ONE in capsys.readouterr().err) == (channels == 3)


def test_a_normalisation_for_colours_is_refused():
    three = {key: {"sub": [0.4, 0.5, 0.6], "div": [1.0]} for key in ("inp", "gt")}
    with pytest.raises(UserError, match=r"data_norm: inp\.sub has 3 numbers for 1 channels"):
        Renderer(gray(), three)
    Renderer(make("liif"), three)


def test_a_model_of_two_channels_is_refused():
    imnet = {"name": "mlp", "args": {"out_dim": 2, "hidden_list": []}}
    with pytest.raises(UserError, match="gives 2 channels"):
        Renderer(make("liif", imnet_spec=imnet))
