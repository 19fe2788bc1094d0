"""Recognise input files by any of their names, so that they are never overwritten."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from errors import UserError


class Inputs:
    """The files that a run reads, recognised by any of their names."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._known: dict[object, Path] = {}
        for path in map(Path, paths):
            self._known.update(dict.fromkeys(_identities(path), path))

    def find(self, path: str | Path) -> Path | None:
        """Find the input that a path leads to; None if it leads to none."""
        found = (self._known.get(identity) for identity in _identities(Path(path)))
        return next(filter(None, found), None)


def check_target(source: str | Path, target: str | Path) -> None:
    """Raise a `UserError` if the output would take the place of the input."""
    if Inputs([source]).find(target):
        raise UserError(f"{source}: the output would replace it; choose another name")


def file_key(path: Path) -> str:
    """Make a key that is the same for all paths to one file, whether or not it exists."""
    return os.path.normcase(os.path.realpath(path))


def _identities(path: Path) -> list[object]:
    """List what all names of a file share: the path with links resolved, and the file's inode."""
    try:
        status = path.stat()
    except OSError:
        return [file_key(path)]
    return [file_key(path), (status.st_dev, status.st_ino)]
