import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import datasets
from configs.schema import DataSection
from datasets.check import check_images, check_sizes
from datasets.image_file import write_pixels
from datasets.loader import make_loader
from datasets.reading import UnreadableError
from datasets.wrappers import (
    SRImplicitDownsampled,
    SRImplicitDownsampledFast,
    SRImplicitPaired,
    SRImplicitPairedFast,
    SRImplicitUniformVaried,
)
from errors import UserError


class Sized:
    """Images of which there are sizes only; a text instead of one is why it cannot be read."""

    def __init__(self, *sizes, repeat=1):
        self.sizes, self.repeat, self.looked = sizes, repeat, []

    @property
    def distinct(self):
        return len(self.sizes)

    def __len__(self):
        return len(self.sizes) * self.repeat

    def size(self, index):
        self.looked.append(index)
        size = self.sizes[index]
        if isinstance(size, str):
            raise UnreadableError(f"{self.file(index)}: {size}")
        return size

    def file(self, index):
        return Path(f"HR/{index}.png")

    def pixels(self, index):
        size = self.size(index)
        if isinstance(size[0], int):
            return torch.zeros(3, *size, dtype=torch.uint8)
        return tuple(torch.zeros(3, *one, dtype=torch.uint8) for one in size)

    __getitem__ = pixels


class SizedPairs(Sized):
    folder = staticmethod(lambda index: "")

    def files(self, index):
        folder = self.folder(index)
        return Path(f"{folder}LR/{index}.png"), Path(f"{folder}HR/{index}.png")


def problems(samples, **options):
    with pytest.raises(UserError) as error:
        check_sizes(samples, **options)
    return str(error.value).splitlines()


def pair(low, scale, more=(0, 0)):
    return low, tuple(n * scale + extra for n, extra in zip(low, more, strict=True))


def test_a_pair_fits_if_less_than_one_pixel_of_the_input_is_left_over():
    """Of x4, 0 to 3 rows and columns; the published sizes, and imresize's without a crop."""
    for more in range(4):
        check_sizes(SRImplicitPaired(SizedPairs(pair((80, 120), 4, (more, 3 - more)))))
    for low, high in [
        ((81, 121), (321, 481)),
        ((80, 120), (324, 480)),
        ((80, 120), (320, 484)),
        ((80, 120), (320, 240)),
        ((80, 120), (79, 480)),
    ]:
        samples = SRImplicitPaired(SizedPairs((low, high)))
        (line,) = problems(samples)
        assert line.startswith(
            f"LR/0.png and HR/0.png: {low[0]}x{low[1]} and {high[0]}x{high[1]} pixels are no pair"
        )
        with pytest.raises(UserError) as error:  # found when it is used, too
            samples[0]
        assert str(error.value) == line
    assert (
        "of x4 the input has 80x120"
        in problems(SRImplicitPaired(SizedPairs(((81, 121), (321, 481)))))[0]
    )


def test_all_offenders_are_listed():
    fits = pair((30, 40), 2)
    sizes = [fits, ((30, 40), (61, 82)), fits, "damaged", ((30, 40), (30, 40)), pair((9, 40), 2)]
    lines = problems(SRImplicitPaired(SizedPairs(*sizes, repeat=3), inp_size=10))
    assert lines == [
        "LR/1.png and HR/1.png: 30x40 and 61x82 pixels are no pair of one integer scale; of x2 the "
        "input has 30x41, as scripts/prepare_lr.py makes it",
        "HR/3.png: damaged",
        "LR/4.png and HR/4.png: x1, where 3 of 4 pairs are x2",
        "LR/5.png and HR/5.png: 9x40 pixels are too few for a crop of 10x10; leave the image out, "
        "or take a smaller inp_size or scale_max",
    ]


