import threading

import numpy as np
import pytest
import torch
from skimage import data

from models.checkpoint import load_model
from rendering.grid import Axis
from rendering.kept_tiles import SIDE, TileKeeper, kept_tiles
from rendering.picture import Picture
from rendering.tiles import Renderer
from tests.cases import make

PIXELS = np.ascontiguousarray(data.astronaut()[:300, :280])


def rendered(renderer, picture, counts, part=(slice(None), slice(None))):
    rows, cols = (Axis.over(*each) for each in zip(picture.size, counts, strict=True))
    bands = renderer.render(picture, rows[part[0]], cols[part[1]])
    return torch.cat(list(bands), dim=2)


@pytest.mark.parametrize("name", ["fast", "bicubic", "lte", "rcan", "clit"])
def test_parts_are_those_of_the_whole_picture(name):
    if name in ("fast", "bicubic"):
        model, norm = load_model(name)
        picture = Picture(PIXELS)
    else:
        torch.manual_seed(0)
        model, norm = make("liif" if name == "rcan" else name).eval(), None
        picture = Picture(PIXELS[:60, :50])
    keeper = TileKeeper(model, norm, kept_tiles(2**30), name)
    size = picture.size
    counts = (size[0] * 2 + 7, size[1] * 3 - 5)
    expected = rendered(Renderer(model, norm, tile=0), picture, counts)
    part = (slice(100, 117), slice(60, 95)), (slice(31, 130), slice(1, 140))
    if size[0] > SIDE:
        part = (*part, (slice(490, 530), slice(740, 800)))  # where four tiles meet
    for each in part:
        found = rendered(keeper, picture, counts, each)
        torch.testing.assert_close(found, expected[:, :, each[0], each[1]], rtol=0, atol=2e-6)


def test_a_tile_is_encoded_once(monkeypatch):
    model, norm = load_model("fast")
    calls = []
    encode = model.features
    monkeypatch.setattr(model, "features", lambda inp: calls.append(inp.shape) or encode(inp))
    tiles = kept_tiles(2**30)
    keeper, picture = TileKeeper(model, norm, tiles, "fast"), Picture(PIXELS)
    assert keeper.reach and keeper.memory
    calls.clear()
    for scale in (2, 3.7, 8):
        rendered(keeper, picture, (round(300 * scale), round(280 * scale)), (slice(40), slice(50)))
    assert len(calls) == tiles.made == 1
    rendered(keeper, picture, (600, 560), (slice(560, 600), slice(530, 560)))
    assert len(calls) == tiles.made == 3
    other = Picture(PIXELS.copy())
    rendered(keeper, other, (600, 560), (slice(9), slice(9)))
    assert tiles.made == 4, "another picture has tiles of its own"


def test_tiles_are_dropped_beyond_the_limit():
    model, norm = load_model("fast")
    one = SIDE * SIDE * 48 * 4
    tiles = kept_tiles(1.1 * one)
    keeper, picture = TileKeeper(model, norm, tiles, "fast"), Picture(PIXELS)
    first = rendered(keeper, picture, (600, 560), (slice(20), slice(20)))
    rendered(keeper, picture, (600, 560), (slice(580, 600), slice(20)))
    rendered(keeper, picture, (600, 560), (slice(500, 530), slice(500, 530)))
    assert tiles.bytes <= 1.1 * one
    made = tiles.made
    again = rendered(keeper, picture, (600, 560), (slice(20), slice(20)))
    assert tiles.made == made + 1 and torch.equal(first, again)


def test_threads_share_tiles():
    model, norm = load_model("fast")
    tiles = kept_tiles(2**30)
    keeper, picture = TileKeeper(model, norm, tiles, "fast"), Picture(PIXELS)
    jobs = [(scale, top) for scale in (2, 3) for top in (0, 60, 120)]

    def job(scale, top):
        counts = (300 * scale, 280 * scale)
        return rendered(keeper, picture, counts, (slice(top, top + 50), slice(70)))

    expected = [job(*each) for each in jobs]
    tiles.drop((picture.token, "fast", (0, SIDE), (0, SIDE)))
    found = {}
    threads = [
        threading.Thread(target=lambda each=each: found.update({each: job(*each)})) for each in jobs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[each], made) for each, made in zip(jobs, expected, strict=True))
    assert tiles.made == 2
