"""EDSR encoder: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution",
CVPR Workshops 2017."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from models import register
from models.base import Encoder
from models.blocks import MeanShift, Upsampler, conv3x3


class ResBlock(nn.Module):
    """x + res_scale * conv(relu(conv(x)))."""

    def __init__(self, n_feats: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv3x3(n_feats, n_feats), nn.ReLU(inplace=True), conv3x3(n_feats, n_feats)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) * self.res_scale


class EDSR(Encoder):
    """Residual blocks without normalisation, a long skip, and optionally an upsampler.

    Args:
        n_resblocks: Number of residual blocks.
        n_feats: Channels.
        res_scale: Factor of each residual branch.
        scale: Of the upsampler: a power of two, or 3.
        no_upsampling: Return the features (B, n_feats, h, w) rather than the image
            (B, 3, scale*h, scale*w).
        rgb_range: Largest pixel value; only in the unused mean shift.
    """

    optional_keys = ("sub_mean.", "add_mean.")
    surplus_keys = ("tail.",)

    def __init__(
        self,
        n_resblocks: PositiveInt,
        n_feats: PositiveInt,
        res_scale: float,
        scale: PositiveInt,
        no_upsampling: bool,
        rgb_range: float,
    ) -> None:
        super().__init__()
        self.sub_mean = MeanShift(rgb_range, sign=-1)
        self.add_mean = MeanShift(rgb_range, sign=1)
        self.head = nn.Sequential(conv3x3(3, n_feats))
        blocks = [ResBlock(n_feats, res_scale) for _ in range(n_resblocks)]
        self.body = nn.Sequential(*blocks, conv3x3(n_feats, n_feats))
        if no_upsampling:
            self.tail = None
            self.out_dim = n_feats
        else:
            self.tail = nn.Sequential(Upsampler(scale, n_feats), conv3x3(n_feats, 3))
            self.out_dim = 3

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = x + self.body(x)
        return x if self.tail is None else self.tail(x)


@register("edsr-baseline")
def make_edsr_baseline(
    n_resblocks: PositiveInt = 16,
    n_feats: PositiveInt = 64,
    res_scale: float = 1,
    scale: PositiveInt = 2,
    no_upsampling: bool = False,
    rgb_range: float = 1,
) -> EDSR:
    return EDSR(n_resblocks, n_feats, res_scale, scale, no_upsampling, rgb_range)


@register("edsr")
def make_edsr(
    n_resblocks: PositiveInt = 32,
    n_feats: PositiveInt = 256,
    res_scale: float = 0.1,
    scale: PositiveInt = 2,
    no_upsampling: bool = False,
    rgb_range: float = 1,
) -> EDSR:
    return EDSR(n_resblocks, n_feats, res_scale, scale, no_upsampling, rgb_range)
