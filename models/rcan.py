"""RCAN encoder: Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention
Networks", ECCV 2018."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from models import register
from models.base import Encoder
from models.blocks import MeanShift, Upsampler, conv3x3


class ChannelAttention(nn.Module):
    """Scales each channel by a gate computed from the channel means over the whole image."""

    def __init__(self, n_feats: int, reduction: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(n_feats, n_feats // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_feats // reduction, n_feats, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean((2, 3), keepdim=True))


class Residual(nn.Module):
    """x + body(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _attention_block(n_feats: int, reduction: int) -> Residual:
    return Residual(
        conv3x3(n_feats, n_feats),
        nn.ReLU(inplace=True),
        conv3x3(n_feats, n_feats),
        ChannelAttention(n_feats, reduction),
    )


@register("rcan")
class RCAN(Encoder):
    """Residual groups of channel-attention blocks and a long skip.

    Args:
        n_resgroups: Number of groups.
        n_resblocks: Blocks of each group.
        n_feats: Channels.
        reduction: Channels over the width of the attention's bottleneck.
        scale: Of the upsampler: a power of two, or 3.
        no_upsampling: Return the features (B, n_feats, h, w) rather than the image
            (B, 3, scale*h, scale*w).
        rgb_range: Largest pixel value; only in the unused mean shift.
    """

    optional_keys = ("sub_mean.", "add_mean.")
    surplus_keys = ("tail.",)

    def __init__(
        self,
        n_resgroups: PositiveInt = 10,
        n_resblocks: PositiveInt = 20,
        n_feats: PositiveInt = 64,
        reduction: PositiveInt = 16,
        scale: PositiveInt = 2,
        no_upsampling: bool = False,
        rgb_range: float = 1,
    ) -> None:
        super().__init__()
        if reduction > n_feats:
            raise ValueError(f"reduction {reduction} leaves none of {n_feats} features")
        self.sub_mean = MeanShift(rgb_range, sign=-1)
        self.add_mean = MeanShift(rgb_range, sign=1)
        self.head = nn.Sequential(conv3x3(3, n_feats))
        groups = [
            Residual(
                *[_attention_block(n_feats, reduction) for _ in range(n_resblocks)],
                conv3x3(n_feats, n_feats),
            )
            for _ in range(n_resgroups)
        ]
        self.body = nn.Sequential(*groups, conv3x3(n_feats, n_feats))
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
