"""Samples whose input is degraded like a photograph."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from configs.spec import SpecsOf
from datasets import degradations, register
from datasets.degradations.base import Probability
from datasets.degradations.resize import Kernels, one_of, resized
from datasets.image_file import to_unit
from datasets.sampling import Size, drawn_flips, file_name
from datasets.wrappers import SRImplicitDownsampled
from errors import UserError


@register("sr-implicit-degraded")
class SRImplicitDegraded(SRImplicitDownsampled):
    """Samples of `sr-implicit-downsampled` whose input is degraded before and after it is shrunk.

    With the same seed and ``p_scale_min`` 0, targets, queries and clean inputs equal those of
    `sr-implicit-downsampled`, bit for bit. A target is flipped before its copy is degraded, so that
    artefacts of the input, such as the blocks of a JPEG, lie as in a picture that was not flipped.

    Args:
        dataset: Dataset of images.
        inp_size, scale_min, scale_max, augment, sample_q: As in `sr-implicit-downsampled`.
        high: Degradations of a copy of the target, which may change its size.
        low: Degradations of the input at its final size, to which it is resized again at the end.
        kernels: Filters of Pillow for resizing to that size, one of which is drawn each time.
        p_clean: Probability that the input is only shrunk with bicubic, not degraded.
        p_scale_min: Probability that the scale is ``scale_min``.
    """

    def __init__(
        self,
        dataset: Any,
        inp_size: PositiveInt | None = None,
        scale_min: PositiveFloat = 1,
        scale_max: PositiveFloat | None = None,
        augment: bool = False,
        sample_q: PositiveInt | None = None,
        high: Annotated[list[Any] | None, SpecsOf(degradations.registry)] = None,
        low: Annotated[list[Any] | None, SpecsOf(degradations.registry)] = None,
        kernels: Kernels = ("bicubic",),
        p_clean: Probability = 0,
        p_scale_min: Probability = 0,
    ) -> None:
        super().__init__(dataset, inp_size, scale_min, scale_max, augment, sample_q)
        self.high = degradations.make_all(high)
        self.low = degradations.make_all(low)
        self.kernels = kernels
        self.p_clean = p_clean
        self.p_scale_min = p_scale_min

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        (own,) = rng.spawn(1)  # its draws do not change those of crops and queries
        is_clean, is_least = own.random(2) < (self.p_clean, self.p_scale_min)
        scale = rng.uniform(self.scale_min, self.scale_max)
        target, size = self.cut(index, rng, self.scale_min if is_least else scale)
        if is_clean:
            return self.shrink(target, size, rng)
        pixels = target.permute(1, 2, 0).numpy()
        if self.augment:  # like `flip_both`, but for arrays
            left_right, up_down, diagonal = drawn_flips(rng)
            pixels = pixels[:: -1 if up_down else 1, :: -1 if left_right else 1]
            if diagonal:
                pixels, size = pixels.swapaxes(0, 1), size[::-1]
        pixels = np.ascontiguousarray(pixels)
        try:
            inp = self._degraded(pixels, size, own)
        except UserError as error:
            raise UserError(f"{file_name(self, index)}: {error}") from None
        return _tensor(inp), _tensor(pixels)

    def _degraded(self, pixels: np.ndarray, size: Size, rng: np.random.Generator) -> np.ndarray:
        """Make the input (h, w, C): uint8, or float32 if pixels have more bits or noise stays."""
        if pixels.dtype != np.uint8:
            pixels = to_unit(torch.from_numpy(pixels)).float().numpy()
        pixels = degradations.degraded(pixels, self.high, rng)
        pixels = resized(pixels, size, one_of(self.kernels, rng))
        pixels = degradations.degraded(pixels, self.low, rng)
        return resized(pixels, size, one_of(self.kernels, rng))

    def size_problem(self, sizes: Size) -> str | None:
        return super().size_problem(sizes)  # overridden because `draw` is: see `check_sizes`


def _tensor(pixels: np.ndarray) -> Tensor:
    """Convert pixels (H, W, C) to a tensor (C, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
