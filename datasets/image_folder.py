"""Datasets of the images in folders, alone or paired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from datasets import register
from datasets.header import Header, read_header
from datasets.image_file import Channels, UnreadableError, read_image, to_unit
from datasets.listing import ImageFiles, list_images, split_images
from datasets.notes import notes_of
from datasets.pairs import check_pattern, partners
from datasets.pixel_cache import HeldImages, clear_stale, stored_pixels
from errors import UserError
from files.paths import expand

Repeat = Annotated[int, Field(gt=0, le=10**6)]
Cache = Literal["none", "bin", "in_memory"]
Roots = str | Annotated[list[str], Field(min_length=1)]


@register("image-folder")
class ImageFolder(Dataset[Tensor]):
    """The images of folders, sorted by name; item i is float32 (channels, H, W) in [0, 1].

    Args:
        root_path: The folder, or several, one after the other; files that are not images are
            skipped with a warning. ``~`` and ``$NAME`` are replaced, here and in split_file.
        split_file: JSON file of name lists; the images are then those of ``split_key``, named
            relative to the folder.
        split_key: Key of the list in the split file.
        first_k: Use only the first k images.
        repeat: Number of times that an epoch goes through the images.
        cache: "none" decodes at each access. "in_memory" decodes once and keeps the pixels in
            memory that all workers share. "bin" decodes once into ``_cache_NAME`` beside the folder
            and reads only the pixels that are used. All three give the same pixels.
        channels: 3 for RGB of 8 bits, or 1 for gray of 8 or 16 bits; see `read_image`.
        recursive: Search subfolders, too.

    Attributes:
        files: The images, each once.
        failures: Errors of images that "in_memory" could not read, by index; raised when an image
            is used, as with the other caches.

    Raises:
        UserError: If a folder or the split is missing or cannot be read.
    """

    def __init__(
        self,
        root_path: Roots,
        split_file: str | None = None,
        split_key: str | None = None,
        first_k: PositiveInt | None = None,
        repeat: Repeat = 1,
        cache: Cache | None = "none",
        channels: Channels = 3,
        recursive: bool = False,
    ) -> None:
        files = _find(_folders(root_path), split_file, split_key, recursive)
        self._hold(files.select(range(len(files))[:first_k]), repeat, cache, channels)

    @classmethod
    def of_files(
        cls, files: ImageFiles, repeat: int, cache: Cache | None, channels: Channels
    ) -> ImageFolder:
        """Make a dataset of given files; arguments as in the class."""
        folder = cls.__new__(cls)
        folder._hold(files, repeat, cache, channels)
        return folder

    def _hold(
        self, files: ImageFiles, repeat: int, cache: Cache | None, channels: Channels
    ) -> None:
        self.files = files
        self.repeat = repeat
        self.cache = cache
        self.channels = channels
        self.failures: dict[int, str] = {}
        self._headers: dict[int, Header] = {}
        self._held: HeldImages | None = None
        if cache == "bin":
            clear_stale(files)
        if cache == "in_memory":
            self._held = HeldImages(self._read_all())

    def _read_all(self) -> Iterator[np.ndarray]:
        title = ", ".join(map(str, self.files.roots))
        for index, file in enumerate(tqdm(self.files, desc=title, leave=False, disable=None)):
            try:
                pixels = read_image(file, self.channels)
            except UnreadableError as error:
                self.failures[index] = str(error)
                pixels = np.empty((0, 0, self.channels), np.uint8)
            yield pixels

    def __len__(self) -> int:
        return self.distinct * self.repeat

    @property
    def distinct(self) -> int:
        """Number of different images: item i and item i + distinct are the same."""
        return len(self.files)

    @property
    def held_bytes(self) -> int:
        """Number of bytes that "in_memory" takes, whatever the number of workers."""
        return 0 if self._held is None else self._held.nbytes

    def file(self, index: int) -> Path:
        """Return the file of item ``index``."""
        return self.files[index % self.distinct]

    def size(self, index: int) -> tuple[int, int]:
        """Return height and width of item ``index``, upright; its header is read once.

        Raises:
            UserError: If the header cannot be read.
        """
        header = self._header(index % self.distinct)
        return header.height, header.width

    def _header(self, index: int) -> Header:
        if index not in self._headers:
            self._headers[index] = read_header(self.files[index])
        return self._headers[index]

    def notes(self) -> list[str]:
        """Note what reading changes in these images, or what is odd: a line each, with a file.

        Reads the headers that `size` has not read yet, and decodes a few images.
        """
        headers: dict[Path, Header] = {}
        for index, file in enumerate(self.files):
            with suppress(UserError):  # asking for its size raises it
                headers[file] = self._header(index)
        return notes_of(headers, self.channels)

    def pixels(self, index: int) -> Tensor:
        """Return item ``index`` as (channels, H, W): a view if possible, so cropping is free.

        It is uint8, or uint16 if the image is gray with more than 8 bits and channels is 1.
        """
        if index % self.distinct in self.failures:
            raise UnreadableError(self.failures[index % self.distinct])
        if self._held is not None:
            pixels = self._held[index % self.distinct]
        elif self.cache == "bin":
            pixels = stored_pixels(self.file(index), self.channels)
        else:
            pixels = torch.from_numpy(read_image(self.file(index), self.channels))
        return pixels.permute(2, 0, 1)

    def __getitem__(self, index: int) -> Tensor:
        return to_unit(self.pixels(index))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_headers": {}}  # workers read pixels only


@register("paired-image-folders")
class PairedImageFolders(Dataset[tuple[Tensor, Tensor]]):
    """Folders of the same images, paired by name; item i is (low, high), each (channels, H, W).

    ``baby.png`` and ``0801.png`` have the partners ``babyx2.png`` and ``0801x2.png``, or the same
    name.

    Args:
        root_path_1: Folder of low resolution; as many as root_path_2 has, paired one by one.
        root_path_2: Folder of high resolution, or several.
        split_file, split_key: As in `ImageFolder`; the names are those of the high resolution.
        first_k, repeat, cache, channels, recursive: As in `ImageFolder`.
        pair_pattern: Name of a low file without its ending, with ``{stem}`` for that of the high
            file, such as ``{stem}_LR4``; others in the folder are ignored.

    Raises:
        UserError: As in `ImageFolder`; or if an image has no partner or several.
    """

    def __init__(
        self,
        root_path_1: Roots,
        root_path_2: Roots,
        split_file: str | None = None,
        split_key: str | None = None,
        first_k: PositiveInt | None = None,
        repeat: Repeat = 1,
        cache: Cache | None = "none",
        channels: Channels = 3,
        recursive: bool = False,
        pair_pattern: str | None = None,
    ) -> None:
        if pair_pattern is not None:
            check_pattern(pair_pattern)
        low_roots, high_roots = _folders(root_path_1), _folders(root_path_2)
        if len(low_roots) != len(high_roots):
            raise UserError(
                f"root_path_1 has {len(low_roots)} folders and root_path_2 has {len(high_roots)}: "
                "give as many, in the same order"
            )
        high = _find(high_roots, split_file, split_key, recursive)
        is_deep = recursive or any("/" in name for name in high.names)
        low = list_images(low_roots, is_deep)
        # Paired before anything is cached, so that only the kept images are read.
        low_of = partners(low, high, pair_pattern, subset=split_file is not None)
        kept = range(len(high))[:first_k]
        self.channels = channels
        self.low, self.high = (
            ImageFolder.of_files(files.select(indices), repeat, cache, channels)
            for files, indices in ((low, [low_of[i] for i in kept]), (high, kept))
        )

    def __len__(self) -> int:
        return len(self.high)

    @property
    def distinct(self) -> int:
        """Number of different pairs: item i and item i + distinct are the same."""
        return self.high.distinct

    def file(self, index: int) -> Path:
        """Return the high-resolution file of item ``index``."""
        return self.high.file(index)

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the files of item ``index``, low and high."""
        return self.low.file(index), self.high.file(index)

    def size(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the sizes of item ``index``, low and high; see `ImageFolder.size`."""
        return self.low.size(index), self.high.size(index)

    def notes(self) -> list[str]:
        """See `ImageFolder.notes`."""
        return [*self.low.notes(), *self.high.notes()]

    def pixels(self, index: int) -> tuple[Tensor, Tensor]:
        """Return item ``index`` as a pair; see `ImageFolder.pixels`."""
        return self.low.pixels(index), self.high.pixels(index)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.low[index], self.high[index]


def _folders(root_path: Roots) -> list[Path]:
    roots = [root_path] if isinstance(root_path, str) else root_path
    if not roots:
        raise UserError("root_path: names no folder")
    return [Path(expand(root)) for root in roots]


def _find(
    roots: Sequence[Path], split_file: str | None, split_key: str | None, recursive: bool
) -> ImageFiles:
    if split_file is None:
        return list_images(roots, recursive)
    return split_images(roots, Path(expand(split_file)), split_key)
