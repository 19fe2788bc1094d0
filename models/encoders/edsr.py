"""EDSR, an encoder of residual blocks without normalisation.

Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from models.base import Encoder
from models.encoders.blocks import RGB_MEAN, Upsampler, conv3x3
from models.registry import register


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


class ResidualEncoder(Encoder):
    """A convolution, blocks with a long skip around them, and optionally an upsampler.

    RCAN differs from EDSR only in the blocks.

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


class ResBlock(nn.Module):
    """A block that computes x + res_scale * conv(relu(conv(x)))."""

    def __init__(self, n_feats: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(n_feats, n_feats), nn.ReLU(inplace=True), conv3x3(n_feats, n_feats)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        residual = self.body(x)  # large, so changed in place
        if self.res_scale != 1:
            residual.mul_(self.res_scale)
        return residual.add_(x)


@register("edsr-baseline")
def make_edsr_baseline(
    n_resblocks: PositiveInt = 16,
    n_feats: PositiveInt = 64,
    res_scale: float = 1,
    scale: PositiveInt = 2,
    no_upsampling: bool = False,
    rgb_range: float = 1,
) -> ResidualEncoder:
    """Residual blocks without normalisation.

    Args:
        n_resblocks: Number of residual blocks.
        n_feats: Number of channels.
        res_scale: Factor of each residual branch.
        scale, no_upsampling, rgb_range: As in `ResidualEncoder`.
    """
    blocks = [ResBlock(n_feats, res_scale) for _ in range(n_resblocks)]
    return ResidualEncoder(blocks, n_feats, scale, no_upsampling, rgb_range)


@register("edsr")
def make_edsr(
    n_resblocks: PositiveInt = 32,
    n_feats: PositiveInt = 256,
    res_scale: float = 0.1,
    scale: PositiveInt = 2,
    no_upsampling: bool = False,
    rgb_range: float = 1,
) -> ResidualEncoder:
    """`edsr-baseline` with the width and depth of the large model."""
    return make_edsr_baseline(n_resblocks, n_feats, res_scale, scale, no_upsampling, rgb_range)
