"""SwinIR, an encoder of window attention, without its upsampler, as in LTE and its successors.

Source: Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV Workshops 2021.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from models.base import Encoder
from models.encoders.blocks import conv3x3, reflect_to_multiple
from models.registry import register

WINDOW = 8
SHIFT = WINDOW // 2
FAR = -100.0  # added to the logits of tokens that are not neighbours in the image
PATCH = 48  # patch size of the published training; checkpoints hold the mask for it
OUT_DIM = 64


@register("swinir")
class SwinIR(Encoder):
    """Attention within windows of 8 x 8 pixels, which every other block shifts by half a window.

    Images of any size are padded by reflection at the right and bottom to whole windows; the
    features of that border are cut off again, so that features stay aligned with their pixels.

    Args:
        no_upsampling: Accepted as in other encoders; there is no upsampler in either case.
        dim: Number of channels.
        n_stages, n_blocks: Number of stages, and of blocks in each.
        n_heads: Number of attention heads, which share ``dim`` evenly.
    """

    alignment = WINDOW

    def __init__(
        self,
        no_upsampling: bool = True,
        dim: PositiveInt = 180,
        n_stages: PositiveInt = 6,
        n_blocks: PositiveInt = 6,
        n_heads: PositiveInt = 6,
    ) -> None:
        super().__init__()
        if dim % n_heads:
            raise ValueError(f"dim {dim} is not a multiple of n_heads {n_heads}")
        self.conv_first = conv3x3(3, dim)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        drop_paths = torch.linspace(0, 0.1, n_stages * n_blocks).view(n_stages, n_blocks).tolist()
        self.layers = nn.ModuleList(Stage(dim, n_heads, rates) for rates in drop_paths)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = conv3x3(dim, dim)
        self.conv_before_upsample = nn.Sequential(conv3x3(dim, OUT_DIM), nn.LeakyReLU())
        self.out_dim = OUT_DIM

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = reflect_to_multiple(x, WINDOW)
        shallow = self.conv_first(x)
        mask = window_mask(x.shape[-2], x.shape[-1], x.device)
        tokens = self.patch_embed["norm"](shallow.permute(0, 2, 3, 1))
        for stage in self.layers:
            tokens = stage(tokens, mask)
        deep = self.conv_after_body(self.norm(tokens).permute(0, 3, 1, 2))
        return self.conv_before_upsample(deep + shallow)[..., :height, :width]


class Stage(nn.Module):
    """A stage of blocks and a convolution, with a skip around them; it keeps (B, h, w, C)."""

    def __init__(self, dim: int, n_heads: int, drop_paths: list[float]) -> None:
        super().__init__()
        blocks = (
            Block(dim, n_heads, rate, shifted=number % 2 == 1)
            for number, rate in enumerate(drop_paths)
        )
        self.residual_group = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        self.conv = conv3x3(dim, dim)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = tokens
        blocks: Any = self.residual_group["blocks"]
        for block in blocks:
            x = block(x, mask)
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1) + tokens


class Block(nn.Module):
    """A block of attention and an mlp, each after a normalisation and with a skip."""

    attn_mask: Tensor

    def __init__(self, dim: int, n_heads: int, drop_path: float, shifted: bool) -> None:
        super().__init__()
        self.shifted = shifted
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, 2 * dim)
        if shifted:  # published files hold it; `forward` gets the mask for the actual size
            self.register_buffer("attn_mask", window_mask(PATCH, PATCH))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = self.norm1(x)
        if self.shifted:
            y = self.attn(y.roll((-SHIFT, -SHIFT), (1, 2)), mask).roll((SHIFT, SHIFT), (1, 2))
        else:
            y = self.attn(y)
        x = x + self._drop(y)
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        """Drop whole items of the batch: stochastic depth (Huang et al., ECCV 2016)."""
        if not (self.training and self.drop_path):
            return x
        return x * F.dropout(x.new_ones(len(x), 1, 1, 1), self.drop_path)


class WindowAttention(nn.Module):
    """Self-attention among the 64 tokens of each window, with a bias that depends on distance."""

    relative_position_index: Tensor

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        distances = 2 * WINDOW - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(distances**2, n_heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        place = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
        distance = place.unsqueeze(1) - place + WINDOW - 1
        index = distance[..., 0] * distances + distance[..., 1]
        self.register_buffer("relative_position_index", index)
        self.qkv = linear(dim, 3 * dim)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Apply attention to (B, h, w, C), where h and w are multiples of the window.

        Args:
            mask: (windows, 64, 64), added to the logits.
        """
        batch, height, width, dim = x.shape
        windows = to_windows(x)
        count = windows.shape[1]
        qkv = self.qkv(windows.flatten(0, 1))
        q, k, v = qkv.unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            bias = (bias + mask.unsqueeze(1)).repeat(batch, 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype))
        out = self.proj(out.transpose(1, 2).flatten(2)).unflatten(0, (batch, count))
        grid = out.unflatten(1, (height // WINDOW, -1)).unflatten(3, (WINDOW, WINDOW))
        return grid.transpose(2, 3).reshape(batch, height, width, dim)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden)
        self.fc2 = linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Make a linear layer with the usual initial weights of transformers."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
    return layer


def to_windows(x: Tensor) -> Tensor:
    """Split (B, h, w, C) into windows (B, windows, 64, C); windows and tokens are row by row."""
    rows = x.unflatten(1, (-1, WINDOW)).unflatten(3, (-1, WINDOW))
    return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def window_mask(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Make the mask (windows, 64, 64) between tokens that only the shift put into one window.

    The shift is cyclic: the last window of an axis has its first half from the end of the image and
    its second half from the beginning.
    """
    labels = []
    for n in (height, width):
        place = torch.arange(n, device=device)
        labels.append((place >= n - WINDOW).long() + (place >= n - SHIFT).long())
    label = 3 * labels[0].unsqueeze(1) + labels[1]
    windows = to_windows(label[None, ..., None])[0, ..., 0]
    return (windows.unsqueeze(1) != windows.unsqueeze(2)) * FAR
