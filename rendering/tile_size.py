"""Choose the size and the overlap of tiles, by the memory and the reach of the encoder.

Both are found by running it.
"""

from __future__ import annotations

import math
import sys
import weakref
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor, nn

from models.base import ContinuousModel

# Pixels around a tile, when the user asks for tiles but the model sees all of the image.
OVERLAP = 32
SMALLEST = 32
SIDES = (1024, 768, 512, 384, 256, 192, 128, 96, 64, 48, SMALLEST)
# Sides of the strips that the encoder is run on.
ROWS = 8
LENGTHS = (128, 512, 2048)

Span = tuple[int, int]


class Memory(NamedTuple):
    """The bytes per input pixel: the peak while the encoder works, and what it leaves.

    That is the latent, and the feature map alone.
    """

    encoding: float
    latent: float
    features: float = 0.0


def free_memory(device: torch.device) -> float:
    """Get the number of bytes that tiles may take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    return psutil.virtual_memory().available / 4


def side_that_fits(
    height: int, width: int, memory: Memory, reach: int | None, free: float, budget: float
) -> int:
    """Choose the side of a picture's tiles; its longer side if it is to be encoded whole.

    Args:
        memory, reach: See `find_memory` and `find_reach`.
        free: Number of bytes available for one plane.
        budget: Number of bytes for one plane beyond which more would not make it faster.
    """
    whole = max(height, width)

    def needed(side: int, around: int = 0) -> float:
        seen = min(side + 2 * around, height) * min(side + 2 * around, width)
        band = min(side, height) * width
        return seen * memory.encoding + band * memory.latent

    if reach is None or needed(whole) <= budget:
        return whole
    fitting = [side for side in SIDES if needed(side, reach) <= free] or [SMALLEST]
    # A tile smaller than what is seen around it would cost more time than the memory it saves.
    side = next((s for s in fitting if s <= 2 * reach or needed(s, reach) <= budget), SMALLEST)
    seen_whole = side + 2 * reach >= whole and needed(whole) <= free
    return whole if seen_whole else side


def side_as_asked(tile: int, whole: int, reach: int | None) -> int:
    """Get the side that the user asks for, and warn if tiles will not be exact."""
    if tile < whole and reach is None:
        print(
            f"warning: this model sees all of the image; tiles that overlap by {OVERLAP} "
            "pixels will not give quite the same colours",
            file=sys.stderr,
        )
    return min(tile, whole)


@torch.no_grad()
def find_memory(model: ContinuousModel, channels: int = 3) -> Memory:
    """Measure the memory use for a small image of ``channels`` channels."""
    strip = torch.zeros(1, channels, ROWS, LENGTHS[0], dtype=torch.float32, device=_device(model))
    with _PeakMemory(model) as memory:
        feat = model.features(strip)
    latent = model.prepare(feat, strip)
    model.query_rgb(strip.new_zeros(1, 1, 2), strip.new_ones(1, 1, 2), latent)  # may add to it
    pixels = ROWS * LENGTHS[0]
    return Memory(memory.peak / pixels, latent.nbytes / pixels, feat.nbytes / pixels)


@torch.no_grad()
def find_reach(model: ContinuousModel) -> int | None:
    """Find how many pixels around its own a feature depends on; None: on all, or on its position.

    Narrow strips are encoded with a NaN in the middle. Whatever is computed from it is NaN, so a
    feature that stays finite does not depend on that pixel. Then a strip without its first line, or
    without as many lines as the encoder's `alignment` says, is encoded: if strides or windows make
    features depend on their position, they differ.
    """
    sides = []
    for axis in (0, 1):
        side = _reach_along(model, axis)
        if side is None or not _moves_along(model, axis, side):
            return None
        sides.append(side)
    return max(sides)


def _reach_along(model: ContinuousModel, axis: int) -> int | None:
    for length in LENGTHS:
        middle = length // 2
        strip = torch.zeros(1, 3, ROWS, length, dtype=torch.float32, device=_device(model))
        strip[..., middle] = torch.nan
        feat = model.features(strip if axis == 1 else strip.mT)
        if feat.shape[2 + axis] % length:  # it has fewer features than pixels
            return None
        affected = feat.isnan().any(dim=1).any(dim=0).any(dim=1 - axis)
        if not affected.any():
            return 0
        if affected[0] or affected[-1]:
            continue
        first, last = (int(i) for i in affected.nonzero()[[0, -1]])
        factor = len(affected) / length
        return math.ceil(max(middle - first / factor, (last + 1) / factor - middle - 1, 0))
    return None


def _moves_along(model: ContinuousModel, axis: int, reach: int) -> bool:
    """Check whether moving an image by a pixel, or a window, moves its features by the same."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, ROWS, 2 * reach + 32, dtype=torch.float32, generator=generator)
    strip = noise.to(_device(model))
    feats = []
    step = model.alignment
    for image in (strip, strip[..., step:]):
        feat = model.features(image if axis == 1 else image.mT)
        feats.append(feat if axis == 1 else feat.mT)
    factor = feats[0].shape[-1] // strip.shape[-1]
    if feats[1].shape[-1] != feats[0].shape[-1] - step * factor:  # it pads to some multiple
        return False
    whole, moved = feats[0][..., (reach + step) * factor :], feats[1][..., reach * factor :]
    close = 1e-4 * whole.abs().max()
    return bool(((whole - moved).abs() <= close).all())


def _device(model: ContinuousModel) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def widened(spans: tuple[Span, Span], margins: Span, sizes: Span) -> tuple[Span, Span]:
    """Widen the rows and columns of a part by margins, as far as a picture of (h, w) goes."""
    (top, bottom), (left, right) = spans
    rows = max(top - margins[0], 0), min(bottom + margins[0], sizes[0])
    return rows, (max(left - margins[1], 0), min(right + margins[1], sizes[1]))


class _PeakMemory:
    """The peak memory of the inputs and outputs of a model's modules.

    Attributes:
        peak: Most bytes held at one time within the ``with`` block.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.peak = self._live = 0
        self._known: set[int] = set()

    def __enter__(self) -> _PeakMemory:
        self._hooks = [
            handle
            for module in self.model.modules()
            for handle in (
                module.register_forward_pre_hook(lambda _, given: self._count(given)),
                module.register_forward_hook(lambda _, __, made: self._count(made)),
            )
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._hooks:
            handle.remove()

    def _count(self, values: Any) -> None:
        for value in values if isinstance(values, (tuple, list)) else (values,):
            if not isinstance(value, Tensor):
                continue
            storage = value.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known:
                self._known.add(key)
                self._live += size
                self.peak = max(self.peak, self._live)
                weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size
