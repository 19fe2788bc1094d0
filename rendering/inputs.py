"""The files that are read, which are never written, whatever names they have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from errors import UserError


class Inputs:
    """The files that a run reads, under any of their names."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._known: dict[object, Path] = {}
        for path in map(Path, paths):
            self._known.update(dict.fromkeys(_identities(path), path))

    def find(self, path: str | Path) -> Path | None:
        """The input that a path leads to."""
        found = (self._known.get(identity) for identity in _identities(Path(path)))
        return next(filter(None, found), None)


def check_target(source: str | Path, target: str | Path) -> None:
    """Raise a `UserError` if the output would take the place of the input."""
    if Inputs([source]).find(target):
        raise UserError(f"{source}: the output would replace it; choose another name")


def file_key(path: Path) -> str:
    """The same for all paths to one file, there or not."""
    return os.path.normcase(os.path.realpath(path))


def _identities(path: Path) -> list[object]:
    """What two names of one file have in common: the path without links, and the file itself."""
    try:
        status = path.stat()
    except OSError:
        return [file_key(path)]
    return [file_key(path), (status.st_dev, status.st_ino)]
