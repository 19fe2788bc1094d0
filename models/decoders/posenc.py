"""Encodings of a query's position relative to a code, as CLIT uses them (`continuous.clit`)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from models.registry import register


@register("posenc")
class PositionEncoding(nn.Module):
    """A bias per head of attention, linear in sines of the distances to a code.

    Args:
        posenc_type: Type of encoding; only "sinusoid".
        complex_transform, in_dims: In published configs; one value each is allowed.
        posenc_scale: Exponent of the largest frequency, 2**posenc_scale - 1.
        enc_dims: Number of sines, a multiple of 4.
        head: Number of heads.
        gauss_scale, hidden_dims, gamma: In published configs; sinusoids do not use them.
    """

    frequencies: Tensor

    def __init__(
        self,
        posenc_type: Literal["sinusoid"],
        complex_transform: Literal[False] = False,
        posenc_scale: NonNegativeFloat = 6,
        gauss_scale: float = 1,
        in_dims: Literal[2] = 2,
        enc_dims: PositiveInt = 256,
        hidden_dims: PositiveInt = 32,
        head: PositiveInt = 1,
        gamma: float = 1,
    ) -> None:
        super().__init__()
        if enc_dims % 4:
            raise ValueError(f"enc_dims must be a multiple of 4, got {enc_dims}")
        powers = torch.linspace(0, posenc_scale, enc_dims // 4)
        self.register_buffer("frequencies", 2**powers - 1, persistent=False)
        self.proj = nn.Linear(enc_dims, head)

    def forward(self, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the bias in two parts (..., head) to be added: one of rows and one of columns.

        Args:
            rows, cols: Distances (...) from codes along each axis, in units of half a code's side.
        """
        weight = self.proj.weight.unflatten(1, (2, 2, -1))  # head, sine or cosine, axis, frequency
        parts = []
        for axis, rel in enumerate((rows, cols)):
            angle = rel.unsqueeze(-1) * self.frequencies
            encoded = torch.cat([angle.sin(), angle.cos()], dim=-1).to(weight.dtype)
            bias = self.proj.bias if axis == 0 else None
            parts.append(F.linear(encoded, weight[:, :, axis].flatten(1), bias))
        return parts[0], parts[1]