def test_pairs_have_the_scale_that_is_wanted():
    samples = SRImplicitPaired(SizedPairs(*[pair((30, 40), s) for s in (4, 2, 2, 1)]))
    assert problems(samples, scale=4) == [
        f"LR/{i}.png and HR/{i}.png: x{s}, wanted x4" for i, s in ((1, 2), (2, 2), (3, 1))
    ]
    assert len(problems(samples, scale=2.5)) == 4
    check_sizes(SRImplicitPaired(SizedPairs(pair((30, 40), 3))), scale=3.0)
    check_sizes(SRImplicitDownsampled(Sized((30, 40))), scale=4)  # made to measure


def test_scales_are_compared_within_a_folder():
    pairs = SizedPairs(*[pair((30, 40), s) for s in (2, 2, 3, 3)])
    assert len(problems(SRImplicitPaired(pairs))) == 2
    pairs.folder = lambda index: f"{index // 2}/"
    check_sizes(SRImplicitPaired(pairs))


@pytest.mark.parametrize(
    ("samples", "wanted"),
    [
        (lambda d: SRImplicitDownsampled(d, 48, 1, 4), r"191x300 .* crop of 192x192"),
        (lambda d: SRImplicitDownsampledFast(d, 48, 1, 4), r"191x300 .* crop of 192x192"),
        (lambda d: SRImplicitDownsampled(d, scale_min=1, scale_max=200), r".* shrink by 200"),
        (lambda d: SRImplicitDownsampled(d, 8, 1, 4, sample_q=65), r"sample_q 65 .* 64 pixels"),
        (lambda d: SRImplicitDownsampled(d, scale_min=2, sample_q=10**6), r"sample_q .*190x300"),
    ],
)
def test_what_an_image_is_too_small_for(samples, wanted):
    (line,) = problems(samples(Sized((191, 300))))
    assert re.fullmatch(rf"HR/0\.png: {wanted}.*", line)


def test_what_just_fits():
    check_sizes(SRImplicitDownsampled(Sized((192, 300)), 48, 1, 4, sample_q=2304))
    check_sizes(SRImplicitDownsampled(Sized((30, 30)), scale_min=1, scale_max=30))
    check_sizes(SRImplicitPaired(SizedPairs(pair((8, 9), 2)), inp_size=8, sample_q=256))
    check_sizes(SRImplicitPairedFast(SizedPairs(pair((8, 9), 1)), inp_size=8))
    check_sizes(SRImplicitUniformVaried(SizedPairs(pair((32, 32), 8)), 32, 256, sample_q=1024))
    too_many = SRImplicitPaired(SizedPairs(pair((8, 9), 2)), inp_size=8, sample_q=257)
    assert "sample_q 257 is more than the 256 pixels of the 16x16 target" in problems(too_many)[0]


@pytest.mark.parametrize("sizes", [((8, 9), (16, 16)), ((8, 8), (16, 17))])
def test_uniform_varied_squashes_nothing(sizes):
    samples = SRImplicitUniformVaried(SizedPairs(sizes), 16)
    (line,) = problems(samples)
    assert line.startswith("LR/0.png and HR/0.png: 8x")
    assert "would squash" in line
    with pytest.raises(UserError) as error:
        samples[0]
    assert str(error.value) == line
    small = SRImplicitUniformVaried(SizedPairs(pair((8, 8), 2)), 16, 8, sample_q=65)
    assert "sample_q 65 is more than the 64 pixels" in problems(small)[0]


def test_each_image_is_looked_at_once():
    dataset = Sized(*[(50, 50)] * 300, repeat=20)
    check_sizes(SRImplicitDownsampled(dataset, 10, 1, 4))
    assert sorted(dataset.looked) == list(range(300))


def test_what_all_images_share_is_one_line():
    (line,) = problems(SRImplicitDownsampled(Sized(*[(50, 50)] * 11), 48, 1, 4))
    assert line.startswith("HR/0.png and all other images: 50x50 pixels are too few")
    assert len(problems(SRImplicitDownsampled(Sized(*[(50, 50)] * 10), 48, 1, 4))) == 10


def test_unreadable_images_may_be_left_out():
    samples = SRImplicitDownsampled(Sized((50, 50), "damaged", (9, 9)), 10, 1, 4)
    assert [line.split(":")[0] for line in problems(samples)] == ["HR/1.png", "HR/2.png"]
    assert len(problems(samples, skip_unreadable=True)) == 1


