"""RCAN, an encoder of residual groups with channel attention.

Source: Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks",
ECCV 2018.
"""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn

from models.encoders.blocks import conv3x3
from models.encoders.edsr import ResidualEncoder
from models.registry import register


class ChannelAttention(nn.Module):
    """A layer that scales each channel by a gate, computed from channel means over the image."""

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
    """A block that computes x + body(x)."""

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
class RCAN(ResidualEncoder):
    """Residual groups of channel-attention blocks.

    Args:
        n_resgroups: Number of groups.
        n_resblocks: Number of blocks in each group.
        n_feats: Number of channels.
        reduction: Number of channels divided by the width of the attention's bottleneck.
        scale, no_upsampling, rgb_range: As in `ResidualEncoder`.
    """

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
        if reduction > n_feats:
            raise ValueError(f"reduction {reduction} leaves none of {n_feats} features")
        groups = [
            Residual(
                *[_attention_block(n_feats, reduction) for _ in range(n_resblocks)],
                conv3x3(n_feats, n_feats),
            )
            for _ in range(n_resgroups)
        ]
        super().__init__(groups, n_feats, scale, no_upsampling, rgb_range)
