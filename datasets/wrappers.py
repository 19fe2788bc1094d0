"""Images to training samples: a low-resolution input and colours at continuous coordinates.

A sample is ``inp`` (3, h, w) in [0, 1], and for Q pixels of the high-resolution target ``coord``
(Q, 2), ``cell`` (Q, 2) and ``gt`` (Q, 3) in [0, 1]; coordinates as in `utils`. The wrappers whose
names end in ``-fast`` emit them as a grid: (H, W, 2), one cell (2,), and (3, H, W).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset

from configs.spec import UserError
from datasets import register
from datasets.image_file import resize_bicubic, to_unit
from utils import make_cell, pixel_centres, to_pixel_samples

Sample = dict[str, Tensor]

_centres = cache(pixel_centres)  # only read


class SampleWrapper(Dataset[Sample]):
    """Draws samples from the images of a dataset.

    An index counts on beyond the length: index k is image ``k % len`` in epoch ``k // len``. Each
    sample's randomness follows from (seed, epoch, image) alone, so neither the number of workers
    nor their order matters.

    Attributes:
        seed: Of all draws; set by the loader.
    """

    seed: int = 0

    def __init__(self, dataset: Any, sample_q: int | None) -> None:
        self.dataset = dataset
        self.sample_q = sample_q

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: int) -> Sample:
        epoch, index = divmod(int(key), len(self))
        rng = np.random.default_rng((self.seed, epoch, index))
        inp, target = self.draw(index, rng)
        return self._sample(index, inp, target, rng)

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Input (3, h, w) and target (3, H, W), 8-bit or float, of one sample."""
        raise NotImplementedError

    def _images(self, index: int, count: int) -> tuple[Tensor, ...]:
        """An image or a pair; 8-bit views where the dataset has them, what it returns if not."""
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
        height, width = target.shape[-2:]
        if self.sample_q is None:
            coord, gt = to_pixel_samples(target)
        else:
            if self.sample_q > height * width:
                raise UserError(
                    f"{file_name(self, index)}: sample_q {self.sample_q} is more than the "
                    f"{height * width} pixels of the {height}x{width} target"
                )
            picked = rng.choice(height * width, self.sample_q, replace=False)
            rows, cols = divmod(picked, width)
            axes = [
                _centres(n).index_select(0, torch.from_numpy(i))
                for n, i in ((height, rows), (width, cols))
            ]
            coord = torch.stack(axes, dim=-1)
            pixels = target.permute(1, 2, 0)
            if pixels.stride(0) < pixels.stride(1):  # transposed: read it as it lies in memory
                pixels, picked = pixels.transpose(0, 1), cols * height + rows
            gt = pixels.flatten(0, 1).index_select(0, torch.from_numpy(picked))
        return {
            "inp": to_unit(inp).contiguous(),
            "coord": coord,
            "cell": make_cell((height, width)).expand(len(coord), 2),
            "gt": to_unit(gt).contiguous(),
        }


@register("sr-implicit-paired")
class SRImplicitPaired(SampleWrapper):
    """Pairs of images: the target is cut to the size of the input times an integer scale.

    Args:
        dataset: Of pairs (low, high).
        inp_size: Side of a random crop of the input; the whole image if None.
        augment: Flip left-right, up-down and diagonally, each with probability 1/2.
        sample_q: Number of distinct target pixels; all of them if None.
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
        return flip_alike(rng, low, high) if self.augment else (low, high)

    def _scale(self, index: int, low: Tensor, high: Tensor) -> int:
        scales = {big // small for big, small in zip(high.shape[-2:], low.shape[-2:], strict=True)}
        if len(scales) > 1 or 0 in scales:
            sizes = " and ".join("x".join(map(str, x.shape[-2:])) for x in (low, high))
            raise UserError(
                f"{file_name(self, index)}: {sizes} pixels are no pair of one integer scale"
            )
        return scales.pop()


@register("sr-implicit-downsampled")
class SRImplicitDownsampled(SampleWrapper):
    """Images shrunk by a random scale, with Pillow's bicubic on 8-bit pixels.

    Args:
        dataset: Of images.
        inp_size: Side of the input; the target is then a random crop of round(inp_size * scale).
            The whole image if None.
        scale_min, scale_max: The scale is uniform between them; ``scale_max`` None: scale_min.
        augment: Flip left-right, up-down and diagonally, each with probability 1/2.
        sample_q: Number of distinct target pixels; all of them if None.
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
        (image,) = self._images(index, 1)
        scale = rng.uniform(self.scale_min, self.scale_max)
        if self.inp_size is None:
            height, width = image.shape[-2:]
            h, w = (int(np.floor(n / scale + 1e-9)) for n in (height, width))
            if min(h, w) < 1:
                raise UserError(
                    f"{file_name(self, index)}: {height}x{width} pixels are too few to shrink "
                    f"by {scale:g}"
                )
            target = crop(image, 0, 0, round(h * scale), round(w * scale))
        else:
            h = w = self.inp_size
            side = round(self.inp_size * scale)
            target, _ = random_crop(image, side, rng, file_name(self, index))
        inp = resize_bicubic(target, h, w)
        return flip_alike(rng, inp, target) if self.augment else (inp, target)


