"""Wrappers that make training samples of images: a small input, and colours at coordinates.

A sample is ``inp`` (3, h, w) in [0, 1] and, for Q pixels of the high-resolution target, ``coord``
(Q, 2), ``cell`` (Q, 2) and ``gt`` (Q, 3) in [0, 1]; coordinates as in `utils`. Wrappers whose names
end in ``-fast`` return them as a grid: (H, W, 2), one cell (2,), and (3, H, W).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from datasets import register
from datasets.compact import Compact
from datasets.image_file import resize_bicubic
from datasets.sampling import (
    Sample,
    SampleWrapper,
    Size,
    crop,
    crop_problem,
    file_name,
    file_names,
    flip_both,
    integer_scale,
    no_pair,
    random_crop,
)
from errors import UserError

__all__ = ["Sample", "SampleWrapper", "Size", "crop", "crop_problem", "file_name", "file_names"]
__all__ += ["flip_both", "integer_scale", "random_crop"]


@register("sr-implicit-paired")
class SRImplicitPaired(SampleWrapper):
    """Pairs of images: the target is cut to the size of the input times an integer scale.

    Args:
        dataset: Dataset of pairs (low, high).
        inp_size: Side of a random crop of the input; None for the whole image.
        augment: Flip left-right, up-down and diagonally, each with probability 1/2.
        sample_q: Number of distinct target pixels; None for all of them.
    """

    def __init__(
        self,
        dataset: Any,
        inp_size: PositiveInt | None = None,
        augment: bool = False,
        sample_q: PositiveInt | None = None,
    ) -> None:
        super().__init__(dataset, sample_q)
        self.inp_size = inp_size
        self.augment = augment

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        low, high = self._images(index, 2)
        scale = self._scale(index, low, high)
        h, w = low.shape[-2:]
        if self.inp_size is not None:
            low, (top, left) = random_crop(low, self.inp_size, rng, file_name(self, index))
            h = w = self.inp_size
        else:
            top = left = 0
        high = crop(high, top * scale, left * scale, h * scale, w * scale)
        return flip_both(rng, low, high) if self.augment else (low, high)

    def _scale(self, index: int, low: Tensor, high: Tensor) -> int:
        sizes = [(int(x.shape[-2]), int(x.shape[-1])) for x in (low, high)]
        scale = integer_scale(*sizes)
        if scale is None:
            raise UserError(f"{file_names(self, index)}: {no_pair(*sizes)}")
        return scale

    def size_problem(self, sizes: tuple[Size, Size]) -> str | None:
        (h, w), high = sizes
        scale = integer_scale((h, w), high)
        if scale is None:
            return no_pair((h, w), high)
        if self.inp_size is not None and (problem := crop_problem((h, w), self.inp_size)):
            return problem
        return self._too_few(self.target_size(sizes))

    def target_size(self, sizes: tuple[Size, Size]) -> Size:
        (h, w), high = sizes
        scale = integer_scale((h, w), high) or 1
        if self.inp_size is not None:
            h = w = self.inp_size
        return h * scale, w * scale


@register("sr-implicit-downsampled")
class SRImplicitDownsampled(SampleWrapper):
    """Images shrunk by a random scale, with Pillow's bicubic on 8-bit pixels.

    Args:
        dataset: Dataset of images.
        inp_size: Side of the input; the target is then a random crop of round(inp_size * scale).
            None for the whole image.
        scale_min, scale_max: Limits of the uniform scale; ``scale_max`` None for scale_min.
        augment: Flip left-right, up-down and diagonally, each with probability 1/2.
        sample_q: Number of distinct target pixels; None for all of them.
    """

    def __init__(
        self,
        dataset: Any,
        inp_size: PositiveInt | None = None,
        scale_min: PositiveFloat = 1,
        scale_max: PositiveFloat | None = None,
        augment: bool = False,
        sample_q: PositiveInt | None = None,
    ) -> None:
        super().__init__(dataset, sample_q)
        self.inp_size = inp_size
        self.scale_min = scale_min
        self.scale_max = scale_min if scale_max is None else scale_max
        if self.scale_max < self.scale_min:
            raise UserError(f"scale_max {scale_max} is less than scale_min {scale_min}")
        self.augment = augment

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        target, size = self.cut(index, rng, rng.uniform(self.scale_min, self.scale_max))
        return self.shrink(target, size, rng)

    def cut(self, index: int, rng: np.random.Generator, scale: float) -> tuple[Tensor, Size]:
        """Cut the target for a scale, as a view of the image; also returns the input's size."""
        (image,) = self._images(index, 1)
        if self.inp_size is not None:
            side = round(self.inp_size * scale)
            target, _ = random_crop(image, side, rng, file_name(self, index))
            return target, (self.inp_size, self.inp_size)
        size = (image.shape[-2], image.shape[-1])
        h, w = shrunk(size, scale)
        if min(h, w) < 1:
            raise UserError(f"{file_name(self, index)}: {_too_small(size, scale)}")
        return crop(image, 0, 0, round(h * scale), round(w * scale)), (h, w)

    def shrink(self, target: Tensor, size: Size, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Shrink a target to its input by bicubic; returns both, flipped together if augmented."""
        inp = resize_bicubic(target, *size)
        return flip_both(rng, inp, target) if self.augment else (inp, target)

    def size_problem(self, sizes: Size) -> str | None:
        if self.inp_size is not None:
            largest = round(self.inp_size * self.scale_max)
            return crop_problem(sizes, largest) or self._too_few(self.target_size(sizes))
        if min(shrunk(sizes, self.scale_max)) < 1:
            return _too_small(sizes, self.scale_max)
        return self._too_few(self.target_size(sizes))

    def target_size(self, sizes: Size) -> Size:
        if self.inp_size is not None:
            return (round(self.inp_size * self.scale_min),) * 2
        targets = [
            [round(n * scale) for n in shrunk(sizes, scale)]
            for scale in (self.scale_min, self.scale_max)
        ]
        height, width = map(min, zip(*targets, strict=True))
        return height, width


def shrunk(size: Size, scale: float) -> Size:
    """Divide (H, W) by a scale and round down; the 1e-9 keeps 7 / 0.7 a whole number."""
    height, width = (int(np.floor(n / scale + 1e-9)) for n in size)
    return height, width


def _too_small(size: Size, scale: float) -> str:
    return f"{size[0]}x{size[1]} pixels are too few to shrink by {scale:g}"


@register("sr-implicit-paired-fast")
class SRImplicitPairedFast(SRImplicitPaired):
    """`sr-implicit-paired` as a grid: a square part of the target, or all of it.

    Args:
        dataset: Dataset of pairs (low, high).
        inp_size: Side of a random crop of the input, and of a random part of its target; None for
            the whole image.
        augment: As in `sr-implicit-paired`.
    """

    as_grid = True

    def __init__(
        self, dataset: Any, inp_size: PositiveInt | None = None, augment: bool = False
    ) -> None:
        super().__init__(dataset, inp_size, augment, None if inp_size is None else inp_size**2)

    def pick(self, index: int, inp: Tensor, target: Tensor, rng: np.random.Generator) -> Compact:
        """Pick a square of the target, or all of it."""
        if self.sample_q is None:
            return super().pick(index, inp, target, rng)
        assert self.inp_size is not None
        part, (top, left) = random_crop(target, self.inp_size, rng, file_name(self, index))
        count = torch.arange(self.inp_size, dtype=torch.int32)
        size = (target.shape[-2], target.shape[-1])
        return Compact(inp, part, size, (top + count).unsqueeze(1), (left + count).unsqueeze(0))


@register("sr-implicit-downsampled-fast")
class SRImplicitDownsampledFast(SRImplicitDownsampled):
    """`sr-implicit-downsampled` as a grid: inp_size**2 pixels in no order, or the whole target.

    Args:
        dataset: Dataset of images.
        inp_size, scale_min, scale_max, augment: As in `sr-implicit-downsampled`.
    """

    as_grid = True

    def __init__(
        self,
        dataset: Any,
        inp_size: PositiveInt | None = None,
        scale_min: PositiveFloat = 1,
        scale_max: PositiveFloat | None = None,
        augment: bool = False,
    ) -> None:
        queries = None if inp_size is None else inp_size**2
        super().__init__(dataset, inp_size, scale_min, scale_max, augment, queries)

    def pick(self, index: int, inp: Tensor, target: Tensor, rng: np.random.Generator) -> Compact:
        """Pick the pixels of `sr-implicit-downsampled`, arranged in a square."""
        sample = super().pick(index, inp, target, rng)
        if sample.rows is None or sample.cols is None:
            return sample
        square = (self.inp_size or 0, self.inp_size or 0)
        gt = sample.gt.T.unflatten(1, square)
        rows, cols = (place.unflatten(0, square) for place in (sample.rows, sample.cols))
        return sample._replace(gt=gt, rows=rows, cols=cols)


@register("sr-implicit-uniform-varied")
class SRImplicitUniformVaried(SampleWrapper):
    """Pairs of square images whose target is resized, from size_min for the first to size_max.

    Args:
        dataset: Dataset of pairs (low, high).
        size_min: Side of the target of the first image.
        size_max: Side of the target of the last image; None for size_min.
        augment: Flip left-right with probability 1/2.
        gt_resize: Resize the target once more, to this side.
        sample_q: Number of distinct target pixels; None for all of them.
    """

    def __init__(
        self,
        dataset: Any,
        size_min: PositiveInt,
        size_max: PositiveInt | None = None,
        augment: bool = False,
        gt_resize: PositiveInt | None = None,
        sample_q: PositiveInt | None = None,
    ) -> None:
        super().__init__(dataset, sample_q)
        self.size_min = size_min
        self.size_max = size_min if size_max is None else size_max
        self.augment = augment
        self.gt_resize = gt_resize

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        inp, target = self._images(index, 2)
        sizes = [(int(x.shape[-2]), int(x.shape[-1])) for x in (inp, target)]
        if problem := _not_square(*sizes):
            raise UserError(f"{file_names(self, index)}: {problem}")
        progress = index / max(len(self) - 1, 1)
        side = round(self.size_min + (self.size_max - self.size_min) * progress)
        target = resize_bicubic(target, side, side)
        if self.augment and rng.random() < 0.5:
            inp, target = inp.flip(-1), target.flip(-1)
        if self.gt_resize is not None:
            target = resize_bicubic(target, self.gt_resize, self.gt_resize)
        return inp, target

    def size_problem(self, sizes: tuple[Size, Size]) -> str | None:
        return _not_square(*sizes) or self._too_few(self.target_size(sizes))

    def target_size(self, sizes: tuple[Size, Size]) -> Size:
        return (self.gt_resize or min(self.size_min, self.size_max),) * 2


def _not_square(low: Size, high: Size) -> str | None:
    (h, w), (H, W) = low, high
    if h == w and H == W:
        return None
    return f"{h}x{w} and {H}x{W} pixels: sr-implicit-uniform-varied would squash what is no square"
