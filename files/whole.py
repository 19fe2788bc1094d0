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
    """Open a file to write that replaces ``path`` at the end, complete and on disk, or never.

    A kill, a full disk or an error leaves the old file unchanged. Several threads, processes or
    machines may write one file at the same time: each writes a complete one, and the last to finish
    wins. What a killed program left in a folder is removed when a file is written there later, at
    most once an hour. The folder must exist.

    Args:
        path: The file to replace.
        durable: Wait until the data is on disk. Without this, a power failure may leave an empty or
            damaged file: good for files that are checked when read and can be made again.

    Raises:
        OSError: If it cannot be written; names ``path``.
    """
    path = Path(path)
    if path.is_symlink():  # replace its target, not the link
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
    """Make errors of the operating system that name no file, such as of a full disk, name this one.

    Args:
        path: The file to name.
        instead_of: A file whose name means nothing to the user, replaced by ``path`` too.
    """
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(instead_of)):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


@lru_cache(maxsize=1000)
def _clear(folder: Path, _: int) -> None:
    """Delete what killed programs left in a folder; the unused hour number is for the cache."""
    with suppress(OSError):
        for leftover in folder.glob(f".*{ENDING}"):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > ABANDONED:
                    leftover.unlink()
