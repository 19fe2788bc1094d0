"""Building blocks that several encoders share, with the layout that their checkpoints expect."""

from __future__ import annotations

import torch
from torch import Tensor, nn

RGB_MEAN = (0.4488, 0.4371, 0.4040)


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1)


def reflect_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (B, C, h, w) to multiples with rows 0 .. h-1, h-2, h-3, ..., and columns likewise.

    Like the padding mode "reflect", but for any size: a longer border goes back and forth.
    """
    for dim in (-2, -1):
        n = x.shape[dim]
        if more := -n % multiple:
            place = torch.arange(n + more, device=x.device) % max(2 * n - 2, 1)
            x = x.index_select(dim, torch.minimum(place, 2 * n - 2 - place) if n > 1 else place)
    return x


class Upsampler(nn.Sequential):
    """Sub-pixel convolutions to ``scale``: a power of two, or 3 (Shi et al., CVPR 2016)."""

    def __init__(self, scale: int, n_feats: int) -> None:
        powers = scale.bit_length() - 1
        if scale > 1 and scale == 1 << powers:
            factors = [2] * powers
        elif scale == 3:
            factors = [3]
        else:
            raise ValueError(f"scale must be 3 or a power of two above 1, got {scale}")
        layers: list[nn.Module] = []
        for factor in factors:
            layers += [conv3x3(n_feats, n_feats * factor**2), nn.PixelShuffle(factor)]
        super().__init__(*layers)
