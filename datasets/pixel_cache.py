"""Caches of decoded images: one file each beside the image folder, or one mapping in memory."""

from __future__ import annotations

import math
import mmap
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from datasets.image_file import Channels, UnreadableError, read_image
from datasets.patience import patiently
from errors import UserError

ABANDONED = 3600  # seconds after which nobody can still be writing
ENTRY = re.compile(r"(?P<name>.+)\.(?P<size>\d+)\.(?P<time>\d+)(\.gray)?\.npy", re.DOTALL)
# The header that np.save writes for pixels: bytes per level, then (H, W, C).
NPY = re.compile(
    rb"\x93NUMPY\x01\0..\{'descr': '[|<]u([12])', 'fortran_order': False, "
    rb"'shape': \((\d+), (\d+), (\d+)\), \} *\n",
    re.DOTALL,
)
TYPES = {1: torch.uint8, 2: torch.uint16}


def stored_pixels(file: Path, channels: Channels) -> Tensor:
    """Map pixels (H, W, C) of an image from its cache file, so that only those used are read.

    The cache file is written first if it is missing, stale or damaged. Its name has the size and
    time of the image, so a changed image never gets an old cache. It is written under another name
    and renamed, so a kill leaves no partial file and processes do not disturb each other. It is not
    synced to disk, which would take longer than decoding a small image; a power cut costs at most a
    cache file.
    """
    folder = _cache_folder(file.parent)
    path = folder / _entry_name(file, channels)
    try:
        return _mapped(path)
    except (OSError, ValueError, RuntimeError):
        pixels = read_image(file, channels)
    part = folder / f".{secrets.token_hex(8)}.part"
    try:
        folder.mkdir(exist_ok=True)
        try:
            with part.open("xb") as written:
                np.save(written, pixels)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write the image cache: {error.strerror}; "
            "use cache: in_memory or none"
        ) from None
    return torch.from_numpy(pixels)


def clear_stale(files: Iterable[Path]) -> None:
    """Remove the cache files of images that have changed, and leftovers of killed processes.

    It lists each folder's cache once, and checks each image that has a cache file once.
    """
    images_in: dict[Path, dict[str, Path]] = {}
    for file in files:
        images_in.setdefault(file.parent, {})[file.name] = file
    for images_folder, images in images_in.items():
        with suppress(OSError), os.scandir(_cache_folder(images_folder)) as entries:
            for entry in entries:
                with suppress(OSError):  # another process was faster, or holds it open
                    if _is_stale(entry, images):
                        Path(entry.path).unlink()


def _is_stale(entry: os.DirEntry[str], images: dict[str, Path]) -> bool:
    if entry.name.endswith(".part"):
        return time.time() - entry.stat().st_mtime > ABANDONED
    if (match := ENTRY.fullmatch(entry.name)) is None or match["name"] not in images:
        return False
    status = images[match["name"]].stat()
    return (match["size"], match["time"]) != (str(status.st_size), str(status.st_mtime_ns))


def _cache_folder(images: Path) -> Path:
    if images.name in ("", ".."):  # such as the working folder
        images = Path(os.path.abspath(images))  # noqa: PTH100 (links stay)
    return images.parent / f"_cache_{images.name}"


def _entry_name(file: Path, channels: Channels) -> str:
    try:
        status = patiently(file.stat)
    except OSError as error:
        reason = "no such image" if isinstance(error, FileNotFoundError) else error.strerror
        raise UnreadableError(f"{file}: {reason}") from None
    gray = ".gray" if channels == 1 else ""
    return f"{file.name}.{status.st_size}.{status.st_mtime_ns}{gray}.npy"


def _mapped(path: Path) -> Tensor:
    """Map the array of an .npy file; much faster than `np.load`, which parses any header."""
    with path.open("rb", buffering=0) as file:
        header = NPY.match(file.read(128))
        size = os.fstat(file.fileno()).st_size
    if header is None:
        raise ValueError("not the pixels of an image")
    itemsize, *shape = map(int, header.groups())
    if size != header.end() + itemsize * math.prod(shape):
        raise ValueError("not whole")
    data = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
    return data[header.end() :].view(TYPES[itemsize]).view(shape)


class HeldImages(Sequence[Tensor]):
    """Decoded images in memory that all processes share, however they are started.

    The memory is that of a file without a name. A forked worker already has it; a spawned one gets
    the file's descriptor. Neither a copy nor /dev/shm is needed.

    Args:
        images: (H, W, C) uint8 or uint16 each.

    Raises:
        UserError: If there is not enough memory or disk space.
    """

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        file = _nameless_file()
        layout: list[tuple[int, ...]] = []
        start = 0
        for pixels in images:
            layout.append((start, pixels.dtype.itemsize, *pixels.shape))
            start += self._append(file, pixels)
        self._attach(file, np.array(layout, np.int64).reshape(-1, 5))

    @staticmethod
    def _append(file: BinaryIO, pixels: np.ndarray) -> int:
        """Write an image and return the number of bytes it takes, which is even."""
        try:
            count = file.write(np.ascontiguousarray(pixels).data)
            return count + file.write(bytes(count % 2))
        except OSError as error:
            raise UserError(
                f"cache: in_memory: no room for the images: {error.strerror}; use cache: bin"
            ) from None

    def _attach(self, file: BinaryIO, layout: np.ndarray) -> None:
        file.flush()
        self._file = file
        self._layout = layout
        size = os.fstat(file.fileno()).st_size
        # Private: what a process writes into its images does not affect the others.
        self._bytes = torch.empty(0, dtype=torch.uint8)
        if size:
            mapping = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)
            self._bytes = torch.frombuffer(mapping, dtype=torch.uint8)

    @property
    def nbytes(self) -> int:
        return len(self._bytes)

    def __len__(self) -> int:
        return len(self._layout)

    def __getitem__(self, index: Any) -> Any:
        """Return image ``index``, (H, W, C), as a view of the mapping."""
        start, itemsize, *shape = self._layout[index].tolist()
        held = self._bytes[start : start + itemsize * math.prod(shape)]
        return held.view(TYPES[itemsize]).view(shape)

    def __reduce__(self) -> tuple[Any, ...]:
        if os.name == "posix" and get_spawning_popen() is not None:
            from multiprocessing.reduction import DupFd  # there is none on Windows

            return _from_descriptor, (DupFd(self._file.fileno()), self._layout)
        return _from_bytes, (self._bytes.numpy().tobytes(), self._layout)


def _nameless_file() -> BinaryIO:
    """Open a file in memory, or else on disk, that is gone with the last process that has it."""
    if hasattr(os, "memfd_create"):
        with suppress(OSError):  # such as ENOSYS in a sandbox
            return os.fdopen(os.memfd_create("images"), "w+b")
    return tempfile.TemporaryFile()


def _from_descriptor(handle: Any, layout: np.ndarray) -> HeldImages:
    return _attached(os.fdopen(handle.detach(), "rb"), layout)


def _from_bytes(data: bytes, layout: np.ndarray) -> HeldImages:
    file = _nameless_file()
    file.write(data)
    return _attached(file, layout)


def _attached(file: Any, layout: np.ndarray) -> HeldImages:
    held = HeldImages.__new__(HeldImages)
    held._attach(file, layout)
    return held
