from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rendering.grid import Axis
from viewing.lattice import BLOCK, Grid, Lattice, part_over

sizes = st.integers(1, 5000)


@given(sizes, st.integers(1, 20000), st.data())
@settings(deadline=None, max_examples=60)
def test_the_pixels_of_a_whole_picture_are_those_of_demo(size, count, data):
    lattice = Lattice.whole(size, count)
    first = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(first + 1, min(count, first + 50)))
    axis, whole = lattice.axis(range(first, stop)), Axis.over(size, count)
    assert lattice.count == whole.count == count
    assert torch.equal(axis.centres, whole.centres[first:stop])
    assert axis.cell == whole.cell and axis.start == pytest.approx(whole[first:stop].start)


@given(sizes, st.fractions(Fraction(1, 40), 40), st.fractions(0, Fraction(99, 100)), st.data())
@settings(deadline=None, max_examples=60)
def test_a_pixel_has_the_same_centre_in_every_part(size, step, phase, data):
    lattice = Lattice(size, step, phase)
    if lattice.count < 1:
        return
    number = data.draw(st.integers(0, lattice.count - 1))
    found = set()
    for before, after in ((0, 0), (1, 3), (20, 5)):
        first, stop = max(0, number - before), number + 1 + after
        found.add(float(lattice.axis(range(first, stop)).centres[number - first]))
    assert len(found) == 1
    exact = (number + phase + Fraction(1, 2)) * step * 2 / size - 1
    assert found.pop() == pytest.approx(float(exact), abs=2e-6)


def test_blocks_cover_a_part_once():
    lattice = Lattice.whole(100, 700)
    assert [block for _, block in lattice.blocks(range(700))] == [
        range(256), range(256, 512), range(512, 700)
    ]  # fmt: skip
    assert [number for number, _ in lattice.blocks(range(250, 260))] == [0, 1]
    assert [number for number, _ in lattice.blocks(range(BLOCK, 2 * BLOCK))] == [1]


@given(st.integers(10, 2000), st.integers(1, 60), st.sampled_from([1, 2, 4, 8, 16]), st.data())
@settings(deadline=None, max_examples=60)
def test_tiles_that_meet_are_on_one_grid(size, factor, level, data):
    """As a viewer asks for them: regions of the enlarged image, of a power of two of its pixels."""
    tile, whole = 64 * level, size * factor
    if whole < 2 * tile:
        return
    first = data.draw(st.integers(0, whole // tile - 2))
    parts = [
        part_over(
            (size, size),
            tuple(Fraction(n, factor) for n in (start, start, length, length)),
            (length // level,) * 2,
        )
        for start, length in (
            (first * tile, tile),
            ((first + 1) * tile, tile),
            (first * tile, 2 * tile),
        )
    ]
    left, right, both = (part.cols for part in parts)
    assert len({part.grid for part in parts}) == 1
    assert (left.start, left.stop, right.stop) == (both.start, right.start, both.stop)


def test_what_enlarges():
    assert Grid.whole((10, 10), (20, 20)).enlarges and Grid.whole((10, 10), (10, 10)).enlarges
    assert not Grid.whole((10, 10), (9, 9)).enlarges