@register("sr-implicit-paired-fast")
class SRImplicitPairedFast(SRImplicitPaired):
    """`sr-implicit-paired` as a grid: a square part of the target, or all of it.

    Args:
        dataset: Of pairs (low, high).
        inp_size: Side of a random crop of the input, and of a random part of its target; the whole
            image if None.
        augment: As of `sr-implicit-paired`.
    """

    def __init__(
        self, dataset: Any, inp_size: PositiveInt | None = None, augment: bool = False
    ) -> None:
        super().__init__(dataset, inp_size, augment, None if inp_size is None else inp_size**2)

    def _sample(self, index: int, inp: Tensor, target: Tensor, rng: np.random.Generator) -> Sample:
        height, width = target.shape[-2:]
        top = left = 0
        if self.sample_q is not None:
            assert self.inp_size is not None
            name = file_name(self, index)
            target, (top, left) = random_crop(target, self.inp_size, rng, name)
        rows, cols = (
            _centres(n)[first : first + count]
            for n, first, count in zip((height, width), (top, left), target.shape[-2:], strict=True)
        )
        return {
            "inp": to_unit(inp).contiguous(),
            "coord": torch.stack(torch.meshgrid(rows, cols, indexing="ij"), dim=-1),
            "cell": make_cell((height, width)),
            "gt": to_unit(target).contiguous(),
        }


@register("sr-implicit-downsampled-fast")
class SRImplicitDownsampledFast(SRImplicitDownsampled):
    """`sr-implicit-downsampled` as a grid: inp_size**2 pixels in no order, or the whole target.

    Args:
        dataset: Of images.
        inp_size, scale_min, scale_max, augment: As of `sr-implicit-downsampled`.
    """

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

    def _sample(self, index: int, inp: Tensor, target: Tensor, rng: np.random.Generator) -> Sample:
        sample = super()._sample(index, inp, target, rng)
        side = self.inp_size or 0
        size = target.shape[-2:] if self.sample_q is None else (side, side)
        return {
            "inp": sample["inp"],
            "coord": sample["coord"].unflatten(0, size),
            "cell": sample["cell"][0],
            "gt": sample["gt"].T.unflatten(1, size).contiguous(),
        }


@register("sr-implicit-uniform-varied")
class SRImplicitUniformVaried(SampleWrapper):
    """Pairs of square images: the target is resized, from size_min for the first to size_max.

    Args:
        dataset: Of pairs (low, high).
        size_min: Side of the target of the first image.
        size_max: Side of the target of the last image; size_min if None.
        augment: Flip left-right with probability 1/2.
        gt_resize: Resize the target once more, to this side.
        sample_q: Number of distinct target pixels; all of them if None.
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
        progress = index / max(len(self) - 1, 1)
        side = round(self.size_min + (self.size_max - self.size_min) * progress)
        target = resize_bicubic(target, side, side)
        if self.augment and rng.random() < 0.5:
            inp, target = inp.flip(-1), target.flip(-1)
        if self.gt_resize is not None:
            target = resize_bicubic(target, self.gt_resize, self.gt_resize)
        return inp, target


def file_name(samples: Any, index: int) -> str:
    """The file behind a sample, for messages and outputs; its number where that is not known."""
    file = getattr(getattr(samples, "dataset", None), "file", None)
    return f"image-{index}" if file is None else str(file(index))


def crop(image: Tensor, top: int, left: int, height: int, width: int) -> Tensor:
    """A view of part of an image (C, H, W)."""
    return image[:, top : top + height, left : left + width]


def random_crop(
    image: Tensor, side: int, rng: np.random.Generator, name: str
) -> tuple[Tensor, tuple[int, int]]:
    """A square view at a uniform place, and that place (top, left).

    Raises:
        UserError: If the image is smaller; names the file, its size and the least size.
    """
    height, width = image.shape[-2:]
    if min(height, width) < side:
        raise UserError(
            f"{name}: {height}x{width} pixels are too few for a crop of {side}x{side}; "
            "leave the image out, or take a smaller inp_size or scale_max"
        )
    top, left = (int(rng.integers(n - side + 1)) for n in (height, width))
    return crop(image, top, left, side, side), (top, left)


def flip_alike(rng: np.random.Generator, inp: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The same flips for both: left-right, up-down, diagonal, each with probability 1/2."""
    left_right, up_down, diagonal = rng.random(3) < 0.5
    if left_right:
        inp, target = inp.flip(-1), target.flip(-1)
    if up_down:
        inp, target = inp.flip(-2), target.flip(-2)
    if diagonal:
        inp, target = inp.transpose(-1, -2), target.transpose(-1, -2)
    return inp, target
