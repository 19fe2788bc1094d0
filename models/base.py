"""What encoders and continuous models have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from utils import nearest_index, pixel_centres

# Queries are moved by this much so that points between two codes take the same one on any machine.
EPS = 1e-6


class Encoder(nn.Module):
    """An image (B, 3, h, w) to a feature map (B, out_dim, h', w').

    Class attributes name what published checkpoints of an architecture have too much or too little,
    as prefixes of state-dict keys; everything else loads strictly.

    Attributes:
        out_dim: Channels of the output.
        optional_keys: May be missing from a file: parameters that the forward pass does not use.
        surplus_keys: May be in a file though this model has no place for them: upsamplers.
    """

    out_dim: int
    optional_keys: ClassVar[tuple[str, ...]] = ()
    surplus_keys: ClassVar[tuple[str, ...]] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        own = {prefix + key: value for key, value in self.state_dict().items()}
        for key, value in own.items():
            if key.startswith(tuple(prefix + name for name in self.optional_keys)):
                state_dict.setdefault(key, value)
        for key in list(state_dict):
            surplus = key.startswith(tuple(prefix + name for name in self.surplus_keys))
            if surplus and key not in own:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


@dataclass(frozen=True)
class Latent:
    """An encoded image, all that decoding needs of it.

    Attributes:
        feat: Feature map (B, C, h, w).
        inp: The image it was made from (B, 3, h, w), normalised.
    """

    feat: Tensor
    inp: Tensor


class ContinuousModel(nn.Module):
    """An image as a function of a continuous coordinate: encode once, query anywhere.

    A subclass defines `decode`, and `encode` where the latent is more than the encoder's output.
    """

    encoder: Any
    latent: Latent | None = None

    def encode(self, inp: Tensor) -> Latent:
        """Image (B, 3, h, w), normalised, to its latent."""
        return Latent(self.encoder(inp), inp)

    def decode(self, latent: Latent, coord: Tensor, cell: Tensor | None) -> Tensor:
        """Colours (B, Q, 3) at coord (B, Q, 2) for pixels of size cell (B, Q, 2)."""
        raise NotImplementedError

    def gen_feat(self, inp: Tensor) -> Tensor:
        """Encode an image and remember its latent for `query_rgb`.

        Args:
            inp: (B, 3, h, w), normalised.

        Returns:
            Feature map (B, C, h, w).
        """
        self.latent = self.encode(inp)
        return self.latent.feat

    def query_rgb(
        self, coord: Tensor, cell: Tensor | None = None, latent: Latent | None = None
    ) -> Tensor:
        """Colours at continuous coordinates.

        Args:
            coord: (B, Q, 2), (row, column) in [-1, 1], float32 or float64; in any order.
            cell: (B, Q, 2), height and width of the queried pixels: 2/H and 2/W.
            latent: What `encode` returned; the one remembered by `gen_feat` if None.

        Returns:
            (B, Q, 3), normalised colours.

        Raises:
            ValueError: If nothing is encoded, or the coordinates have too few bits.
        """
        latent = latent or self.latent
        if latent is None:
            raise ValueError("nothing is encoded yet: call gen_feat(inp) before query_rgb")
        if coord.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"coordinates need float32 or float64, got {coord.dtype}: "
                "with fewer bits they hit the wrong pixel"
            )
        return self.decode(latent, coord, cell)

    def forward(self, inp: Tensor, coord: Tensor, cell: Tensor | None = None) -> Tensor:
        """`gen_feat`, then `query_rgb`."""
        self.gen_feat(inp)
        return self.query_rgb(coord, cell)


@dataclass(frozen=True)
class Corner:
    """The code that each query takes from one of its corners.

    Attributes:
        row, col: Index of the code, (B, Q) each.
        rel_coord: (B, Q, 2), from the code to the query in units of half a code's side.
    """

    row: Tensor
    col: Tensor
    rel_coord: Tensor


def corners(coord: Tensor, h: int, w: int, ensemble: bool) -> Iterator[Corner]:
    """The nearest codes of each query, seen from its four corners (LIIF, eq. 4).

    The corner t = (-1,-1), (-1,+1), (+1,-1), (+1,+1) moves the query by half a code's side each
    way; the area between query and code of the opposite corner 3 - t is its weight in `blend`.

    Args:
        coord: (B, Q, 2), fp32 or wider; indices are computed in its dtype.
        h, w: Size of the grid of codes.
        ensemble: Without it there is one corner, not moved.
    """
    centres = [pixel_centres(n, dtype=coord.dtype, device=coord.device) for n in (h, w)]
    for shift in ((-1, -1), (-1, 1), (1, -1), (1, 1)) if ensemble else ((0, 0),):
        index, rel = [], []
        for axis, n in enumerate((h, w)):
            x = coord[..., axis]
            moved = x + (shift[axis] / n + EPS) if ensemble else x
            index.append(nearest_index(moved.clamp(-1 + EPS, 1 - EPS), n))
            rel.append((x - centres[axis][index[axis]]) * n)
        yield Corner(index[0], index[1], torch.stack(rel, dim=-1))


def blend(predictions: list[Tensor], rel_coords: list[Tensor]) -> Tensor:
    """Local ensemble: each prediction weighted by the area of the diagonally opposite corner.

    Args:
        predictions: (B, Q, C) of each corner, in the order of `corners`.
        rel_coords: (B, Q, 2) of each corner.

    Returns:
        (B, Q, C), in the dtype of the coordinates.
    """
    if len(predictions) == 1:
        return predictions[0]
    areas = torch.stack([(rel[..., 0] * rel[..., 1]).abs() + 1e-9 for rel in rel_coords])
    weights = (areas.flip(0) / areas.sum(0)).unsqueeze(-1)
    return (torch.stack(predictions) * weights).sum(0)


class NeighbourhoodCodes:
    """Reads codes of a feature map by index, each with its 3 x 3 neighbours if ``unfold``.

    The same numbers as `F.unfold` (zeros outside, channel-major) without ever holding the map that
    is nine times as large.

    Args:
        feat: (B, C, h, w).
    """

    def __init__(self, feat: Tensor, unfold: bool) -> None:
        pad = 1 if unfold else 0
        padded = nn.functional.pad(feat, (pad, pad, pad, pad))
        self.batch, self.channels, self.height, self.width = padded.shape
        self.table = padded.permute(0, 2, 3, 1).reshape(-1, self.channels)
        steps = torch.arange(2 * pad + 1, device=feat.device)
        self.offsets = (steps.unsqueeze(1) * self.width + steps).flatten()

    def at(self, row: Tensor, col: Tensor) -> Tensor:
        """Codes (B, Q, C or 9C) at index (B, Q) each."""
        image = torch.arange(self.batch, device=row.device).unsqueeze(1) * self.height * self.width
        index = (image + row * self.width + col).unsqueeze(-1) + self.offsets
        codes = self.table.index_select(0, index.flatten()).view(*index.shape, self.channels)
        return codes.transpose(-1, -2).flatten(-2)
