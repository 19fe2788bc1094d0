"""Code shared by the wrappers: a sample's random draws, its queries, crops and flips."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.compact import Compact, expanded, stacked
from errors import UserError

Sample = dict[str, Tensor]
Size = tuple[int, int]


class SampleWrapper(Dataset[Sample]):
    """A dataset that draws samples from the images of another one.

    An index counts on beyond the length: index k is image ``k % len`` in epoch ``k // len``. Each
    sample's randomness depends only on (seed, epoch, image), so neither the number of workers nor
    their order matters.

    Attributes:
        seed: Seed of all random draws; set by the loader.
        as_grid: Whether a sample's queries are a grid rather than a list.
    """

    seed: int = 0
    as_grid: ClassVar[bool] = False

    def __init__(self, dataset: Any, sample_q: int | None) -> None:
        self.dataset = dataset
        self.sample_q = sample_q

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> Sample:
        return self._sample(*self._drawn(key))

    def compact(self, key: int) -> Compact:
        """Return sample ``key`` without coordinates, with its pixels as they were drawn."""
        return self.pick(*self._drawn(key))

    def _drawn(self, key: int) -> tuple[int, Tensor, Tensor, np.random.Generator]:
        epoch, index = divmod(int(key), len(self))
        rng = np.random.default_rng((self.seed, epoch, index))
        pixels = self.draw(index, rng)
        # Torch supports few operations on uint16.
        inp, target = (x.float() / 65535 if x.dtype == torch.uint16 else x for x in pixels)
        return index, inp, target, rng

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw the input (3, h, w) and target (3, H, W), 8-bit or float, of one sample."""
        raise NotImplementedError

    def size_problem(self, sizes: Any) -> str | None:
        """Say what is wrong with an image or a pair of these sizes; None if nothing is.

        Args:
            sizes: (H, W), or ((h, w), (H, W)) for a pair.
        """
        return None

    def target_size(self, sizes: Any) -> Size | None:
        """Return (H, W) of the smallest target made from an image without a `size_problem`.

        None if it is not known.
        """
        return None

    def _images(self, index: int, count: int) -> tuple[Tensor, ...]:
        """Read an image or a pair: 8-bit views if the dataset has them, else what it returns."""
        read = getattr(self.dataset, "pixels", self.dataset.__getitem__)
        item = read(index)
        images = (item,) if isinstance(item, Tensor) else tuple(item)
        if len(images) != count:
            wanted = "single images" if count == 1 else "pairs of images"
            raise UserError(
                f"{type(self).__name__} takes {wanted}, and {type(self.dataset).__name__} "
                "has others: check the names of dataset and wrapper"
            )
        return images

    def _sample(self, index: int, inp: Tensor, target: Tensor, rng: np.random.Generator) -> Sample:
        batch = expanded(stacked([self.pick(index, inp, target, rng)]), self.as_grid)
        return {key: value[0] for key, value in batch.items()}

    def pick(self, index: int, inp: Tensor, target: Tensor, rng: np.random.Generator) -> Compact:
        """Pick the queried pixels of the target, ``sample_q`` of them or all."""
        height, width = target.shape[-2:]
        if self.sample_q is None:
            return Compact(inp, target, (height, width))
        if problem := self._too_few((height, width)):
            raise UserError(f"{file_name(self, index)}: {problem}")
        picked = rng.choice(height * width, self.sample_q, replace=False)
        rows, cols = divmod(picked, width)
        pixels = target.permute(1, 2, 0)
        if pixels.stride(0) < pixels.stride(1):  # transposed: read it in memory order
            pixels, picked = pixels.transpose(0, 1), cols * height + rows
        gt = pixels.flatten(0, 1).index_select(0, torch.from_numpy(picked))
        places = (torch.from_numpy(place.astype(np.int32)) for place in (rows, cols))
        return Compact(inp, gt, (height, width), *places)

    def _too_few(self, size: Size) -> str | None:
        """Say that a target of a size has too few pixels to sample; None if it has enough."""
        height, width = size
        if self.sample_q is None or self.sample_q <= height * width:
            return None
        return (
            f"sample_q {self.sample_q} is more than the {height * width} pixels of the "
            f"{height}x{width} target"
        )


def file_name(samples: Any, index: int) -> str:
    """Return the file behind a sample, for messages and outputs; its number if not known."""
    file = getattr(getattr(samples, "dataset", None), "file", None)
    return f"image-{index}" if file is None else str(file(index))


def file_names(samples: Any, index: int) -> str:
    """Return the files of a pair; see `file_name`."""
    files = getattr(getattr(samples, "dataset", None), "files", None)
    return " and ".join(map(str, files(index))) if callable(files) else file_name(samples, index)


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """Return a view of part of an image (C, H, W)."""
    return image[:, top : top + height, left : left + width]


def random_crop(
    image: Tensor, side: int, rng: np.random.Generator, name: str
) -> tuple[Tensor, tuple[int, int]]:
    """Return a square view at a uniformly random place, and that place (top, left).

    Raises:
        UserError: If the image is smaller; the message has the file, its size and the least size.
    """
    height, width = image.shape[-2:]
    if problem := crop_problem((height, width), side):
        raise UserError(f"{name}: {problem}")
    top, left = (int(rng.integers(n - side + 1)) for n in (height, width))
    return crop(image, top, left, side, side), (top, left)


def crop_problem(size: Size, side: int) -> str | None:
    """Say that an image has too few pixels for a square crop; None if it has enough."""
    if min(size) >= side:
        return None
    return (
        f"{size[0]}x{size[1]} pixels are too few for a crop of {side}x{side}; "
        "leave the image out, or take a smaller inp_size or scale_max"
    )


def drawn_flips(rng: np.random.Generator) -> np.ndarray:
    """Draw whether to flip left-right, up-down and diagonally, each with probability 1/2."""
    return rng.random(3) < 0.5


def flip_both(rng: np.random.Generator, inp: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Apply the same `drawn_flips` to both."""
    left_right, up_down, diagonal = drawn_flips(rng)
    if left_right:
        inp, target = inp.flip(-1), target.flip(-1)
    if up_down:
        inp, target = inp.flip(-2), target.flip(-2)
    if diagonal:
        inp, target = inp.transpose(-1, -2), target.transpose(-1, -2)
    return inp, target


def integer_scale(low: Size, high: Size) -> int | None:
    """Find the scale s of a pair, 0 <= H - s * h < s on both axes; None if there is none."""
    scale = high[0] // low[0]
    if scale < 1 or any(not 0 <= H - scale * h < scale for h, H in zip(low, high, strict=True)):
        return None
    return scale


def no_pair(low: Size, high: Size) -> str:
    """Say that sizes are not a pair, and which size the input should have."""
    (h, w), (H, W) = low, high
    scale = max(1, round((H * W / (h * w)) ** 0.5))
    return (
        f"{h}x{w} and {H}x{W} pixels are no pair of one integer scale; of x{scale} the input has "
        f"{H // scale}x{W // scale}, as scripts/prepare_lr.py makes it"
    )
