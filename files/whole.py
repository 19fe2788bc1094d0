"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

ABANDONED = 3600  # seconds after which nobody can still be writing
ENDING = ".whole.part"


@contextmanager
def written_whole(path: str | Path, durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of ``path`` at the end, on disk, or never.

    A kill, a full disk or an error leaves the old file as it was. Several threads, processes or
    machines may write one file at the same time: each writes a whole one, and that of the last to
    end stays. What a kill has left in a folder is cleared away by a later writing to it, at most
    once an hour. The folder must exist.

    Args:
        path: Of the file.
        durable: Wait until the disk has it. Without, a power failure may leave an empty or damaged
            file: for what is checked when it is read, and can be made anew.

    Raises:
        OSError: If it cannot be written; names ``path``.
    """
    path = Path(path)
    if path.is_symlink():  # what it leads to is replaced, and not the link
        path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no file that can be replaced", str(path))
    _clear(path.parent.absolute(), int(time.monotonic() // ABANDONED))
    stem = f".{path.name}"
    if len(os.fsencode(stem)) > 200:  # names have at most 255 bytes
        stem = f".{hashlib.sha1(os.fsencode(stem)).hexdigest()}"
    part = path.with_name(f"{stem}.{secrets.token_hex(6)}{ENDING}")
    try:
        with naming(path, instead_of=part), part.open("xb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if durable and os.name == "posix":
        with naming(path):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def naming(path: str | Path, instead_of: Path | None = None) -> Iterator[None]:
    """Errors of the operating system that name no file, as those of a full disk, name this one.

    Args:
        path: Of the file.
        instead_of: A file whose name says nothing to the user.
    """
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@lru_cache(maxsize=1000)
def _clear(folder: Path, _: int) -> None:
    """Delete what a kill has left in a folder; the number of the hour is for the cache."""
    with suppress(OSError):
        for leftover in folder.glob(f".*{ENDING}"):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > ABANDONED:
                    leftover.unlink()
