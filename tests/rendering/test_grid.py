import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from errors import UserError
from rendering.grid import Axis, Border, Region, fitted, keeps_shape, output_counts, output_grid
from utils import make_coord

SIDES = st.integers(1, 300)


def test_a_grid_over_the_image_is_that_of_make_coord():
    rows, cols = output_grid((7, 9), scale=(2.37, 3.1))
    assert (len(rows), len(cols)) == (17, 28)
    grid = make_coord((17, 28), flatten=False)
    assert torch.equal(rows.centres, grid[:, 0, 0])
    assert torch.equal(cols.centres, grid[0, :, 1])
    assert (rows.cell, cols.cell) == (2 / 17, 2 / 28)


@pytest.mark.parametrize(
    ("ways", "size"),
    [
        ({"scale": (2, 0.5)}, (200, 75)),
        ({"resolution": (31, 47)}, (31, 47)),
        ({"long_side": 60}, (40, 60)),
        ({"long_side": 1}, (1, 1)),
        ({"scale": (2, 2), "region": Region(10, 20.5, 30, 40.5)}, (60, 81)),
        ({"long_side": 81, "region": Region(10, 20.5, 30, 40.5)}, (60, 81)),
    ],
)
def test_sizes(ways, size):
    assert tuple(map(len, output_grid((100, 150), **ways))) == size


def test_a_region_has_the_pixels_of_the_whole_where_they_coincide():
    rows, cols = output_grid((20, 30), scale=(2.5, 3))
    part = output_grid((20, 30), scale=(2.5, 3), region=Region(4, 1 / 3, 12, 5))
    assert torch.equal(part[0].centres, rows.centres[10:40])
    assert torch.equal(part[1].centres, cols.centres[1:16])
    assert [axis.cell for axis in part] == [axis.cell for axis in (rows, cols)]


def test_a_region_between_pixels():
    """By hand: the centre of output pixel i of 3 over the input pixels 1.2 to 2.1 of 5."""
    axis = Axis.over(5, 3, 1.2, 0.9)
    wanted = [2 * (1.2 + 0.9 * (i + 0.5) / 3) / 5 - 1 for i in range(3)]
    torch.testing.assert_close(axis.centres, torch.tensor(wanted))
    assert axis.cell == pytest.approx(2 * 0.3 / 5)


def assert_shared(axis, tile):
    """Tiles over the span have every output pixel once, each where it lies."""
    first, stop = axis.span()
    starts = range(first, stop, tile)
    parts = [axis.within(a, min(a + tile, stop)) for a in starts]
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(len(axis)))
    for a, part in zip(starts, parts, strict=True):
        places = (axis.centres[part].double() + 1) / 2 * axis.size
        assert ((places >= a - 1e-4) & (places <= a + tile + 1e-4)).all()


@given(SIDES, SIDES, st.integers(1, 64))
def test_tiles_share_the_output_without_gaps(size, count, tile):
    assert_shared(Axis.over(size, count), tile)


@given(SIDES, SIDES, st.floats(0, 0.9), st.floats(0.01, 1), st.integers(1, 64))
def test_tiles_share_a_region_without_gaps(size, count, start, share, tile):
    assert_shared(Axis.over(size, count, start * size, size * share * (1 - start)), tile)


@pytest.mark.parametrize("parts", [2, 4, 6])
def test_tiles_where_centres_lie_between_pixels(parts):
    """At x1/2 every centre is on the edge of two input pixels, as far as float32 can tell."""
    for size in [1080, 1480, 2160, 3000, *range(parts, 400, parts)]:
        assert_shared(Axis.over(size, size // parts), 100)


def test_a_deep_zoom_needs_no_grid_over_the_image_and_has_distinct_pixels():
    axis = Axis.over(4000, 8000, 3990, 1)
    assert len(axis.centres.unique()) == 8000
    tiny = output_grid((60, 80), resolution=(10, 10), region=Region(0, 0, 1e-5, 1e-5))
    assert [len(axis.centres.unique()) for axis in tiny] == [10, 10]


@given(SIDES, st.floats(0, 0.9), st.floats(0.01, 1), SIDES)
def test_the_span_holds_all_pixels(size, start, share, count):
    length = size * share * (1 - start)
    axis = Axis.over(size, count, start * size, length)
    first, stop = axis.span()
    assert 0 <= first < stop <= size
    places = (axis.centres.double() + 1) / 2 * size
    assert places.min() >= first - 1e-4
    assert places.max() <= stop + 1e-4
    assert places.min() - first < 1


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ({"scale": (0.01, 1)}, "less than one"),
        ({"scale": (1e5, 1e5)}, "--max-pixels"),
        ({"scale": (1e308, 1)}, "at most"),
        ({"long_side": 10**400}, "at most"),
        ({"resolution": (0, 5)}, "above 0"),
        ({"scale": (3, 3), "max_pixels": 100}, "more than the 100 allowed"),
        ({"scale": (1, 1), "region": Region(0, 0, 5, 4)}, "not within the image of 4x6"),
        ({"scale": (1, 1), "region": Region(0, 6, 1, 1)}, "not within"),
        ({"scale": (1, 1), "region": Region(0, 0, 0, 1)}, "not within"),
        ({"scale": (1, 1), "region": Region(-1, 0, 2, 1)}, "not within"),
    ],
)
def test_impossible_sizes(ways, message):
    with pytest.raises(UserError, match=message):
        output_grid((4, 6), **ways)


@given(st.integers(1, 5000), st.integers(1, 5000), st.floats(0.6, 40), st.integers(1, 9000))
def test_sizes_in_proportion_are_never_taken_for_another_shape(height, width, scale, side):
    shape = (height, width)
    assert keeps_shape(shape, output_counts(shape, long_side=side))
    assert keeps_shape(shape, output_counts(shape, scale=(scale, scale)))
    whole = (max(1, int(height * scale)), max(1, int(width * scale)))  # rounded down
    assert keeps_shape(shape, whole) or min(whole) == 1


@pytest.mark.parametrize("counts", [(100, 152), (102, 150), (50, 77), (200, 302), (4, 8)])
def test_other_shapes_are_known(counts):
    """In proportion to 100 x 150 are a width of 150, 75, 300 and 6."""
    assert not keeps_shape((100, 150), counts)


def test_a_crop_is_the_middle_of_the_right_shape():
    found = fitted(Region(10, 20, 100, 200), (300, 300), "crop")
    assert found.part == Region(10, 70, 100, 100)
    assert found.counts == found.size == (300, 300)
    assert found.notes == ("cropped to 100x100 of 100x200 pixels",)


def test_a_pad_has_all_of_the_picture_and_the_shape():
    found = fitted(Region(0, 0, 100, 200), (301, 300), "pad")
    assert found.part == Region(0, 0, 100, 200)
    assert found.counts == (150, 300)
    assert found.border == Border(75, 76, 0, 0)
    assert found.size == (301, 300)


def test_a_stretch_is_said():
    whole = Region(0, 0, 100, 200)
    (note,) = fitted(whole, (300, 300)).notes
    assert note.startswith("stretched by 100% in height") and "--fit crop" in note
    (note,) = fitted(whole, (100, 250), "stretch").notes
    assert note == "stretched by 25% in width to 100x250 pixels"
    assert not fitted(whole, (300, 600)).notes
