"""What encoders and continuous models have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from errors import UserError
from models.reading import amounts
from models.reading.latent import Latent
from models.registry import make
from queries import Queries

# All queries in pieces: each with a latent, as `ContinuousModel.prepare` returned it.
AllQueries = Callable[[], Iterable[tuple[Any, Queries]]]


class Encoder(nn.Module):
    """An image (B, 3, h, w) to a feature map (B, out_dim, h', w').

    Class attributes name what published checkpoints of an architecture have too much or too little,
    as prefixes of state-dict keys; everything else loads strictly.

    Attributes:
        out_dim: Channels of the output.
        alignment: A part of an image that begins at a multiple of this has the features that it has
            in the whole image, but at its borders.
        optional_keys: May be missing from a file: parameters that the forward pass does not use.
        surplus_keys: May be in a file though this model has no place for them: upsamplers.
    """

    out_dim: int
    alignment: ClassVar[int] = 1
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


def make_encoder(spec: dict[str, Any], **args: Any) -> Any:
    """The encoder of a spec.

    Args:
        args: Merged over those of the spec.

    Raises:
        UserError: If the name is that of something else.
    """
    encoder = make(spec, args=args)
    if not isinstance(getattr(encoder, "out_dim", None), int):
        raise UserError(f"encoder_spec: {spec['name']!r} is no encoder: it has no out_dim")
    return encoder


def make_decoder(spec: dict[str, Any], in_dim: int) -> Any:
    """The decoding function of a spec, of vectors of this length.

    Raises:
        UserError: If it needs more than a vector.
    """
    decoder = make(spec, args={"in_dim": in_dim})
    if hasattr(decoder, "mod_dim"):
        raise UserError(f"imnet_spec: {spec['name']!r} needs a modulation: no decoder here")
    return decoder


class ContinuousModel(nn.Module):
    """An image as a function of a continuous coordinate: encode once, query anywhere.

    A subclass defines `decode`, and `prepare` where the latent is more than the encoder's output.

    Where ``out_dim`` of the decoder is 1, images are gray: colours and the input have one channel
    for three, which the encoder sees three times.

    Attributes:
        margin: How many pixels beyond its own a query reads of what the encoder made; with it, a
            part of an image can be encoded and decoded alone. None: `decode` knows no parts.
        spans_queries: Colours depend on all points that are queried together.
        one_cell: All queries of an image are for pixels of one size, or else results depend on how
            they are split into pieces.
        guarded: Pictures are rendered with a guard: where they are finer than photographs, and the
            colours go astray, it leads them back to bicubic interpolation. So it is with models
            from checkpoints of this code, unless the file has ``guard: False``; see `load_model`.
        rendered: How many queries are decoded at a time in rendering on a CPU.
        largest_scale: Pictures are rendered and evaluated with the cells of at most this scale,
            since beyond it the model was not trained; None: with their own.
    """

    encoder: Any
    latent: Latent | None = None
    margin: int | None = None
    spans_queries: bool = False
    one_cell: ClassVar[bool] = False
    guarded: bool = False
    rendered: ClassVar[int] = amounts.RENDERED
    largest_scale: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The state without the remembered latent, whose gradients cannot be copied."""
        return {**self.__dict__, "latent": None}

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

        Args:
            inp: (B, 3, h, w), normalised; one channel is repeated.
        """
        if inp.shape[1] == 1:
            inp = inp.expand(-1, 3, -1, -1)
        return self.encoder(inp.contiguous(memory_format=torch.channels_last))

    def decode(self, latent: Any, queries: Queries) -> Tensor:
        """Colours (B, Q, 3) at the queries.

        Args:
            latent: As `prepare` returned it.

        Raises:
            ValueError: If the model decodes cells, and the queries have none.
        """
        raise NotImplementedError

    def summarise(self, queries: AllQueries) -> tuple[Tensor, ...]:
        """What colours depend on of all queries, for `Latent.context`; if `spans_queries`.

        Args:
            queries: Called as often as there are passes over all queries; those of one picture in
                pieces (latent, queries), which may be of different parts of the image.
        """
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

        As the published LTE+ and SRNO are called, it also takes coord (B, H, W, 2) with one cell
        per image (B, 2), and then returns (B, 3, H, W).
        """
        if coord.ndim == 4:
            queries = coord.flatten(1, 2)
            cells = None if cell is None else cell.unsqueeze(1).expand_as(queries)
            return self.query_rgb(queries, cells, latent).mT.unflatten(2, coord.shape[1:3])
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
        return self.decode(latent, Queries(coord, cell))

    def forward(self, inp: Tensor, coord: Tensor, cell: Tensor | None = None) -> Tensor:
        """`gen_feat`, then `query_rgb`."""
        self.gen_feat(inp)
        return self.query_rgb(coord, cell)


def encoder_of(model: Any) -> nn.Module:
    """The encoder of a continuous model, of this or of the published code.

    Its state dict is that part of the model's whose keys begin with ``encoder.``; its
    `load_state_dict` passes over an upsampler that it has no place for (see `Encoder`).

    Raises:
        UserError: If it has none with weights.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module) or next(encoder.parameters(), None) is None:
        raise UserError(f"{type(model).__name__} has no encoder with weights")
    return encoder
