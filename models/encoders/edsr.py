"""EDSR, an encoder of residual blocks without normalisation.

Source: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017.
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from models.encoders.blocks import ResidualEncoder, conv3x3
from models.registry import register


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
