"""Rendering at several scales: chunks, regions and batches, and when it is at work."""

from math import inf

import numpy as np
import pytest
import torch

from engine import batched_predict, clip_cell, self_ensemble
from errors import UserError
from models.continuous.cmsr import Level, compose, levels, scale_of
from rendering.grid import output_grid
from rendering.picture import Picture
from rendering.tiles import Renderer
from tests.cases import make
from utils import make_cell, make_coord, sample_bilinear

NAMES = ["lmliif", "lmlte", "lmciaosr"]
# Of the random weights of the cases, so that each level selects a part.
MIDDLE = {"lmliif": 0.11, "lmlte": 0.127, "lmciaosr": 0.123}


def tables(middle, width=0.001):
    return {"s2m_tables": {8: {1: middle - width, 2.5: middle + width, 8: 1}}}


def grid(size, batch=1):
    coord = make_coord(size).expand(batch, -1, -1)
    return coord, make_cell(size).expand_as(coord)


@pytest.fixture(params=NAMES)
def pair(request):
    """The same model with and without."""
    middle = MIDDLE[request.param]
    return make(request.param, cmsr_spec=tables(middle)), make(request.param)


def test_levels_of_the_first_table_that_is_large_enough():
    known = {4: {1: 0.1, 4: 1}, 8: {1: 0.1, 2: 0.3, 8: 1}, 12: {1: 0.2, 6: 1}}
    assert levels(known, 5) == [Level(1, 0, 0.1), Level(2, 0.1, 0.3), Level(5, 0.3, inf)]
    assert levels(known, 8) == [Level(1, 0, 0.1), Level(2, 0.1, 0.3), Level(8, 0.3, inf)]
    assert levels(known, 6) == [Level(1, 0, 0.1), Level(2, 0.1, 0.3), Level(6, 0.3, inf)]
    assert levels(known, 30) == [Level(1, 0, 0.2), Level(6, 0.2, inf)]  # the last; x6 suffices
    assert levels({4: {1: 1.0}}, 30) == [Level(1, 0, inf)]
    assert levels({4: {8: 1.0}}, 5) == [Level(5, 0, inf)]
    assert levels({8: {0.5: 0.1, 2: 0.3}}, 8) == [Level(2, 0.1, 0.3), Level(8, 0.3, inf)]


def test_up_to_x4_nothing_changes(pair):
    composed, plain = pair
    inp = torch.randn(2, 3, 6, 7)
    for size in ((24, 28), (9, 40)):
        assert torch.equal(composed(inp, *grid(size, 2)), plain(inp, *grid(size, 2)))


def test_in_training_nothing_changes(pair):
    composed, plain = (model.train() for model in pair)
    inp, args = torch.randn(1, 3, 6, 7), grid((50, 60))
    assert torch.equal(composed(inp, *args), plain(inp, *args))


def test_points_that_are_no_grid_are_rendered_at_their_own_scale(pair):
    composed, plain = pair
    inp, (coord, cell) = torch.randn(1, 3, 6, 7), grid((50, 60))
    some = torch.randperm(3000)[:1000]
    with torch.no_grad():
        expected = plain(inp, coord[:, some], cell[:, some])
        assert torch.equal(composed(inp, coord[:, some], cell[:, some]), expected)


def test_each_pixel_is_rendered_or_enlarged(pair):
    """At the largest scale what is rendered is that of the plain model."""
    composed, plain = pair
    inp, (coord, cell) = torch.randn(1, 3, 12, 11), grid((96, 88))
    args = (coord, clip_cell(plain, cell, (12, 11)))
    with torch.no_grad():
        found, full = composed(inp, *args), plain(inp, *args)
    same = torch.isclose(found, full, atol=1e-4).all(-1)
    assert 0.05 < same.float().mean() < 0.95
    enlarged = make("bicubic")  # neither is it the input enlarged
    assert (found - enlarged(inp, *args)).abs().max() > 0.01


@pytest.mark.parametrize("size", [(60, 44), (61, 44), (58, 49)], ids=str)
def test_the_last_level_is_the_picture_itself(size):
    """Also where the scale is fractional, and not the same in both directions."""
    inp, intensity = torch.rand(1, 3, 10, 7), torch.ones(1, 1, 10, 7)
    truth = torch.rand(1, 3, *size)
    rendered = lambda queries: truth.flatten(2).mT  # noqa: E731
    steps = levels({8: {1: 0.5}}, scale_of(size, (10, 7)))
    assert torch.equal(compose(inp, intensity, steps, size, rendered), truth)


