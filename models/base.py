"""Base classes of encoders and continuous models."""

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

# All queries in pieces, each with a latent as returned by `ContinuousModel.prepare`.
AllQueries = Callable[[], Iterable[tuple[Any, Queries]]]


class Encoder(nn.Module):
    """A network that maps an image (B, 3, h, w) to a feature map (B, out_dim, h', w').

    Class attributes list, as prefixes, the state-dict keys that published checkpoints of an
    architecture may have in excess or may lack; everything else loads strictly.

    Attributes:
        out_dim: Number of output channels.
        alignment: A part of an image that starts at a multiple of this gets the same features as
            in the whole image, except at its borders.
        optional_keys: Keys a file may lack: parameters that the forward pass does not use.
        surplus_keys: Keys a file may have although this model has no place for them: upsamplers.
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
    """Make the encoder described by a spec.

    Args:
        args: Arguments that override those of the spec.

    Raises:
        UserError: If the name does not belong to an encoder.
    """
    encoder = make(spec, args=args)
    if not isinstance(getattr(encoder, "out_dim", None), int):
        raise UserError(f"encoder_spec: {spec['name']!r} is no encoder: it has no out_dim")
    return encoder


def make_decoder(spec: dict[str, Any], in_dim: int) -> Any:
    """Make the decoder described by a spec, for input vectors of this length.

    Raises:
        UserError: If it needs more input than a vector.
    """
    decoder = make(spec, args={"in_dim": in_dim})
    if hasattr(decoder, "mod_dim"):
        raise UserError(f"imnet_spec: {spec['name']!r} needs a modulation: no decoder here")
    return decoder


class ContinuousModel(nn.Module):
    """An image as a function of a continuous coordinate: encode once, query anywhere.

    A subclass defines `decode`, and `prepare` if the latent is more than the encoder's output.

    If ``out_dim`` of the decoder is 1, images are gray: colours and the input have one channel
    instead of three, and the encoder sees it three times.

    Attributes:
        margin: Number of pixels beyond its own whose features a query reads; this lets a part of
            an image be encoded and decoded alone. None if `decode` does not support parts.
        spans_queries: Whether colours depend on all points that are queried together.
        one_cell: Whether all queries of an image must be for pixels of one size; otherwise results
            depend on how the queries are split into pieces.
        guarded: Whether pictures are rendered with a guard, which pulls colours back to bicubic
            interpolation where they go astray in pictures finer than photographs. True for models
            from checkpoints of this code, unless the file has ``guard: False``; see `load_model`.
        restores: Whether the model was trained to improve pictures that it does not enlarge. At
            scale 1 and below rendering skips other models.
        rendered: Number of queries that rendering decodes at a time on a CPU.
        rendered_on_cuda: The same on a GPU.
        keeps_latents: Whether latents stay valid when other images are encoded.
        largest_scale: Largest scale whose cells are used for rendering and evaluation, since the
            model was not trained beyond it; None if pictures always use their own cells.
    """

    encoder: Any
    latent: Latent | None = None
    margin: int | None = None
    spans_queries: bool = False
    one_cell: ClassVar[bool] = False
    guarded: bool = False
    restores: bool = False
    rendered: int = amounts.RENDERED
    rendered_on_cuda: int = amounts.RENDERED_ON_CUDA
    keeps_latents: ClassVar[bool] = True
    largest_scale: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the remembered latent, whose gradients cannot be copied."""
        return {**self.__dict__, "latent": None}

    @property
    def alignment(self) -> int:
        """The `alignment` of the encoder; 1 for encoders of other classes than `Encoder`."""
        return getattr(self.encoder, "alignment", 1)

    def encode(self, inp: Tensor) -> Latent:
        """Encode a normalised image (B, 3, h, w) into its latent."""
        return self.prepare(self.features(inp), inp)

    def encode_part(
        self,
        inp: Tensor,
        keep: tuple[slice, slice],
        origin: tuple[int, int],
        image_size: tuple[int, int],
    ) -> Latent:
        """Encode a part of an image into its latent.

        Args:
            inp: (B, 3, h, w), normalised: the part and the surroundings that the encoder sees.
            keep: Rows and columns of the part in ``inp``.
            origin: Row and column of the part's first pixel in the image.
            image_size: (h, w) of the image.
        """
        feat = self.features_within(inp, keep)
        return self.prepare_part(feat, inp[(..., *keep)].clone(), origin, image_size)

    def features_within(self, inp: Tensor, keep: tuple[slice, slice]) -> Tensor:
        """Compute the feature map of a part; see `encode_part`."""
        feat = self.features(inp)
        factor = feat.shape[-2] // inp.shape[-2]
        rows, cols = (slice(part.start * factor, part.stop * factor) for part in keep)
        # A copy, so that what surrounds the part can be freed.
        return feat[..., rows, cols].clone(memory_format=torch.channels_last)

    def prepare_part(
        self, feat: Tensor, inp: Tensor, origin: tuple[int, int], image_size: tuple[int, int]
    ) -> Latent:
        """Make the latent of a part; see `prepare` and `encode_part`."""
        return replace(self.prepare(feat, inp), origin=origin, image_size=image_size)

    def prepare(self, feat: Tensor, inp: Tensor) -> Latent:
        """Make the latent from a feature map (B, C, h, w) and the pixels it was made from."""
        return Latent(feat, inp)

    def features(self, inp: Tensor) -> Tensor:
        """Compute the encoder's feature map, with the channels last in memory.

        Convolutions are faster this way, and it is the memory layout that a `CodeTable` needs.

        Args:
            inp: (B, 3, h, w), normalised; one channel is repeated.
        """
        if inp.shape[1] == 1:
            inp = inp.expand(-1, 3, -1, -1)
        return self.encoder(inp.contiguous(memory_format=torch.channels_last))

    def decode(self, latent: Any, queries: Queries) -> Tensor:
        """Compute the colours (B, Q, 3) at the queries.

        Args:
            latent: A latent returned by `prepare`.

        Raises:
            ValueError: If the model decodes cells but the queries have none.
        """
        raise NotImplementedError

    def summarise(self, queries: AllQueries) -> tuple[Tensor, ...]:
        """Compute what colours need to know of all queries, for `Latent.context`.

        Only for models with `spans_queries`.

        Args:
            queries: Function that returns the queries of one picture in pieces (latent, queries),
                which may belong to different parts of the image; called once per pass over them.
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
            latent: A latent returned by `encode`; None for the one remembered by `gen_feat`. The
                tensor that the last `gen_feat` returned also stands for it.

        Returns:
            (B, Q, 3), normalised colours.

        Raises:
            ValueError: If nothing is encoded, or the coordinates have too few bits.

        It can also be called like the published LTE+ and SRNO: with coord (B, H, W, 2) and one
        cell per image (B, 2) it returns (B, 3, H, W).
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
        """Call `gen_feat`, then `query_rgb`."""
        self.gen_feat(inp)
        return self.query_rgb(coord, cell)


def encoder_of(model: Any) -> nn.Module:
    """Return the encoder of a continuous model, from this or from the published code.

    Its state dict is the part of the model's whose keys begin with ``encoder.``; its
    `load_state_dict` skips an upsampler that it has no place for (see `Encoder`).

    Raises:
        UserError: If the model has no encoder with weights.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module) or next(encoder.parameters(), None) is None:
        raise UserError(f"{type(model).__name__} has no encoder with weights")
    return encoder
