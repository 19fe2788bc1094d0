"""Read pictures from standard input, and write them to standard output, both given as ``-``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from datasets.opening import MAX_PIXELS
from errors import UserError
from files.whole import naming
from rendering.picture import Picture
from rendering.reading import most_bytes, read_bytes

STANDARD = "-"  # on the command line
PIECE = 2**20


def read_standard(max_pixels: int = MAX_PIXELS) -> Picture:
    """Read the picture that is piped in.

    Raises:
        UserError: If nothing is piped in, or it is not a picture, or it is too long.
    """
    if sys.stdin is None:
        raise UserError("stdin: is closed; pipe a picture into it")
    if sys.stdin.isatty():
        raise UserError("stdin: is a terminal; pipe a picture into it")
    data = bytearray()
    with naming("stdin"):
        while piece := sys.stdin.buffer.read(PIECE):
            data += piece
            if len(data) > most_bytes(max_pixels):
                raise UserError(f"stdin: has more than {most_bytes(max_pixels)} bytes")
    if not data:
        raise UserError("stdin: is empty; pipe a picture into it")
    return read_bytes(bytes(data), "stdin", max_pixels)


def check_standard_output() -> None:
    """Raise a `UserError` where no picture should be written to standard output."""
    if sys.stdout is None:
        raise UserError("stdout: is closed; redirect it to a file or a pipe")
    if sys.stdout.isatty():
        raise UserError("stdout: is a terminal; redirect it to a file or a pipe")


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Open a file whose content goes to standard output at the end, or not at all after an error.

    Raises:
        OSError: If it cannot be written; the error names stdout or the folder of temporary files.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(folder, "picture").open("w+b") as held,  # tifffile wants a name
    ):
        with naming(folder):
            yield held
            held.seek(0)
        with naming("stdout"), open(os.dup(1), "wb") as file:  # noqa: PTH123
            shutil.copyfileobj(held, file, PIECE)