@pytest.mark.parametrize("args", [{"local_ensemble": False}, {"mod_input": False}, {}], ids=str)
def test_without_cells(args):
    model = make("lmliif", cmsr_spec=tables(0.11), cell_decode=False, **args)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 6, 7), *grid((45, 50))).shape == (1, 2250, 3)


def test_flipped_and_turned_pictures_are_composed_too(pair):
    """So in the mean over all eight, too."""
    inp, (coord, cell) = torch.randn(1, 3, 8, 9), grid((64, 72))
    found, plain = (self_ensemble(model, inp, coord, cell, None) for model in pair)
    assert found.shape == plain.shape
    assert (found - plain).abs().max() > 0.01
    for flip in ([-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]):
        with torch.no_grad():
            composed, plain = (model(inp, coord * coord.new_tensor(flip), cell) for model in pair)
        assert (composed - plain).abs().max() > 0.01


def test_in_float64(pair):
    model, inp = pair[0].double(), torch.randn(1, 3, 6, 7).double()
    with torch.no_grad():
        assert model(inp, *(x.double() for x in grid((45, 50)))).dtype == torch.float64


def test_with_nothing_selected_the_input_is_enlarged():
    spec = {"s2m_tables": {8: {0.5: 1.0}}}  # below x1 nothing is rendered
    model = make("lmlte", cmsr_spec=spec)
    inp, (coord, cell) = torch.randn(2, 3, 6, 7), grid((48, 56), 2)
    with torch.no_grad():
        found = model(inp, coord, cell)
    torch.testing.assert_close(found, sample_bilinear(inp, coord), atol=1e-4, rtol=0)


def test_items_of_a_batch_do_not_meet(pair):
    model, inp = pair[0], torch.randn(3, 3, 8, 9)
    with torch.no_grad():
        together = model(inp, *grid((70, 80), 3))
        alone = torch.cat([model(x, *grid((70, 80))) for x in inp.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_chunks_bands_and_regions_are_parts_of_one_picture(pair, monkeypatch):
    model = pair[0]
    source = Picture(np.random.default_rng(0).random((10, 12, 3), dtype=np.float32))
    inp = source.planes() * 2 - 1
    size = (67, 93)
    coord, cell = grid(size)
    with torch.no_grad():
        whole = model(inp, coord, clip_cell(model, cell, (10, 12)))
        chunked = batched_predict(model, inp, coord, cell, 100)
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr("rendering.tiles.BAND", 1000)
    renderer = Renderer(model)
    renderer.queries = 500
    rows, cols = output_grid((10, 12), resolution=size)
    bands = torch.cat(list(renderer.render(source, rows, cols)), dim=2)
    expected = (whole[0].T.unflatten(1, size) + 1) / 2
    torch.testing.assert_close(bands[0], expected, atol=1e-4, rtol=0)
    part = torch.cat(list(renderer.render(source, rows[20:50], cols[11:80])), dim=2)
    torch.testing.assert_close(part[0], expected[:, 20:50, 11:80], atol=1e-4, rtol=0)
    row = torch.cat(list(renderer.render(source, rows[20:21], cols[11:13])), dim=2)
    torch.testing.assert_close(row[0], expected[:, 20:21, 11:13], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "s2m_tables: this key is missing"),
        ({"s2m_tables": {}}, "s2m_tables"),
        ({"s2m_tables": {4: {}}}, "s2m_tables"),
        ({"s2m_tables": {-4: {1: 1}}}, "s2m_tables"),
        ({"s2m_tables": {4: {1: "a"}}}, "s2m_tables"),
        ({"s2m_tables": {4: {1: 1}}, "tables": 1}, "tables: unknown key"),
    ],
    ids=str,
)
def test_mistakes_in_specs(spec, message):
    with pytest.raises(UserError, match=message):
        make("lmliif", cmsr_spec=spec)


def test_tiles_are_refused():
    model = make("lmliif", cmsr_spec=tables(0.2))
    with pytest.raises(UserError, match="knows whole images only"):
        Renderer(model, tile=16)
