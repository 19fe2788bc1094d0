"""RDN, an encoder of residual dense blocks.

Source: Zhang et al., "Residual Dense Network for Image Super-Resolution", CVPR 2018.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from models.base import Encoder
from models.registry import register

# Number of blocks, convolutions in each, and channels that each convolution adds.
CONFIGS = {"A": (20, 6, 32), "B": (16, 8, 64)}


class DenseConv(nn.Module):
    """A layer that concatenates x and relu(conv(x))."""

    def __init__(self, in_channels: int, growth: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, growth, kernel, padding=kernel // 2), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(x)], dim=1)


class ResidualDenseBlock(nn.Module):
    """A block of dense convolutions, fused by a 1x1 convolution and added to the input."""

    def __init__(self, channels: int, growth: int, n_convs: int, kernel: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *[DenseConv(channels + i * growth, growth, kernel) for i in range(n_convs)]
        )
        self.LFF = nn.Conv2d(channels + n_convs * growth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.LFF(self.convs(x)) + x


@register("rdn")
class RDN(Encoder):
    """Residual dense blocks whose outputs are all fused at the end.

    Args:
        G0: Number of channels between blocks.
        RDNkSize: Side of the kernels, odd.
        RDNconfig: "A" for 20 blocks of 6 convolutions, growth 32; "B" for 16 of 8, growth 64.
        scale: Factor of the upsampler: 2, 3 or 4.
        no_upsampling: Return the features (B, G0, h, w) rather than the image
            (B, 3, scale*h, scale*w).
    """

    surplus_keys = ("UPNet.",)

    def __init__(
        self,
        G0: PositiveInt = 64,
        RDNkSize: PositiveInt = 3,
        RDNconfig: Literal["A", "B"] = "B",
        scale: PositiveInt = 2,
        no_upsampling: bool = False,
    ) -> None:
        super().__init__()
        n_blocks, n_convs, growth = CONFIGS[RDNconfig]
        if RDNkSize % 2 == 0:
            raise ValueError(f"RDNkSize must be odd, got {RDNkSize}")
        same = RDNkSize // 2
        self.SFENet1 = nn.Conv2d(3, G0, RDNkSize, padding=same)
        self.SFENet2 = nn.Conv2d(G0, G0, RDNkSize, padding=same)
        self.RDBs = nn.ModuleList(
            [ResidualDenseBlock(G0, growth, n_convs, RDNkSize) for _ in range(n_blocks)]
        )
        self.GFF = nn.Sequential(
            nn.Conv2d(n_blocks * G0, G0, 1), nn.Conv2d(G0, G0, RDNkSize, padding=same)
        )
        if no_upsampling:
            self.UPNet = None
            self.out_dim = G0
        else:
            self.UPNet = _upsampler(scale, G0, growth, RDNkSize)
            self.out_dim = 3

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.SFENet1(x)
        x = self.SFENet2(shallow)
        outputs = []
        for block in self.RDBs:
            x = block(x)
            outputs.append(x)
        x = self.GFF(torch.cat(outputs, dim=1)) + shallow
        return x if self.UPNet is None else self.UPNet(x)


def _upsampler(scale: int, channels: int, growth: int, kernel: int) -> nn.Sequential:
    factors = {2: [2], 3: [3], 4: [2, 2]}.get(scale)
    if factors is None:
        raise ValueError(f"rdn upsamples by 2, 3 or 4, got {scale}")
    layers: list[nn.Module] = []
    for factor in factors:
        widened = nn.Conv2d(channels, growth * factor**2, kernel, padding=kernel // 2)
        layers += [widened, nn.PixelShuffle(factor)]
        channels = growth
    return nn.Sequential(*layers, nn.Conv2d(growth, 3, kernel, padding=kernel // 2))
