import numpy as np
import pytest
import torch
from PIL import Image

import datasets
from datasets.image_folder import ImageFolder, PairedImageFolders
from datasets.wrappers import (
    SRImplicitDownsampled,
    SRImplicitDownsampledFast,
    SRImplicitPaired,
    SRImplicitPairedFast,
    SRImplicitUniformVaried,
)
from errors import UserError
from utils import make_coord


class Images:
    """Three charts: channel 0 counts rows and 1 columns, so that a pixel tells its place."""

    def __init__(self, height=60, width=50):
        rows, cols = np.mgrid[:height, :width]
        self.chart = torch.from_numpy(np.stack([rows, cols, rows * 0 + 7]).astype(np.uint8))

    def __len__(self):
        return 3

    def pixels(self, index):
        return self.chart

    def __getitem__(self, index):
        return self.chart / 255


class Pairs(Images):
    def pixels(self, index):
        height, width = self.chart.shape[-2:]
        small = self.chart[:, : height // 3 * 3 : 3, : width // 3 * 3 : 3]
        return small, self.chart

    def __getitem__(self, index):
        return tuple(image / 255 for image in self.pixels(index))


def target_image(sample, size):
    return (sample["gt"].T.unflatten(1, size) * 255).round().int()


def test_downsampled_whole_image():
    sample = SRImplicitDownsampled(Images(60, 50), scale_min=3.5)[0]
    assert sample["inp"].shape == (3, 17, 14)
    size = (round(17 * 3.5), round(14 * 3.5))
    assert sample["coord"].shape == (size[0] * size[1], 2)
    assert torch.equal(sample["coord"], make_coord(size))
    assert sample["cell"].tolist()[0] == pytest.approx([2 / size[0], 2 / size[1]])
    cut = Images().chart[:, : size[0], : size[1]]
    assert torch.equal(target_image(sample, size), cut.int())
    shrunk = Image.fromarray(cut.permute(1, 2, 0).numpy()).resize(
        (14, 17), Image.Resampling.BICUBIC
    )
    wanted = torch.from_numpy(np.array(shrunk)).permute(2, 0, 1) / 255
    assert torch.equal(sample["inp"], wanted)


@pytest.mark.parametrize(("size", "scale"), [(3, 3.0), (30, 2.5), (99, 1.1), (7, 7.0)])
def test_low_resolution_size_is_exact_where_it_divides(size, scale):
    """floor(H/s + 1e-9): 7 / 7.0, 99 / 1.1 and the like lose no pixel to rounding."""
    sample = SRImplicitDownsampled(Images(size, size), scale_min=scale)[0]
    assert sample["inp"].shape[-1] == round(size / scale)


def test_downsampled_crop_is_a_place_in_the_image():
    wrapper = SRImplicitDownsampled(Images(), inp_size=8, scale_min=2, scale_max=4)
    sizes = set()
    for key in range(60):
        sample = wrapper[key]
        assert sample["inp"].shape == (3, 8, 8)
        side = round(len(sample["gt"]) ** 0.5)
        sizes.add(side)
        target = target_image(sample, (side, side))
        top, left = target[0, 0, 0], target[1, 0, 0]
        assert torch.equal(target, Images().chart[:, top : top + side, left : left + side].int())
    assert min(sizes) >= 16
    assert max(sizes) <= 32
    assert len(sizes) > 10


def test_scale_max_defaults_to_scale_min():
    wrapper = SRImplicitDownsampled(Images(), inp_size=8, scale_min=2)
    assert all(len(wrapper[key]["gt"]) == 16 * 16 for key in range(9))


def test_sample_q_draws_distinct_pixels_with_their_coordinates():
    wrapper = SRImplicitDownsampled(Images(), inp_size=8, scale_min=4, sample_q=300)
    sample = wrapper[0]
    assert sample["coord"].shape == sample["cell"].shape == (300, 2)
    places = (sample["gt"][:, :2] * 255).round()
    assert len(torch.unique(places, dim=0)) == 300
    index = (sample["coord"] + 1) * 16 - 0.5  # in pixels of the 32 x 32 crop
    offset = places - index
    torch.testing.assert_close(offset, offset[:1].expand(300, 2), atol=1e-3, rtol=0)
    everything = torch.unique(torch.cat([wrapper[k]["coord"] for k in range(30)]), dim=0)
    assert len(everything) == 32 * 32


def test_augmentation_keeps_input_and_target_together():
    """All eight symmetries occur, and LR and HR always show the same one."""
    wrapper = SRImplicitPaired(Pairs(60, 60), augment=True)
    seen = set()
    for key in range(90):
        sample = wrapper[key]
        target = target_image(sample, (60, 60))
        small = (sample["inp"] * 255).round().int()
        assert torch.equal(small[2], target[2][::3, ::3])
        corners = [(int(x[0, 0, 0]), int(x[1, 0, 0]), int(x[0, 0, -1])) for x in (target, small)]
        kinds = [tuple(value > 30 for value in corner) for corner in corners]
        assert kinds[0] == kinds[1]
        seen.add(kinds[0])
    assert len(seen) == 8


def test_paired_whole_image_is_cut_to_the_scale():
    sample = SRImplicitPaired(Pairs(61, 50))[0]
    assert sample["inp"].shape == (3, 20, 16)
    assert torch.equal(target_image(sample, (60, 48)), Images(61, 50).chart[:, :60, :48].int())


def test_paired_crops_are_aligned():
    wrapper = SRImplicitPaired(Pairs(), inp_size=5)
    places = set()
    for key in range(40):
        sample = wrapper[key]
        small = (sample["inp"] * 255).round().int()
        target = target_image(sample, (15, 15))
        assert torch.equal(target[:, ::3, ::3], small)
        places.add((int(small[0, 0, 0]), int(small[1, 0, 0])))
    assert len(places) > 20


class Odd(Images):
    def __init__(self, low, high):
        self.low, self.high = (torch.zeros(3, *size, dtype=torch.uint8) for size in (low, high))

    def pixels(self, index):
        return self.low, self.high


@pytest.mark.parametrize(("low", "high"), [((10, 10), (20, 30)), ((10, 10), (9, 9))])
def test_the_paired_scale_is_checked_on_both_axes(low, high):
    with pytest.raises(UserError, match=f"image-0.*{low[0]}x{low[1]} and {high[0]}x{high[1]}"):
        SRImplicitPaired(Odd(low, high))[0]


def test_uniform_varied():
    wrapper = SRImplicitUniformVaried(Pairs(60, 60), size_min=20, size_max=51)
    sides = [round(len(wrapper[i]["gt"]) ** 0.5) for i in range(3)]
    assert sides == [20, 36, 51]
    assert wrapper[0]["inp"].shape == (3, 20, 20)
    resized = SRImplicitUniformVaried(Pairs(60, 60), 20, 51, gt_resize=30)[0]
    assert len(resized["gt"]) == 900
    assert resized["cell"][0].tolist() == pytest.approx([2 / 30] * 2)


def test_uniform_varied_flips_left_right_only():
    wrapper = SRImplicitUniformVaried(Pairs(60, 60), size_min=60, augment=True)
    tops, lefts = set(), set()
    for key in range(30):
        target = target_image(wrapper[key], (60, 60))
        tops.add(int(target[0, 0, 0]))
        lefts.add(int(target[1, 0, 0]))
    assert tops == {0}
    assert lefts == {0, 59}


def test_uniform_varied_of_a_single_image():
    dataset = Pairs(60, 60)
    type(dataset).__len__ = lambda self: 1
    try:
        assert len(SRImplicitUniformVaried(dataset, 20, 51)[0]["gt"]) == 400
    finally:
        type(dataset).__len__ = lambda self: 3


def test_samples_follow_from_seed_epoch_and_index():
    def draw(key, seed=0):
        wrapper = SRImplicitDownsampled(
            Images(), inp_size=8, scale_max=4, augment=True, sample_q=20
        )
        wrapper.seed = seed
        np.random.seed(key)
        return wrapper[key]["gt"]

    assert torch.equal(draw(1), draw(1))
    for other in (draw(4), draw(2), draw(1, seed=5)):  # next epoch, next image, other seed
        assert not torch.equal(draw(1), other)


def test_too_small_an_image_is_named_with_its_size_and_the_least(tmp_path):
    Image.fromarray(np.zeros((20, 90, 3), np.uint8)).save(tmp_path / "small.png")
    folder = ImageFolder(str(tmp_path))
    with pytest.raises(UserError, match=r"small\.png: 20x90 .* 24x24"):
        SRImplicitDownsampled(folder, inp_size=8, scale_min=3)[0]
    with pytest.raises(UserError, match=r"small\.png: 20x90"):
        SRImplicitDownsampled(folder, scale_min=30)[0]
    with pytest.raises(UserError, match=r"small\.png: sample_q 999 .* 324 pixels"):
        SRImplicitDownsampled(folder, inp_size=6, scale_min=3, sample_q=999)[0]
    pairs = PairedImageFolders(str(tmp_path), str(tmp_path))
    with pytest.raises(UserError, match=r"small\.png: 20x90 .* 21x21"):
        SRImplicitPaired(pairs, inp_size=21)[0]


def test_a_dataset_of_float_tensors_works_as_well():
    """A dataset in the published style has no ``pixels``, only items."""

    class Published:
        def __init__(self, images):
            self.images = images

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return self.images[index]

    cases = [
        (SRImplicitDownsampled, Images(), {"inp_size": 8, "scale_max": 3, "augment": True}),
        (SRImplicitPaired, Pairs(), {"inp_size": 8, "sample_q": 9}),
        (SRImplicitUniformVaried, Pairs(60, 60), {"size_min": 30}),
    ]
    for wrapper, images, args in cases:
        ours, published = wrapper(images, **args)[1], wrapper(Published(images), **args)[1]
        for key, value in ours.items():
            torch.testing.assert_close(published[key], value, atol=1e-6, rtol=0)


def test_images_for_pairs_and_pairs_for_images_are_a_clear_error():
    with pytest.raises(UserError, match="SRImplicitPaired takes pairs of images, and Images has"):
        SRImplicitPaired(Images())[0]
    with pytest.raises(UserError, match="SRImplicitDownsampled takes single images, and Pairs has"):
        SRImplicitDownsampled(Pairs())[0]


def test_wrappers_are_registered():
    spec = {"name": "sr-implicit-downsampled", "args": {"scale_min": 2}}
    assert len(datasets.make(spec, args={"dataset": Images()})) == 3
    with pytest.raises(UserError, match="scale_max 1 is less"):
        datasets.make(spec, args={"dataset": Images(), "scale_max": 1})


def places(sample, size):
    """Rows and columns that the coordinates, and that the colours of the charts, tell: (2, ...)."""
    whole = torch.tensor(size)
    by_coord = ((sample["coord"] + 1) * whole / 2 - 0.5).round().int().movedim(-1, 0)
    return by_coord, (sample["gt"][:2] * 255).round().int()


@pytest.mark.parametrize(
    ("grid", "flat"),
    [
        (
            SRImplicitDownsampledFast(Images(), scale_min=3),
            SRImplicitDownsampled(Images(), None, 3),
        ),
        (SRImplicitPairedFast(Pairs()), SRImplicitPaired(Pairs())),
    ],
    ids=["downsampled", "paired"],
)
def test_a_whole_image_as_a_grid(grid, flat):
    got, wanted = grid[0], flat[0]
    assert got["coord"].shape == (60, 48, 2)
    assert got["cell"].tolist() == wanted["cell"][0].tolist()
    assert torch.equal(got["inp"], wanted["inp"])
    assert torch.equal(got["coord"].flatten(0, 1), wanted["coord"])
    assert torch.equal(got["gt"].flatten(1).T, wanted["gt"])
    assert got["gt"].is_contiguous()


def test_pixels_in_no_order_as_a_grid():
    for index in range(6):  # two epochs
        sample = SRImplicitDownsampledFast(Images(), inp_size=12, scale_min=2, scale_max=4)[index]
        height, width = (round(2 / side) for side in sample["cell"].tolist())
        assert height == width
        assert sample["inp"].shape == (3, 12, 12)
        assert sample["coord"].shape == (12, 12, 2)
        by_coord, by_colour = places(sample, (height, width))
        corner = by_colour - by_coord  # of the crop
        assert corner.flatten(1).unique(dim=1).shape == (2, 1)
        assert len(set(map(tuple, by_coord.flatten(1).T.tolist()))) == 144


def test_a_square_of_a_pair_as_a_grid():
    corners = set()
    for index in range(9):
        sample = SRImplicitPairedFast(Pairs(), inp_size=6, augment=False)[index]
        assert sample["inp"].shape == (3, 6, 6)
        assert sample["cell"].tolist() == pytest.approx([2 / 18, 2 / 18])
        by_coord, by_colour = places(sample, (18, 18))
        first = by_coord[:, :1, :1]
        assert torch.equal(
            by_coord - first,
            torch.stack(torch.meshgrid(torch.arange(6), torch.arange(6), indexing="ij")).int(),
        )
        low = (sample["inp"][:2, 0, 0] * 255).round().int().view(2, 1, 1)
        assert torch.equal(by_colour, low + by_coord)
        corners.add(tuple(first.flatten().tolist()))
    assert len(corners) > 3
