"""Render from Python: one call for paths, Pillow images, arrays and tensors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Unpack

import numpy as np
import torch
from torch import Tensor

from cli.command import DEFAULT_MODEL, first_line
from datasets.opening import MAX_PIXELS as MAX_INPUT_PIXELS
from errors import UserError
from models.checkpoint import load_model
from rendering.arguments import Options, read_wanted, whole_number
from rendering.caller_image import CallerImage, Kind, take
from rendering.decoding import Scene
from rendering.grid import LARGEST, MAX_PIXELS
from rendering.inputs import check_target
from rendering.job import Wanted, into, render_bands, render_picture
from rendering.kept_tiles import TileKeeper, kept_tiles
from rendering.metadata.pillow import kept_info
from rendering.picture import Picture
from rendering.targets import WRITTEN
from rendering.tiles import Renderer
from rendering.turns import Turns
from rendering.writing import format_of

Scenes = tuple[Scene | None, ...]
_loading = Turns(torch.device("cpu"))  # reading a checkpoint changes the warning filters


def load(
    name: str | Path = DEFAULT_MODEL,
    device: str | torch.device | None = None,
    tile: int | None = None,
    strength: float | None = None,
) -> Upscaler:
    """Load a model as an upscaler.

    Args:
        name: A checkpoint file; the name of one in weights/; or ``bicubic``.
        device: Device of the model; None: the first GPU, or the CPU if there is none.
        tile: Side of the tiles that are encoded at a time, in pixels of the image; 0: all of it;
            None: what fits into memory. The result is the same.
        strength: Strength of a model that was fine-tuned from another, from 0 (the other one) to 1
            (the model itself); None: the model as it is.

    Raises:
        UserError: If the checkpoint is missing, damaged, from other code, or has no strength, or if
            the device, tile or strength is not valid.
    """
    tile = None if tile is None else whole_number("tile", tile, 0, LARGEST)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    notes: list[str] = []
    with _loading.turn(notes):
        model, norm = load_model(name, strength)
        try:
            # Use float32 even where the default dtype is float64.
            upscaler = Upscaler(Renderer(model.float().to(device), norm, tile))
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"device {device}: {first_line(error)}") from None
    _warn(notes)
    return upscaler


class Upscaler:
    """A renderer of images at any size; see `load`.

    Several threads may share one: they take turns. Settings that the program made in torch, NumPy
    or elsewhere are neither changed nor change the result.
    """

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer
        self._turns = Turns(renderer.device)

    def __reduce__(self) -> tuple[Any, ...]:
        return Upscaler, (self.renderer,)

    def upscale(
        self,
        image: Kind,
        scale: float | Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        long_side: int | None = None,
        region: Sequence[float] | None = None,
        output: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
        quality: int = 95,
        overwrite: bool = False,
        **options: Unpack[Options],
    ) -> Kind:
        """Render an image at another size, given by exactly one of scale, size and long_side.

        Anything that gets lost on the way is reported as a `UserWarning`.

        Args:
            image: A path; a Pillow image; an array (h, w) or (h, w, C) or a tensor (..., C, h, w)
                of uint8, uint16, or floats where 1 is white. C = 1: gray, 2: gray and alpha,
                3: RGB, 4: RGB and alpha.
            scale: Factor, or factors of rows and columns.
            size: (H, W) of the result.
            long_side: Longer side of the result, in pixels; the other one is in proportion.
            region: (top, left, height, width) of the part to render, in pixels of the image.
            output: File to write, if the image is a path. The default is beside the image, with the
                size in its name, and a PNG if its format cannot be written.
            max_pixels: Largest number of pixels of the result.
            quality: Quality of a JPEG or WebP file; 1 to 100.
            overwrite: Replace the output if it exists; never the image itself.
            options: See `Options`.

        Returns:
            The result in the type of the input: a path for a path, an array for an array.

        Raises:
            UserError: If the image or the size is not valid, or the output already exists.
            OSError: If the output cannot be written.
        """
        wanted = read_wanted(scale, size, long_side, region, max_pixels, quality, options)
        notes = _gradients(image)
        with self._turns.turn(notes):
            given = take(image, wanted.max_input_pixels)
            scenes: Scenes = (None,) * len(given.pictures)
            result = self._render(self.renderer, given, scenes, wanted, output, overwrite, notes)
        _warn(notes)
        return result

    def encode(self, image: Kind, max_input_pixels: int = MAX_INPUT_PIXELS) -> Encoded[Kind]:
        """Encode an image once, to render it often: at several sizes, or region by region.

        Args:
            image: As in `upscale`; a copy of its pixels is kept.
            max_input_pixels: Number of pixels in the largest file that is read.

        Returns:
            The encoded image, which holds the encoder's output on the device of the model: 1.2 kB
            per pixel with ``fast``. If there is no memory for that, or the image is larger than the
            tile of `load`, it is encoded in tiles when they are first shown, and those shown last
            are kept. If the model is of other code, which keeps only one image, a `UserWarning`
            says that each rendering encodes again what it shows.

        Raises:
            UserError: If the image cannot be rendered.
        """
        limit = whole_number("max_input_pixels", max_input_pixels, 1, 2**40)
        notes = _gradients(image)
        with self._turns.turn(notes):
            given = take(image, limit)
            pictures = tuple(_copy(picture) for picture in given.pictures)
            scenes = tuple(self._encode(picture) for picture in pictures)
        renderer = self.renderer
        if None in scenes and renderer.model.keeps_latents:
            renderer = self._keeper()
        elif None in scenes:
            notes.append("this model cannot keep an image: each rendering encodes it anew")
        _warn(notes)
        return Encoded(self, replace(given, pictures=pictures), scenes, renderer)

    def _encode(self, picture: Picture) -> Scene | None:
        return self.renderer.encode(picture) if self.renderer.fits(picture) else None

    def _keeper(self) -> TileKeeper:
        """Make a renderer that keeps tiles, as many as a quarter of the free memory holds."""
        own = self.renderer
        tiles = kept_tiles(own._free_memory())
        return TileKeeper(own.model, own.norm, tiles, None, own.tile)

    def _render(
        self,
        renderer: Renderer,
        given: CallerImage,
        scenes: Scenes,
        wanted: Wanted,
        output: str | Path | None,
        overwrite: bool,
        notes: list[str],
    ) -> Any:
        """Render for `upscale`, and append to the notes what gets lost."""
        if given.path is not None:
            target = _target(given.path, given.pictures[0], wanted, output)
            format = format_of(target)
            check_target(given.path, target)
            if target.exists() and not overwrite:
                raise UserError(f"{target}: is there already; set overwrite=True, or name another")
            file = into(target)
            picture, scene = given.pictures[0], scenes[0]
            done = render_picture(renderer, picture, file, format, wanted, scene=scene)
            notes += done.notes
            return given.returned(target)
        if output is not None:
            raise UserError("output= is for an image given by its path: save what is returned")
        results = []
        for picture, scene in zip(given.pictures, scenes, strict=True):
            placed = wanted.placed(picture.size)
            notes += (*picture.notes, *renderer.notes(picture), *placed.fitted.notes)
            kind = picture.channels, picture.pixels.dtype
            bands = render_bands(renderer, picture, placed, kind, wanted.wrap, scene=scene)
            results.append(np.concatenate(list(bands)))
        result = given.returned(results)
        if given.image is not None and not wanted.strip:
            size = results[0].shape[:2]
            factors = wanted.factors_of_all(given.pictures[0].size, size)
            info, lost = kept_info(given.image, size, factors, wanted.dpi)
            result.info |= info
            notes += lost
        return result


class Encoded(Generic[Kind]):
    """An image that is already encoded, to be rendered often; see `Upscaler.encode`.

    Several threads may share one, as with `Upscaler`.
    """

    def __init__(
        self, upscaler: Upscaler, given: CallerImage, scenes: Scenes, renderer: Renderer
    ) -> None:
        self._upscaler = upscaler
        self._given = given
        self._scenes = scenes
        self._renderer = renderer

    def render(
        self,
        scale: float | Sequence[float] | None = None,
        size: tuple[int, int] | None = None,
        long_side: int | None = None,
        region: Sequence[float] | None = None,
        output: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
        quality: int = 95,
        overwrite: bool = False,
        **options: Unpack[Options],
    ) -> Kind:
        """Render the image at another size, as `Upscaler.upscale` does with the same arguments.

        Raises:
            UserError, OSError: As in `Upscaler.upscale`.
        """
        wanted = read_wanted(scale, size, long_side, region, max_pixels, quality, options)
        notes: list[str] = []
        with self._upscaler._turns.turn(notes):
            result = self._upscaler._render(
                self._renderer, self._given, self._scenes, wanted, output, overwrite, notes
            )
        _warn(notes)
        return result


def _target(source: Path, picture: Picture, wanted: Wanted, output: str | Path | None) -> Path:
    """Choose the file to write: the one asked for, or one beside the source."""
    if output is not None:
        return Path(output)
    rows, cols = wanted.fitted(picture.size).size
    ending = source.suffix if source.suffix.lower() in WRITTEN else ".png"
    return source.with_name(f"{source.stem}-{rows}x{cols}{ending}")


def _copy(picture: Picture) -> Picture:
    return replace(picture, pixels=picture.pixels.copy())


def _gradients(image: Any) -> list[str]:
    """Make a note if the caller might expect gradients."""
    graph = isinstance(image, Tensor) and image.requires_grad and torch.is_grad_enabled()
    return ["no gradients go through this; for them call the model itself"] if graph else []


def _warn(notes: Sequence[str]) -> None:
    """Issue each note once as a warning, at the line of the program that made the call."""
    for note in dict.fromkeys(notes):
        warnings.warn(note, stacklevel=3)
