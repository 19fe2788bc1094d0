"""Building blocks that several encoders share, with the layout that their checkpoints expect."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from models.base import Encoder

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


class MeanShift(nn.Conv2d):
    """A frozen layer that computes x + sign * rgb_range * mean per channel.

    No forward pass here uses it; it exists because published checkpoints hold its parameters.
    """

    def __init__(self, rgb_range: float, sign: int) -> None:
        super().__init__(3, 3, 1)
        with torch.no_grad():
            self.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
            assert self.bias is not None
            self.bias.copy_(sign * rgb_range * torch.tensor(RGB_MEAN))
        self.requires_grad_(False)


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


class ResidualEncoder(Encoder):
    """A convolution, blocks with a long skip around them, and optionally an upsampler.

    Args:
        blocks: Modules that keep (B, n_feats, h, w).
        n_feats: Number of channels.
        scale: Factor of the upsampler: a power of two, or 3.
        no_upsampling: Return the features (B, n_feats, h, w) rather than the image
            (B, 3, scale*h, scale*w).
        rgb_range: Largest pixel value; affects only the unused mean shift.
    """

    optional_keys = ("sub_mean.", "add_mean.")
    surplus_keys = ("tail.",)

    def __init__(
        self,
        blocks: Iterable[nn.Module],
        n_feats: int,
        scale: int,
        no_upsampling: bool,
        rgb_range: float,
    ) -> None:
        super().__init__()
        # In the published order: optimizers in checkpoints count the parameters.
        self.sub_mean = MeanShift(rgb_range, sign=-1)
        self.add_mean = MeanShift(rgb_range, sign=1)
        self.head = nn.Sequential(conv3x3(3, n_feats))
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))
        if no_upsampling:
            self.tail = None
            self.out_dim = n_feats
        else:
            self.tail = nn.Sequential(Upsampler(scale, n_feats), conv3x3(n_feats, 3))
            self.out_dim = 3

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = self.body(x).add_(x)
        return x if self.tail is None else self.tail(x)
