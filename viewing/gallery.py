"""The photographs that can be viewed: files named at the start, and those that a page sends."""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from datasets.opening import MAX_PIXELS
from errors import UserError
from rendering.picture import Picture
from rendering.reading import read_bytes, read_picture
from rendering.recent import Recent

RECEIVED = 8  # photographs from pages that are kept
RECEIVED_BYTES = 2**30  # of their files
PIXEL_BYTES = 2**31  # of all decoded pixels


class UnknownError(Exception):
    """The error of a name that stands for nothing here."""


@dataclass(frozen=True)
class Photograph:
    """A photograph, by the name that its addresses have.

    Attributes:
        id: Name in addresses; there is no other one of this name.
        name: Name for people.
        path: The file; None if a page has sent it.
        data: What a page has sent.
    """

    id: str
    name: str
    path: Path | None = None
    data: bytes | None = None


class Gallery:
    """The photographs of a server. Nothing else is ever read.

    Args:
        paths: Files.
        max_pixels: Number of pixels of the largest photograph.
    """

    def __init__(self, paths: Iterable[Path], max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self._named: dict[str, Photograph] = {}
        self._received: OrderedDict[str, Photograph] = OrderedDict()
        self._pictures: Recent[Picture] = Recent(PIXEL_BYTES, lambda picture: picture.pixels.nbytes)
        self._lock = threading.Lock()
        for path in paths:
            name = os.fsencode(path.name).decode("utf-8", "replace")
            id = self._free_id(name)
            self._named[id] = Photograph(id, name, path=path)

    def __iter__(self) -> Iterator[Photograph]:
        with self._lock:
            return iter([*self._named.values(), *self._received.values()])

    def named(self, id: str) -> Photograph:
        """Return a photograph that was named at the start.

        Raises:
            UnknownError: If there is none.
        """
        if id not in self._named:
            raise UnknownError(id)
        return self._named[id]

    def find(self, id: str) -> Photograph:
        """Return a photograph.

        Raises:
            UnknownError: If there is none, or a page sent it but so many others came since.
        """
        with self._lock:
            found = self._named.get(id) or self._received.get(id)
        if found is None:
            raise UnknownError(id)
        return found

    def picture(self, photograph: Photograph) -> Picture:
        """Return the pixels of a photograph.

        Raises:
            UserError: If it cannot be read.
        """

        token = photograph.id, _stamp(photograph)

        def read() -> Picture:
            if photograph.path is None:
                picture = read_bytes(photograph.data or b"", photograph.name, self.max_pixels)
            else:
                try:
                    picture = read_picture(photograph.path, self.max_pixels)
                except UserError as error:  # where the file is, is nobody's business
                    raise UserError(
                        str(error).replace(str(photograph.path), photograph.name)
                    ) from None
            return replace(picture, token=token)

        return self._pictures.get(token, read)

    def receive(self, name: str, data: bytes) -> Photograph:
        """Add a photograph that a page has sent; the oldest of these make room for it.

        Raises:
            UserError: If it cannot be read; then nothing is added.
        """
        name = PurePath(name.replace("\\", "/")).name or "photograph"
        # Nobody can guess its address: other pages in the browser cannot ask for it.
        photograph = Photograph(secrets.token_hex(16), name, data=data)
        self.picture(photograph)
        with self._lock:
            self._received[photograph.id] = photograph
            while len(self._received) > 1 and self._too_many():
                _, gone = self._received.popitem(last=False)
                self._pictures.drop((gone.id, _stamp(gone)))
        return photograph

    @property
    def bytes(self) -> float:
        """The bytes of what is kept of them."""
        with self._lock:
            files = sum(len(each.data or b"") for each in self._received.values())
        return files + self._pictures.bytes

    def _too_many(self) -> bool:
        kept = sum(len(each.data or b"") for each in self._received.values())
        return len(self._received) > RECEIVED or kept > RECEIVED_BYTES

    def _free_id(self, name: str) -> str:
        """Make a name for addresses that no photograph has yet."""
        path, number, id = PurePath(name), 1, name
        while id in self._named:
            number += 1
            id = f"{path.stem}-{number}{path.suffix}"
        return id


def _stamp(photograph: Photograph) -> object:
    """Return what changes when the file of a photograph does."""
    if photograph.path is None:
        return None
    with suppress(OSError):
        status = photograph.path.stat()
        return status.st_mtime_ns, status.st_size
    return None
