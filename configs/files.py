"""Files that are written whole or not at all."""

from __future__ import annotations

import glob
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

ABANDONED = 3600  # seconds after which nobody can still be writing


@contextmanager
def written_whole(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` at the end, on disk, or never.

    A kill, a full disk or an error leaves the old file as it was. What a kill has left beside it is
    cleared away by a later writing. The folder must exist.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    stem = f".{path.name}"
    if len(os.fsencode(stem)) > 200:  # names have at most 255 bytes
        stem = f".{hashlib.sha1(os.fsencode(stem)).hexdigest()}"
    for leftover in path.parent.glob(f"{glob.escape(stem)}.*.part"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > ABANDONED:
                leftover.unlink()
    part = path.with_name(f"{stem}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename == str(part):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
