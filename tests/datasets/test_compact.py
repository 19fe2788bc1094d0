import pickle

import pytest
import torch

from datasets import compact
from datasets.compact import Batch, Compact, expanded, stacked
from datasets.wrappers import SampleWrapper
from utils import make_cell, make_coord, pixel_centres

LEVELS = torch.arange(256, dtype=torch.uint8)


def picked(size, count, channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows, cols = (torch.randint(n, (count,), generator=generator, dtype=torch.int32) for n in size)
    gt = torch.randint(256, (count, channels), generator=generator, dtype=torch.uint8)
    return Compact(torch.zeros(channels, 4, 5, dtype=torch.uint8), gt, size, rows, cols)


def test_coordinates_have_the_bits_of_pixel_centres():
    for n in [*range(1, 700), 1023, 1356, 2040, 4095, 7001]:
        every = torch.arange(n, dtype=torch.int32)
        sample = Compact(torch.zeros(3, 1, 1), torch.zeros(n, 3), (n, 7), every, every * 0)
        batch = expanded(stacked([sample]), as_grid=False)
        assert torch.equal(batch["coord"][0, :, 0], pixel_centres(n)), n
        assert torch.equal(batch["cell"][0], make_cell((n, 7)).expand(n, 2)), n


def test_pixels_are_divided_by_255_in_float32():
    sample = Compact(LEVELS.view(1, 16, 16), LEVELS.view(1, 16, 16), (16, 16))
    for as_grid in (False, True):
        batch = expanded(stacked([sample]), as_grid)
        for key in ("inp", "gt"):
            assert batch[key].dtype == torch.float32
            assert torch.equal(batch[key].flatten(), LEVELS.float() / 255)


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 12)])
def test_a_whole_image_is_all_pixels_row_by_row(size):
    image = torch.randint(256, (2, 3, *size), dtype=torch.uint8)
    fields = stacked([Compact(image[i], image[i], size) for i in range(2)])
    flat, grid = expanded(fields, as_grid=False), expanded(fields, as_grid=True)
    for i in range(2):
        assert torch.equal(flat["coord"][i], make_coord(size))
        assert torch.equal(grid["coord"][i], make_coord(size, flatten=False))
        assert torch.equal(flat["gt"][i], image[i].flatten(1).T / 255)
        assert torch.equal(grid["gt"][i], image[i] / 255)
        assert torch.equal(grid["cell"][i], make_cell(size))
    for batch in (flat, grid):
        assert all(value.is_contiguous() for value in batch.values())


def test_samples_of_different_scale_make_a_batch():
    samples = [picked((40, 50), 60, seed=1), picked((17, 90), 60, seed=2)]
    batch = expanded(stacked(samples), as_grid=False)
    for i, sample in enumerate(samples):
        place = make_coord(sample.size, flatten=False)[sample.rows.long(), sample.cols.long()]
        assert torch.equal(batch["coord"][i], place)
        assert torch.equal(batch["cell"][i], make_cell(sample.size).expand(60, 2))
        assert torch.equal(batch["gt"][i], sample.gt / 255)


def test_eight_and_sixteen_bits_make_a_batch():
    bytes_ = Compact(LEVELS.view(1, 16, 16), LEVELS.view(1, 16, 16), (16, 16))
    floats = Compact(torch.rand(1, 16, 16), torch.rand(1, 16, 16), (16, 16))
    batch = expanded(stacked([bytes_, floats]), as_grid=True)
    assert torch.equal(batch["gt"][0], bytes_.gt / 255)
    assert torch.equal(batch["gt"][1], floats.gt)


def test_a_batch_travels_as_few_bytes():
    samples = [picked((192, 192), 2304) for _ in range(16)]
    sent = len(pickle.dumps(Batch(stacked(samples), as_grid=False)))
    assert sent < 16 * (2304 * (3 + 2 * 4) + 3 * 4 * 5) + 2000  # where floats were 28 a pixel
    image = torch.zeros(3, 300, 400, dtype=torch.uint8)
    sent = len(pickle.dumps(Batch(stacked([Compact(image, image, (300, 400))]), as_grid=False)))
    assert sent < 2 * 3 * 300 * 400 + 2000


def test_a_batch_arrives_as_it_was_sent():
    fields = stacked([picked((20, 30), 6, seed=i) for i in range(3)])
    fields["odd"] = torch.rand(3).bfloat16()  # numpy has none
    fields["text"] = ["a", "b"]
    sent = Batch(fields, as_grid=False, left_out=[4], notes=["x.png: left out"])
    got = pickle.loads(pickle.dumps(sent))
    assert (got.as_grid, got.left_out, got.notes) == (False, [4], ["x.png: left out"])
    assert got.fields.keys() == fields.keys()
    for key, value in fields.items():
        same = torch.equal(value, got.fields[key]) if key != "text" else got.fields[key] == value
        assert same, key


def test_eight_bits_are_copied_to_the_device_and_expanded_there(monkeypatch):
    seen = {}

    def note(fields, as_grid):
        seen.update(fields)
        return expanded(fields, as_grid)

    monkeypatch.setattr(compact, "expanded", note)
    batch = Batch(stacked([picked((40, 50), 60)]), as_grid=False).on(torch.device("meta"))
    assert {value.device.type for value in (*seen.values(), *batch.values())} == {"meta"}
    assert seen["inp"].dtype == seen["gt"].dtype == torch.uint8
    assert batch["coord"].shape == batch["cell"].shape == (1, 60, 2)


class Noisy(SampleWrapper):
    def draw(self, index, rng):
        return torch.rand(3, 4, 4), torch.arange(48, dtype=torch.uint8).view(3, 4, 4)


def test_a_float_input_stays_as_it_is():
    torch.manual_seed(0)
    drawn = Noisy([0], 5).compact(0)
    torch.manual_seed(0)
    sample = Noisy([0], 5)[0]
    assert drawn.inp.dtype == torch.float32
    assert drawn.gt.dtype == torch.uint8
    assert drawn.rows.dtype == drawn.cols.dtype == torch.int32
    assert torch.equal(sample["inp"], drawn.inp)
    assert torch.equal(sample["gt"], drawn.gt / 255)


def test_sixteen_bit_pixels_are_levels_of_65535():
    class Deep(SampleWrapper):
        def draw(self, index, rng):
            image = torch.tensor([[[0, 1, 65535], [300, 40000, 7]]]).to(torch.uint16)
            return image, image.flip(-1)

    for sample_q in (None, 6):
        sample = Deep([0], sample_q)[0]
        levels = torch.tensor([0, 1, 65535, 300, 40000, 7]) / 65535
        assert torch.equal(sample["inp"].flatten(), levels)
        assert torch.equal(sample["gt"].flatten().sort().values, levels.sort().values)