class OwnDraw(SRImplicitDownsampled):
    def draw(self, index, rng):
        return torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)


class OwnRule(OwnDraw):
    def size_problem(self, sizes):
        return f"{sizes} is odd"


def test_the_rule_of_a_wrapper_is_not_applied_to_another_way_to_draw():
    check_sizes(OwnDraw(Sized((1, 1)), 48))
    assert problems(OwnRule(Sized((1, 1)), 48)) == ["HR/0.png: (1, 1) is odd"]
    check_sizes(SRImplicitDownsampled([torch.zeros(3, 1, 1)], 48))  # of unknown sizes
    check_sizes([{"inp": 0}])


def test_the_overhead_is_small():
    dataset = Sized(*[(50, 50)] * 20_000)
    started = time.perf_counter()
    check_sizes(SRImplicitDownsampled(dataset, 10, 1, 4))
    check_sizes(SRImplicitPaired(SizedPairs(*[pair((50, 50), 2)] * 20_000)))
    assert (time.perf_counter() - started) / 40_000 < 0.0002


def test_every_image_is_decoded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    for i in range(5):
        write_pixels(tmp_path / "HR" / f"{i}.png", pixels)
        write_pixels(tmp_path / "LR" / f"{i}.png", pixels[::2, ::2])
    for path in ("HR/1.png", "HR/3.png", "LR/3.png"):
        whole = (tmp_path / path).read_bytes()
        (tmp_path / path).write_bytes(whole[: len(whole) // 2])  # the header can be read
    folder = {"name": "image-folder", "args": {"root_path": str(tmp_path / "HR"), "repeat": 9}}
    samples = SRImplicitDownsampled(datasets.make(folder))
    found = check_images(samples)
    assert [line.split(": ")[0] for line in found] == [
        str(tmp_path / "HR" / f"{i}.png") for i in (1, 3)
    ]
    roots = {"root_path_1": str(tmp_path / "LR"), "root_path_2": str(tmp_path / "HR")}
    pairs = datasets.make({"name": "paired-image-folders", "args": roots})
    found = check_images(SRImplicitPaired(pairs))
    assert [line.split(": ")[0] for line in found][:2] == [
        str(tmp_path / path) for path in ("HR/1.png", "LR/3.png")
    ]


def test_loaders_check_sizes(tmp_path, monkeypatch):
    write_pixels(tmp_path / "photos" / "x.png", np.zeros((40, 50, 3), np.uint8))
    folder = {"name": "image-folder", "args": {"root_path": str(tmp_path / "photos")}}
    section = DataSection(
        dataset=folder,
        wrapper={"name": "sr-implicit-downsampled", "args": {"inp_size": 41}},
        batch_size=1,
    )
    kind = type(datasets.make(folder))
    monkeypatch.setattr(kind, "size", lambda *_: (40, 50), raising=False)
    with pytest.raises(UserError, match=r"x\.png: 40x50 pixels are too few"):
        make_loader(section, num_workers=0)


@datasets.register("of-three-channels")
class OfThreeChannels(Sized):
    def __init__(self):
        super().__init__((40, 50))


@datasets.register("of-any-channels")
class OfAnyChannels(Sized):
    def __init__(self, channels: int = 3):
        super().__init__((40, 50))
        self.channels = channels


def test_loaders_ask_the_dataset_for_channels():
    def loader(name, **options):
        wrapper = {"name": "sr-implicit-downsampled", "args": {"scale_min": 2}}
        section = DataSection(dataset={"name": name}, wrapper=wrapper, batch_size=1)
        return make_loader(section, num_workers=0, **options)

    assert loader("of-any-channels", channels=1).samples.dataset.channels == 1
    assert loader("of-any-channels").samples.dataset.channels == 3
    assert loader("of-three-channels").samples.dataset
    with pytest.raises(UserError, match=r"'of-three-channels' .*takes no argument 'channels'"):
        loader("of-three-channels", channels=1)
