"""Tiles against the image encoded whole, by `super_resolve`."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import models
from engine import super_resolve
from errors import UserError
from rendering.grid import Axis, Region, output_grid
from rendering.picture import Picture
from rendering.tile_size import OVERLAP, find_memory, find_reach
from rendering.tiles import Renderer
from rendering.transparency import consistent
from tests.cases import CONTINUOUS, ENCODER, IMNET, SMALL_ARGS, SPECS, make

EDSR = {"name": "edsr-baseline", "args": {"no_upsampling": True, "n_feats": 16}}
RDN = {"name": "rdn", "args": {"no_upsampling": True, "RDNconfig": "A", "G0": 8}}


def build(spec, **args):
    torch.manual_seed(0)
    return models.make(spec, args=args).eval()


def liif(encoder, **args):
    return build({"name": "liif", "args": {"encoder_spec": encoder, "imnet_spec": IMNET}}, **args)


def picture(height, width, seed=0):
    return Picture(np.random.default_rng(seed).random((height, width, 3), dtype=np.float32))


def rendered(model, source, rows, cols, tile):
    bands = list(Renderer(model, tile=tile).render(source, rows, cols))
    assert [band.shape[3] for band in bands] == [len(cols)] * len(bands)
    return torch.cat(bands, dim=2)[0]


def whole(model, source, size):
    return super_resolve(model, source.planes()[0], size)


def assert_equal_tiles(model, source, size, tile):
    rows, cols = output_grid(source.size, resolution=size)
    tiled = rendered(model, source, rows, cols, tile).clamp(0, 1)
    wanted = whole(model, source, size)
    assert (tiled - wanted).abs().max() <= 1e-5
    levels = (tiled * 255).round() != (wanted * 255).round()
    assert levels.float().mean() <= 1e-3


@pytest.mark.parametrize("tile", [16, 23, 48, 64])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_tiles_of_every_model(name, tile):
    model = make(name)
    if model.margin is None:
        tile = 0
    assert_equal_tiles(model, picture(61, 47), (149, 130), tile)


@pytest.mark.parametrize("switches", range(8))
@pytest.mark.parametrize("skip", ["none", "bilinear", "bicubic"])
def test_tiles_of_liif(switches, skip):
    ensemble, unfold, cell = (bool(switches >> i & 1) for i in range(3))
    model = make(
        "liif", local_ensemble=ensemble, feat_unfold=unfold, cell_decode=cell, input_skip=skip
    )
    # Three: queries lie on centres of codes; one and a half: between two codes.
    for size in ((90, 66), (45, 33), (41, 99)):
        assert_equal_tiles(model, picture(30, 22), size, 7)


@pytest.mark.parametrize("tile", [5, 8])
@pytest.mark.parametrize("args", [{"r": 1}, {"local_attn": False}, {}], ids=str)
def test_tiles_of_several_stages(args, tile):
    """Each reads an enlarged map: of a tile only what its queries need."""
    model = make("clit", imnet_num=3, conv_num=3, **args)
    for size in ((85, 79), (230, 170)):
        assert_equal_tiles(model, picture(14, 10), size, tile)


@pytest.mark.parametrize(
    ("tile", "size", "count"),
    [(0, (30, 21), 1), (40, (30, 21), 1), (16, (30, 21), 3 * 4), (16, (30, 9), 3 * 2)],
)
def test_a_model_of_several_passes_encodes_a_single_tile_once(tile, size, count):
    model, seen = make("sronet"), []
    features = model.features
    model.features = lambda inp: (seen.append(inp.shape), features(inp))[1]
    renderer = Renderer(model, tile=tile)
    assert renderer.reach is not None
    seen.clear()
    source, wanted = picture(*size), (2 * size[0], 2 * size[1])
    bands = torch.cat(list(renderer.render(source, *output_grid(size, scale=(2, 2)))), dim=2)
    assert len(seen) == count
    expected = whole(model, source, wanted)
    torch.testing.assert_close(bands[0].clamp(0, 1), expected, atol=1e-5, rtol=0)


def test_tiles_of_an_unknown_decoder():
    class Sine(nn.Module):
        def __init__(self, in_dim):
            super().__init__()
            self.layer = nn.Linear(in_dim, 3)

        def forward(self, x):
            return self.layer(x).sin()

    model = make("liif")
    model.imnet = Sine(8 * 9 + 4)
    assert_equal_tiles(model, picture(40, 25), (100, 75), 16)


def test_tiles_of_an_encoder_with_upsampler():
    encoder = {"name": "edsr-baseline", "args": {"scale": 2, "n_resblocks": 2, "n_feats": 8}}
    model = build({"name": "liif", "args": {"encoder_spec": encoder}})
    assert_equal_tiles(model, picture(40, 25), (80, 50), 16)
    assert_equal_tiles(model, picture(40, 25), (91, 73), 16)


@pytest.mark.parametrize("tile", [50, 200])
def test_tiles_of_full_depth(tile):
    """EDSR-baseline with its 16 blocks, over odd sizes, unlike scales and a fractional one."""
    assert_equal_tiles(liif(EDSR), picture(211, 95), (299, 260), tile)


def test_tiles_of_rdn():
    assert_equal_tiles(liif(RDN), picture(170, 12), (260, 31), 60)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3)])
def test_tiny_images(size):
    assert_equal_tiles(make("liif"), picture(*size), (5, 23), 1)


def test_a_region_is_a_part_of_the_whole():
    model, source = liif(EDSR), picture(80, 60)
    everything = whole(model, source, (200, 150))
    rows, cols = output_grid(source.size, scale=(2.5, 2.5), region=Region(20, 8, 40, 24))
    for tile in (0, 16):
        part = rendered(model, source, rows, cols, tile).clamp(0, 1)
        torch.testing.assert_close(part, everything[:, 50:150, 20:80], rtol=0, atol=1e-5)


def test_reach_and_memory_are_those_of_the_layers():
    """A convolution of 3 x 3 sees one pixel more on each side: 1 + 2 x 16 + 1 of them."""
    assert find_reach(liif(EDSR)) == 34
    assert find_reach(make("liif")) == 1 + 2 * 2 + 1
    assert find_reach(liif(RDN)) == 2 + 20 * 6 + 1
    assert find_reach(make("bicubic")) == 0
    memory = find_memory(liif(EDSR))
    # At least the map before and after a layer, of 16 channels, with what ReLU blocks keep.
    assert 2 * 16 * 4 <= memory.encoding <= 8 * 16 * 4
    assert memory.latent == (16 + 3 + 16) * 4  # features, image, and codes of IMNET's 16 units


def rcan():
    args = {"no_upsampling": True, **SMALL_ARGS["rcan"], "reduction": 2}
    return liif({"name": "rcan", "args": args})


def test_a_model_that_sees_all_of_the_image_is_not_tiled(capsys):
    model, source = rcan(), picture(70, 50)
    source.pixels[40:] = 0  # so that the means of tiles differ
    assert find_reach(model) is None
    rows, cols = output_grid(source.size, scale=(2, 2))
    wanted = whole(model, source, (140, 100))
    renderer = Renderer(model)
    renderer._free_memory = lambda: 1.0
    got = torch.cat(list(renderer.render(source, rows, cols)), dim=2)[0]
    torch.testing.assert_close(got.clamp(0, 1), wanted, rtol=0, atol=1e-6)
    assert not capsys.readouterr().err
    tiled = rendered(model, source, rows, cols, 32).clamp(0, 1)
    assert f"overlap by {OVERLAP} pixels" in capsys.readouterr().err
    assert (tiled - wanted).abs().max() > 1e-6


class Strided(nn.Module):
    """Features of 2 x 2 pixels, repeated: they depend on where the image begins."""

    out_dim = 3

    def forward(self, x):
        x = nn.functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
        return nn.functional.interpolate(nn.functional.avg_pool2d(x, 2), scale_factor=2)


class Halving(nn.Module):
    """Half as many features as pixels a side."""

    out_dim = 3

    def forward(self, x):
        return nn.functional.avg_pool2d(x, 2, ceil_mode=True)


class Hiding(nn.Module):
    """Sees its neighbours, and lets no NaN through."""

    out_dim = 3

    def forward(self, x):
        return nn.functional.avg_pool2d(x.nan_to_num(), 3, stride=1, padding=1)


@pytest.mark.parametrize("encoder", [Strided, Halving, Hiding])
def test_an_encoder_that_cannot_be_cut_is_not(encoder):
    model = make("liif")
    model.encoder = encoder()
    assert find_reach(model) is None
    source = picture(60, 44)
    rows, cols = output_grid(source.size, scale=(2, 2))
    model.imnet = nn.Sequential(nn.Linear(3 * 9 + 4, 3))
    renderer = Renderer(model)
    renderer._free_memory = lambda: 1.0
    got = torch.cat(list(renderer.render(source, rows, cols)), dim=2)[0]
    torch.testing.assert_close(got.clamp(0, 1), whole(model, source, (120, 88)))


def test_out_of_memory_halves_the_queries():
    model, source = make("liif"), picture(60, 50)
    decode, sizes = model.decode, []

    def limited(latent, queries):
        sizes.append(queries.coord.shape[1])
        if sizes[-1] > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latent, queries)

    wanted, limit = whole(model, source, (240, 200)), 9000
    model.decode = limited
    rows, cols = output_grid(source.size, scale=(4, 4))
    got = rendered(model, source, rows, cols, 0)
    torch.testing.assert_close(got.clamp(0, 1), wanted, rtol=0, atol=1e-6)
    assert max(sizes) > limit >= sizes[-1]
    limit = 10
    with pytest.raises(UserError, match="out of memory: CUDA"):
        rendered(model, source, rows, cols, 0)


@pytest.mark.parametrize("skip", ["bilinear", "bicubic"])
def test_tiles_of_a_wide_image(skip):
    assert_equal_tiles(make("liif", input_skip=skip), picture(6, 4000), (9, 6100), 100)


@pytest.mark.parametrize("scale", [1.5, 2.5])
def test_centres_on_the_edges_of_pixels(scale):
    source = picture(148, 108)
    rows, cols = output_grid(source.size, scale=(scale, scale))
    for tile in (0, 30):
        got = rendered(make("bicubic"), source, rows, cols, tile)
        assert got.shape[1:] == (148 * scale, 108 * scale)
        torch.testing.assert_close(
            got.clamp(0, 1), whole(make("bicubic"), source, got.shape[1:]), rtol=0, atol=1e-6
        )


def test_a_model_of_other_code_is_rendered_whole():
    class Gray(nn.Module):
        def gen_feat(self, inp):
            self.mean = inp.mean((2, 3))

        def query_rgb(self, coord, cell):
            return self.mean.unsqueeze(1).expand(-1, coord.shape[1], -1)

    source = picture(9, 8)
    rows, cols = output_grid(source.size, scale=(2, 3))
    got = torch.cat(list(Renderer(Gray()).render(source, rows, cols)), dim=2)[0]
    wanted = torch.from_numpy(source.pixels).mean((0, 1))
    torch.testing.assert_close(got, wanted.view(3, 1, 1).expand(3, 18, 24), rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="whole images only"):
        Renderer(Gray(), tile=8)


def test_the_tile_follows_the_memory():
    model, source = liif(EDSR), picture(300, 200)
    rows, cols = output_grid(source.size, scale=(1.1, 1.1))
    wanted = whole(model, source, (330, 220))
    encode, seen = model.features, []
    sides = []
    for free in (1e9, 12e6, 1.0):
        model.features = encode
        renderer = Renderer(model)
        renderer._free_memory = lambda free=free: free
        assert renderer.memory.encoding * 300 * 200 > 12e6
        assert renderer.reach == 34
        seen.clear()
        model.features = lambda inp: (seen.append(max(inp.shape[-2:])), encode(inp))[1]
        got = torch.cat(list(renderer.render(source, rows, cols)), dim=2)[0]
        torch.testing.assert_close(got.clamp(0, 1), wanted, rtol=0, atol=1e-5)
        sides.append(max(seen))
    assert sides[0] == 300
    assert 300 > sides[1] > sides[2] == 32 + 2 * (34 + 2 + 1)


@pytest.mark.parametrize(("tile", "half"), [(80, 40), (None, 50), (0, 50)])
def test_out_of_memory_halves_the_tile(tile, half, capsys):
    model, source = make("liif"), picture(100, 90)
    encode, limit = model.features, 70
    renderer = Renderer(model, tile=tile)
    assert renderer.reach == 6 and renderer.memory.encoding > 0  # before the memory gets scarce

    def features(inp):
        if max(inp.shape[-2:]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return encode(inp)

    wanted = whole(model, source, (200, 180))
    rows, cols = output_grid(source.size, scale=(2, 2))
    model.features = features
    got = torch.cat(list(renderer.render(source, rows, cols)), dim=2)[0]
    torch.testing.assert_close(got.clamp(0, 1), wanted, rtol=0, atol=1e-5)
    assert f"going on with tiles of {half} pixels" in capsys.readouterr().err
    limit = 10
    with pytest.raises(UserError, match="out of memory: CUDA"):
        list(renderer.render(source, rows, cols))


def test_a_full_memory_is_told_once_for_all_passes(capsys):
    model, source = make("sronet"), picture(100, 90)
    encode = model.features
    renderer = Renderer(model, tile=0)
    assert renderer.reach == 6

    def features(inp):
        if max(inp.shape[-2:]) > 70:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        return encode(inp)

    wanted = whole(model, source, (200, 180))
    rows, cols = output_grid(source.size, scale=(2, 2))
    model.features = features
    got = torch.cat(list(renderer.render(source, rows, cols)), dim=2)[0]
    torch.testing.assert_close(got.clamp(0, 1), wanted, rtol=0, atol=1e-5)
    assert capsys.readouterr().err.count("going on with tiles") == 1


def test_a_memory_too_full_for_a_look_at_the_encoder():
    model = make("liif")
    renderer = Renderer(model, tile=0)

    def features(inp):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")

    model.features = features
    rows, cols = output_grid((40, 40), scale=(2, 2))
    with pytest.raises(UserError, match="out of memory: CUDA"):
        list(renderer.render(picture(40, 40), rows, cols))


def test_other_errors_are_not_taken_for_the_memory():
    model = make("liif")

    def features(inp):
        raise RuntimeError("shapes do not fit")

    model.features = features
    rows, cols = (Axis.over(8, 8) for _ in range(2))
    with pytest.raises(RuntimeError, match="shapes"):
        rendered(model, picture(8, 8), rows, cols, 0)


def test_alpha_is_rendered_beside_the_colours():
    pixels = np.random.default_rng(0).random((30, 20, 4), dtype=np.float32)
    source = Picture(pixels)
    rows, cols = output_grid(source.size, scale=(1.7, 2.3))
    model = make("liif")
    for tile in (0, 11):
        both = torch.cat(list(Renderer(model, tile=tile).render(source, rows, cols)), dim=2)
        size = (len(rows), len(cols))
        alone = torch.stack([super_resolve(model, plane, size) for plane in source.planes()])
        wanted = consistent(source, alone, rows, cols)
        torch.testing.assert_close(both.clamp(0, 1), wanted, rtol=0, atol=1e-5)


def test_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rendered(liif(ENCODER), picture(40, 30), *output_grid((40, 30), scale=(2, 2)), 16)
    assert set(SPECS) == set(CONTINUOUS)


def test_tiles_of_windows():
    """Tiles of a window encoder begin where its windows do."""
    swinir = {"name": "swinir", "args": {"dim": 12, "n_stages": 2, "n_blocks": 2, "n_heads": 2}}
    model = liif(swinir)
    reach = 0
    for middle in range(64, 72):  # wherever a pixel lies in its window
        strip = torch.zeros(1, 3, 8, 136)
        strip[..., middle] = torch.nan
        affected = model.features(strip).isnan().any(1).any(1)[0].nonzero()
        reach = max(reach, middle - int(affected[0]), int(affected[-1]) - middle)
    assert find_reach(model) == reach
    for size, tile in (((150, 141), 21), ((99, 70), 16), ((171, 93), 40)):
        assert_equal_tiles(model, picture(75, 61), size, tile)


def test_a_tile_is_not_smaller_than_what_is_seen_around_it(monkeypatch):
    monkeypatch.setattr("rendering.tiles.BUDGET", 4e6)
    model = liif(EDSR)
    renderer = Renderer(model)
    sides = []
    for free in (1e9, 20e6, 1.0):
        renderer._free_memory = lambda free=free: free
        sides.append(renderer._choose_tile(1, 2000, 2000))
    assert sides[0] == 64  # up to twice the reach of 34
    assert 64 > sides[1] > sides[2] == 32
    renderer._free_memory = lambda: 1e9
    assert renderer._choose_tile(1, 120, 110) == 120  # seen whole in any case
