"""SPAN, a fast encoder of blocks that gate their own output.

Source: Wan et al., "Swift Parameter-free Attention Network for Efficient Super-Resolution", CVPR
Workshops 2024.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from models.base import Encoder
from models.encoders.blocks import RGB_MEAN, conv3x3
from models.registry import register

GAIN = 2  # ratio of the channels inside a trained convolution to those outside
FUSED = "eval_conv"


@register("span")
class SPAN(Encoder):
    """Blocks that gate their own output: large values pass, without learned attention weights.

    An image is first shifted and scaled to (x - rgb_mean) * img_range. The defaults are the
    published ones, for x in [0, 1]. In a continuous model, whose inputs are 2x - 1, use img_range 1
    and rgb_mean [0, 0, 0]; or, to start from published weights, img_range 127.5 and rgb_mean
    [-0.1024, -0.1258, -0.192], which equals the published defaults.

    Args:
        feature_channels: Number of channels.
        upscale: Factor of the upsampler.
        no_upsampling: Return the features (B, feature_channels, h, w) rather than the image
            (B, 3, upscale*h, upscale*w).
        img_range, rgb_mean: Scale and shift of the input.
    """

    surplus_keys = ("upsampler.",)
    rgb_mean: Tensor

    def __init__(
        self,
        feature_channels: PositiveInt = 48,
        upscale: PositiveInt = 4,
        no_upsampling: bool = False,
        img_range: PositiveFloat = 255,
        rgb_mean: tuple[float, float, float] = RGB_MEAN,
    ) -> None:
        super().__init__()
        n = feature_channels
        self.img_range = img_range
        self.register_buffer("rgb_mean", torch.tensor(rgb_mean).view(3, 1, 1), persistent=False)
        self.conv_1 = ExpandedConv(3, n)
        self.block_1, self.block_2, self.block_3 = Block(n), Block(n), Block(n)
        self.block_4, self.block_5, self.block_6 = Block(n), Block(n), Block(n)
        self.conv_cat = nn.Conv2d(4 * n, n, 1)
        self.conv_2 = ExpandedConv(n, n)
        if no_upsampling:
            self.upsampler = None
            self.out_dim = n
        else:
            self.upsampler = nn.Sequential(conv3x3(n, 3 * upscale**2), nn.PixelShuffle(upscale))
            self.out_dim = 3

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.conv_1((x - self.rgb_mean) * self.img_range)
        after_one, _ = self.block_1(shallow)
        deep = after_one
        for block in (self.block_2, self.block_3, self.block_4, self.block_5, self.block_6):
            deep, first = block(deep)
        x = self._fuse(shallow, self.conv_2(deep), after_one, first)
        return x if self.upsampler is None else self.upsampler(x)

    def _fuse(self, *maps: Tensor) -> Tensor:
        """Apply `conv_cat` to the concatenated maps without copying them, as they are large."""
        weights = self.conv_cat.weight.split(self.conv_cat.out_channels, dim=1)
        x = F.conv2d(maps[0], weights[0], self.conv_cat.bias)
        for part, weight in zip(maps[1:], weights[1:], strict=True):
            x.add_(F.conv2d(part, weight))
        return x


class Block(nn.Module):
    """A block that returns (x + y)(sigmoid(y) - 1/2), and its first convolution's activations.

    Here y is the output of three convolutions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c1_r = ExpandedConv(channels, channels)
        self.c2_r = ExpandedConv(channels, channels)
        self.c3_r = ExpandedConv(channels, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first = F.silu(self.c1_r(x), inplace=True)
        y = self.c3_r(F.silu(self.c2_r(first), inplace=True))
        gate = torch.sigmoid(y) - 0.5
        return y.add_(x) * gate, first


class ExpandedConv(nn.Module):
    """A 3 x 3 convolution whose kernel is the product of three wider ones, plus a 1 x 1 one.

    It is linear in its input, so one kernel does the work of the four that are trained. That kernel
    is computed in each call, with gradients, at the cost of a few hundred pixels; so no copy of it
    can be out of date. A state dict contains the kernel, as published ones do, computed from its
    own weights; one in a file is ignored.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        inner, outer = GAIN * in_channels, GAIN * out_channels
        self.sk = nn.Conv2d(in_channels, out_channels, 1)
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1),
            nn.Conv2d(inner, outer, 3),
            nn.Conv2d(outer, out_channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.fused()
        return F.conv2d(x, weight, bias, padding=1)

    def fused(self) -> tuple[Tensor, Tensor]:
        """Compute the kernel (out, in, 3, 3) and bias of the single convolution.

        The input is padded with zeros before the first of the three, so the border gets its bias
        too and needs no special case.
        """
        convs: Any = (*self.conv, self.sk)
        first, middle, last, skip = convs
        into, out_of = first.weight.flatten(1), last.weight.flatten(1)
        kernel = out_of @ (middle.weight.permute(0, 2, 3, 1) @ into).flatten(1)
        kernel = kernel.unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2)
        kernel = kernel + F.pad(skip.weight, (1, 1, 1, 1))
        bias = middle.weight.sum((2, 3)) @ first.bias + middle.bias
        return kernel, out_of @ bias + last.bias + skip.bias

    @torch.no_grad()
    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, *args: Any) -> None:
        super()._save_to_state_dict(destination, prefix, *args)
        for name, value in zip(("weight", "bias"), self.fused(), strict=True):
            destination[f"{prefix}{FUSED}.{name}"] = value

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in ("weight", "bias"):
            state_dict.pop(f"{prefix}{FUSED}.{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *args)
