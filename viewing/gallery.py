"""The photographs that can be viewed: files named at the start, and those that a page sends."""

from __future__ import annotations

import os
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from datasets.opening import MAX_PIXELS
from rendering.picture import Picture
from rendering.reading import read_bytes, read_picture
from rendering.recent import Recent

RECEIVED = 8  # photographs from pages that are kept
RECEIVED_BYTES = 2**30  # of their files
PIXEL_BYTES = 2**31  # of all decoded pixels


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
            KeyError: If there is none.
        """
        return self._named[id]

    def find(self, id: str) -> Photograph:
        """Return a photograph.

        Raises:
            KeyError: If there is none, or a page sent it but so many others came since.
        """
        with self._lock:
            return self._named.get(id) or self._received[id]

    def picture(self, photograph: Photograph) -> Picture:
        """Return the pixels of a photograph.

        Raises:
            UserError: If it cannot be read.
        """

        def read() -> Picture:
            if photograph.data is not None:
                return read_bytes(photograph.data, photograph.name, self.max_pixels)
            assert photograph.path is not None
            return read_picture(photograph.path, self.max_pixels)

        return self._pictures.get(photograph.id, read)

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
                gone = self._received.popitem(last=False)[0]
                self._pictures.drop(gone)
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
