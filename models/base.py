"""What encoders and continuous models have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from configs.spec import UserError
from utils import nearest_index, pixel_centres

# Queries are moved by this much so that points between two codes take the same one on any machine.
EPS = 1e-6

# Floats of one layer's activations in a chunk of queries: 2 MiB.
CPU_CHUNK = 2**19


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


class CodeTable:
    """A map whose vectors are read by index, each with its 3 x 3 neighbours if ``unfold``.

    Unfolded it reads the same numbers as `F.unfold` (zeros outside, channel-major) without ever
    holding the map that is nine times as large.

    Args:
        feat: (B, C, h, w).
    """

    def __init__(self, feat: Tensor, unfold: bool = False) -> None:
        self.unfold = unfold
        padded = F.pad(feat, (1, 1, 1, 1)) if unfold else feat
        self.batch, self.channels, self.height, self.width = padded.shape
        self.rows = padded.permute(0, 2, 3, 1).contiguous().view(-1, self.channels)

    def index(self, row: Tensor, col: Tensor) -> Tensor:
        """What `read` takes: (..., B, Q), for indices of rows and columns (..., B, Q) each."""
        image = torch.arange(self.batch, device=row.device).unsqueeze(1) * self.height * self.width
        return image + row * self.width + col

    def read(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        """The vectors (..., C or 9C) at an index (...).

        Args:
            memory: At least as many rows of length C to write the vectors to; not if unfolded.
        """
        if not self.unfold:
            return self._rows_at(index, memory)
        steps = torch.arange(3, device=index.device)
        neighbours = (steps.unsqueeze(1) * self.width + steps).flatten()
        return self._rows_at(index.unsqueeze(-1) + neighbours).transpose(-1, -2).flatten(-2)

    def _rows_at(self, index: Tensor, memory: Tensor | None = None) -> Tensor:
        out = None if memory is None else memory[: index.numel()]
        rows = torch.index_select(self.rows, 0, index.flatten(), out=out)
        return rows.view(*index.shape, self.channels)


class Corners(NamedTuple):
    """The codes that queries take from each of T = 4 corners, or T = 1 without the ensemble.

    Attributes:
        row, col: Index of the code, (T, B, Q) each.
        rel_coord: (T, B, Q, 2), from the code to the query in units of half a code's side.
    """

    row: Tensor
    col: Tensor
    rel_coord: Tensor


def corners(coord: Tensor, h: int, w: int, ensemble: bool) -> Corners:
    """The nearest codes of each query, seen from its four corners (LIIF, eq. 4).

    The corner t = (-1,-1), (-1,+1), (+1,-1), (+1,+1) moves the query by half a code's side each
    way; the area between query and code of the opposite corner 3 - t is its weight.

    Args:
        coord: (B, Q, 2), fp32 or wider; indices are computed in its dtype.
        h, w: Size of the grid of codes.
        ensemble: Without it there is one corner, not moved.
    """
    shifts = (-1, 1) if ensemble else (0,)
    rows, cols = (
        [_nearest(coord[..., axis], n, shift) for shift in shifts] for axis, n in enumerate((h, w))
    )
    pairs = [(row, col) for row in rows for col in cols]
    return Corners(
        torch.stack([row for (row, _), _ in pairs]),
        torch.stack([col for _, (col, _) in pairs]),
        torch.stack([torch.stack([y, x], dim=-1) for (_, y), (_, x) in pairs]),
    )


def _nearest(x: Tensor, n: int, shift: int) -> tuple[Tensor, Tensor]:
    """Index of, and distance from, the code nearest to x moved by half a code's side; as x."""
    moved = x + (shift / n + EPS) if shift else x
    index = nearest_index(moved.clamp(-1 + EPS, 1 - EPS), n)
    centres = pixel_centres(n, dtype=x.dtype, device=x.device)
    return index, (x - centres[index]) * n


def ensemble_weights(rel_coord: Tensor) -> Tensor:
    """Area of the corner opposite to each, over their sum: (T, B, Q, 2) -> (T, B, Q, 1)."""
    areas = (rel_coord[..., 0] * rel_coord[..., 1]).abs() + 1e-9
    return (areas.flip(0) / areas.sum(0)).unsqueeze(-1)


def fits_cache(codes: CodeTable) -> bool:
    """Whether `in_cache` splits queries into chunks: for inference on a CPU."""
    traced = torch.compiler.is_compiling()  # or exported: the number of queries must stay open
    autocast = torch.is_autocast_enabled("cpu")
    return codes.rows.device.type == "cpu" and not (torch.is_grad_enabled() or traced or autocast)


