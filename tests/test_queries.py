"""Lists of points, and grids that are known or found."""

import pytest
import torch

import queries
from models.literal import FORMULAS
from queries import Queries, whole_picture
from rendering.grid import output_grid
from rendering.picture import Picture
from rendering.tile_size import Memory
from rendering.tiles import Renderer
from tests.cases import make
from utils import make_cell, make_coord, pixel_centres


def listed(size, batch=1):
    coord = make_coord(size).expand(batch, -1, -1)
    return coord, make_cell(size).expand_as(coord)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (13, 9)], ids=str)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_known_grid_is_the_list_of_its_points(size, batch):
    rows, cols = (pixel_centres(n) for n in size)
    known = Queries.grid(rows, cols, make_cell(size), batch)
    coord, cell = listed(size, batch)
    assert torch.equal(known.coord, coord)
    assert torch.equal(known.cell, cell)
    for each in (known, Queries(coord, cell), Queries(coord.clone(), cell.clone())):
        assert each.one_cell
        assert all(map(torch.equal, each.axes, (rows, cols)))


@pytest.mark.parametrize("changed", [(0, 7, 0), (0, 7, 1), (0, 19, 0), (0, 19, 1), (0, 0, 1)])
@pytest.mark.parametrize("to", [0.01, torch.nan])
def test_what_only_begins_like_a_grid_is_none(changed, to):
    coord = make_coord((4, 5)).unsqueeze(0)
    coord[changed] += to
    assert Queries(coord).axes is None


def test_lists_that_are_no_grid():
    coord, cell = listed((13, 7))
    assert Queries(coord[:, :0]).axes is None
    assert Queries(coord[:, torch.randperm(91)]).axes is None
    assert Queries(coord[:, :50]).axes is None
    assert Queries(torch.stack([coord[0], coord[0].flip(0)])).axes is None  # one each
    assert not Queries(coord, torch.cat([cell[:, :-1], cell[:, -1:] / 2], 1)).one_cell


def test_the_picture_behind_some_of_its_pixels():
    coord, _ = listed((13, 7))
    rows = coord.unflatten(1, (13, 7))
    assert Queries(coord).picture == (13, 7)
    assert Queries(rows[:, 3:9, 2:5].flatten(1, 2)).picture == (13, 7)
    assert Queries(rows[:, 3:4].flatten(1, 2)).picture is None
    for turned in (
        -coord,
        coord * coord.new_tensor([-1.0, 1.0]),
        rows.transpose(1, 2).flatten(1, 2),
    ):
        assert Queries(turned).picture == (13, 7)
    assert Queries(coord.flip(-1)).picture == (7, 13)
    assert Queries(coord[:, :50]).picture is None
    assert Queries(coord[:, [0, 0, 7, 7]]).picture is None
    assert Queries.grid(rows[0, 3:4, 0, 0], rows[0, 0, :, 1], picture=(13, 7)).picture == (13, 7)


def test_whether_a_sample_is_a_whole_picture():
    coord, cell = (x[0] for x in listed((13, 7)))
    assert whole_picture(coord, cell) == (13, 7)
    assert whole_picture(coord[:-1], cell) is None
    assert whole_picture(coord.flip(0), cell) is None


def test_grids_are_looked_for_in_inference_only(monkeypatch):
    monkeypatch.setattr(queries, "_find_axes", lambda coord: pytest.fail("looked for"))
    coord, cell = listed((9, 8))
    assert Queries(coord, cell).fast_axes is None  # gradients are recorded
    model = make("liif", input_skip="bicubic")
    model(torch.randn(1, 3, 4, 5), coord, cell)


def test_rendering_knows_its_grid(monkeypatch):
    """And so does not look for it, in whatever model."""
    picture = Picture(torch.rand(6, 7, 3).numpy())
    rows, cols = output_grid((6, 7), scale=(3, 4))
    names = ("bicubic", *FORMULAS)
    renderers = [Renderer(make(name).eval()) for name in names]
    monkeypatch.setattr(queries, "_find_axes", lambda coord: pytest.fail("looked for"))
    for renderer in renderers:
        renderer.memory = Memory(0, 0)  # found by encoding a strip of one pixel
        (band,) = renderer.render(picture, rows, cols)
        assert band.shape == (1, 3, 18, 28)


def test_a_decoder_of_cells_needs_them():
    coord, cell = listed((2, 3))
    with pytest.raises(ValueError, match="needs cell"):
        Queries(coord).with_cell()
    assert Queries(coord, cell).with_cell(False).cell is None
    assert Queries(coord).with_cell(False).cell is None
