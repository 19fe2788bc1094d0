"""The modulated decoder of LMF.

Source: He, Jin, "Latent Modulated Function for Computational Optimal Continuous Image
Representation", CVPR 2024.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import PositiveInt
from torch import Tensor, nn

from models.registry import register


@register("lmmlp")
class ModulatedMLP(nn.Module):
    """An mlp whose hidden layers x are scaled and shifted, x (1 + a) + b, before the ReLU.

    Args:
        in_dim: Length of the input vectors.
        out_dim: Length of the output vectors.
        hidden_dim: Width of the hidden layers.
        hidden_depth: Number of hidden layers.
        mod_scale, mod_shift: Use the scale a; use the shift b.
        mod_up_merge, use_conv: In published configs; no model turns them on.
    """

    def __init__(
        self,
        in_dim: PositiveInt,
        out_dim: PositiveInt,
        hidden_dim: PositiveInt,
        hidden_depth: PositiveInt,
        mod_scale: bool = True,
        mod_shift: bool = True,
        mod_up_merge: Literal[False] = False,
        use_conv: Literal[False] = False,
    ) -> None:
        if not (mod_scale or mod_shift):
            raise ValueError("mod_scale or mod_shift must be true: else nothing is modulated")
        super().__init__()
        self.hidden_dim, self.hidden_depth = hidden_dim, hidden_depth
        self.mod_scale, self.mod_shift = mod_scale, mod_shift
        layers: list[nn.Module] = []
        for _ in range(hidden_depth):
            layers += [nn.Linear(in_dim, hidden_dim), nn.ReLU()]
            in_dim = hidden_dim
        self.layers = nn.Sequential(*layers, nn.Linear(in_dim, out_dim))

    @property
    def linears(self) -> list[nn.Linear]:
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    @property
    def mod_dim(self) -> int:
        """Length of the modulation: the a of all layers, then the b of all layers."""
        return self.hidden_dim * self.hidden_depth * (self.mod_scale + self.mod_shift)

    def affine(self, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the factor and offset between each hidden layer's matrix product and its ReLU.

        Args:
            modulation: (..., mod_dim).

        Returns:
            factor and offset, (..., hidden_depth * hidden_dim) each; the biases are in the offset.
        """
        parts = modulation.chunk(self.mod_scale + self.mod_shift, dim=-1)
        bias = torch.cat([layer.bias for layer in self.linears[:-1]]).to(modulation.dtype)
        factor = 1 + parts[0] if self.mod_scale else torch.ones_like(parts[0])
        return factor, bias * factor + parts[-1] if self.mod_shift else bias * factor

    def modulated(self, x: Tensor, factor: Tensor, offset: Tensor) -> Tensor:
        """Apply everything after the first matrix product.

        Args:
            x: Result of that product (..., S, hidden_dim).
            factor, offset: Values from `affine`, (..., S or 1, hidden_depth * hidden_dim) each.
        """
        _, *hidden, last = self.linears
        factors, offsets = (y.split(self.hidden_dim, dim=-1) for y in (factor, offset))
        x = torch.addcmul(offsets[0], x, factors[0])
        for layer, a, b in zip(hidden, factors[1:], offsets[1:], strict=True):
            x = torch.addcmul(b, F.linear(F.relu_(x), layer.weight), a)
        return F.linear(F.relu_(x), last.weight) + last.bias  # on a CPU faster than both at once

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Apply the decoder: (..., in_dim) and (..., mod_dim) -> (..., out_dim)."""
        return self.modulated(F.linear(x, self.linears[0].weight), *self.affine(modulation))