def in_cache(function: Callable[..., Tensor], codes: CodeTable, *inputs: Tensor) -> Tensor:
    """Apply a function to chunks of queries whose activations stay in the processor's cache.

    Unless `fits_cache`, it is one chunk.

    Args:
        function: Of the inputs and ``memory``, with results (B, q, C). The memory is None, or two
            pieces (2, T*B*q or more, channels of the codes) to write activations to; that every
            chunk has the same ones keeps them in the cache.
        inputs: (T, B, Q, ...) each.
    """
    if not fits_cache(codes):
        return function(*inputs, memory=None)
    corners, batch, queries = inputs[0].shape[:3]
    width = codes.channels * (9 if codes.unfold else 1)
    step = max(1, CPU_CHUNK // (width * corners * batch))
    memory = None
    if not codes.unfold:
        memory = codes.rows.new_empty(2, min(step, queries) * corners * batch, width)
    parts = zip(*(x.split(step, dim=2) for x in inputs), strict=True)
    return torch.cat([function(*part, memory=memory) for part in parts], dim=1)


@dataclass(frozen=True)
class Latent:
    """An encoded image, or an encoded part of one: all that decoding needs of it.

    Attributes:
        feat: Feature map (B, C, h, w).
        inp: The pixels it was made from (B, 3, h, w), normalised.
        codes: What queries read per code, if it is more than the feature map.
        origin: Of a part, the row and column of its first pixel in the image.
        image_size: Of a part, the (h, w) of the image.
    """

    feat: Tensor
    inp: Tensor
    codes: CodeTable | None = None
    origin: tuple[int, int] = (0, 0)
    image_size: tuple[int, int] | None = None

    @property
    def whole(self) -> tuple[int, int]:
        """(h, w) of the image."""
        return self.image_size or (self.inp.shape[-2], self.inp.shape[-1])

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the feature map of the image."""
        if self.image_size is None:
            return self.feat.shape[-2], self.feat.shape[-1]
        return self.image_size[0] * self._factor, self.image_size[1] * self._factor

    @property
    def grid_origin(self) -> tuple[int, int]:
        """Row and column of the first code of ``feat`` in that map."""
        return self.origin[0] * self._factor, self.origin[1] * self._factor

    @property
    def _factor(self) -> int:
        return self.feat.shape[-2] // self.inp.shape[-2]


def make_encoder(spec: dict[str, Any]) -> Any:
    """The encoder of a spec.

    Raises:
        UserError: If the name is that of something else.
    """
    encoder = models.make(spec)
    if not isinstance(getattr(encoder, "out_dim", None), int):
        raise UserError(f"encoder_spec: {spec['name']!r} is no encoder: it has no out_dim")
    return encoder


class ContinuousModel(nn.Module):
    """An image as a function of a continuous coordinate: encode once, query anywhere.

    A subclass defines `decode`, and `prepare` where the latent is more than the encoder's output.

    Attributes:
        margin: How many pixels beyond its own a query reads of what the encoder made; with it, a
            part of an image can be encoded and decoded alone. None: `decode` knows no parts.
    """

    encoder: Any
    latent: Latent | None = None
    margin: ClassVar[int | None] = None

    def encode(self, inp: Tensor) -> Latent:
        """Image (B, 3, h, w), normalised, to its latent."""
        return self.prepare(self.features(inp), inp)

    def encode_part(
        self,
        inp: Tensor,
        keep: tuple[slice, slice],
        origin: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Latent:
        """The latent of a part of an image.

        Args:
            inp: (B, 3, h, w), normalised: the part, and around it what the encoder sees of it.
            keep: Rows and columns of the part in ``inp``.
            origin: Of the part in the image.
            image_size: (h, w) of the image.
        """
        feat = self.features(inp)
        factor = feat.shape[-2] // inp.shape[-2]
        rows, cols = (slice(part.start * factor, part.stop * factor) for part in keep)
        # Copies, so that what surrounds the part can be freed.
        feat = feat[..., rows, cols].clone(memory_format=torch.channels_last)
        part = self.prepare(feat, inp[(..., *keep)].clone())
        return replace(part, origin=origin, image_size=image_size)

    def prepare(self, feat: Tensor, inp: Tensor) -> Latent:
        """The latent of a feature map (B, C, h, w), and of the pixels it was made from."""
        return Latent(feat, inp)

    def features(self, inp: Tensor) -> Tensor:
        """The encoder's feature map, computed and returned with the channels last in memory.

        Convolutions are faster so, and the codes of a `CodeTable` then lie there already.
        """
        return self.encoder(inp.contiguous(memory_format=torch.channels_last))

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
        self, coord: Tensor, cell: Tensor | None = None, latent: Latent | Tensor | None = None
    ) -> Tensor:
        """Colours at continuous coordinates.

        Args:
            coord: (B, Q, 2), (row, column) in [-1, 1], float32 or float64; in any order.
            cell: (B, Q, 2), height and width of the queried pixels: 2/H and 2/W.
            latent: What `encode` returned; the one remembered by `gen_feat` if None. The tensor
                that the last `gen_feat` returned stands for it, too.

        Returns:
            (B, Q, 3), normalised colours.

        Raises:
            ValueError: If nothing is encoded, or the coordinates have too few bits.
        """
        remembered = self.latent
        if latent is None or (remembered is not None and latent is remembered.feat):
            latent = remembered
        if latent is None:
            raise ValueError("nothing is encoded yet: call gen_feat(inp) before query_rgb")
        if not isinstance(latent, Latent):
            raise ValueError("a latent is what encode(inp) returns; this is not the one remembered")
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
