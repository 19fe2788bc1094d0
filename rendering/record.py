"""Records of the files that this program made in a folder, to tell them from others' files."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from files.whole import naming
from models.checkpoint import find_source
from rendering.job import Wanted

NAME = ".rendered.jsonl"  # in each folder with outputs; one object per line


class Stamp(NamedTuple):
    """The size and time of change of a file, which identify it unread: bytes, nanoseconds."""

    size: int
    mtime: int

    @classmethod
    def of(cls, file: str | Path | int) -> Stamp:
        """Get the stamp of a path or an open file.

        Raises:
            OSError: If the file does not exist.
        """
        status = os.stat(file)  # noqa: PTH116  takes descriptors, too
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Entry:
    """An output, and what it was made from.

    Attributes:
        name: Name of the output in the folder of the record.
        size, mtime: Stamp of the output.
        source: Path of the input relative to that folder, with links resolved.
        source_size, source_mtime: Stamp of the input when it was read.
        asked: Result of `asked`.
    """

    name: str
    size: int
    mtime: int
    source: str
    source_size: int
    source_mtime: int
    asked: dict[str, Any]

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.size, self.mtime)

    @property
    def source_stamp(self) -> Stamp:
        return Stamp(self.source_size, self.source_mtime)


class Record:
    """The entries of one folder, including new ones from other processes.

    Lines are only ever appended, each in one write. A damaged line is skipped: its output then
    counts as not made by this program, and so is kept.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path = Path(folder, NAME)
        self._read = 0
        self._entries: dict[str, list[Entry]] = {}

    def of(self, name: str) -> list[Entry]:
        """Get all entries of an output, the latest last."""
        self._refresh()
        return self._entries.get(name, [])

    def add(self, entry: Entry) -> None:
        """Append an entry.

        Raises:
            OSError: If it cannot be written.
        """
        line = f"\n{json.dumps(asdict(entry))}\n".encode()  # the last line may have been cut off
        with naming(self._path), self._path.open("ab", buffering=0) as file:
            file.write(line)

    def _refresh(self) -> None:
        """Read what was appended since the last call."""
        try:
            with naming(self._path), self._path.open("rb") as file:
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return
        data = data[: data.rfind(b"\n") + 1]
        self._read += len(data)
        for line in data.splitlines():
            if (entry := _parsed(line)) is not None:
                self._entries.setdefault(entry.name, []).append(entry)


class Records:
    """The records of all folders; outputs are identified by their path with links resolved."""

    def __init__(self) -> None:
        self._folders: dict[str, Record] = {}
        self._places: dict[Path, tuple[Record, str]] = {}

    def of(self, output: Path) -> list[Entry]:
        """Get all entries of a path, whether or not the file is still the one that was made."""
        record, name = self._place(output)
        return record.of(name)

    def made(self, output: Path) -> Entry | None:
        """Find the entry of an existing file; None if this program did not make it as it is now."""
        entries, stamp = self.of(output), Stamp.of(output)
        return next((entry for entry in reversed(entries) if entry.stamp == stamp), None)

    def add(
        self, output: Path, stamp: Stamp, source: Path, source_stamp: Stamp, asked: dict[str, Any]
    ) -> None:
        """Record an output, before it appears; see `Entry`.

        Raises:
            OSError: If the record cannot be written.
        """
        record, name = self._place(output)
        path = os.path.realpath(source)
        with suppress(ValueError):  # on another drive of Windows
            path = os.path.relpath(path, record.folder)
        record.add(Entry(name, *stamp, path, *source_stamp, asked))

    def source(self, output: Path, entry: Entry) -> str:
        """Get the path, with links resolved, of the input of an output."""
        return os.path.realpath(Path(self._place(output)[0].folder, entry.source))

    def _place(self, output: Path) -> tuple[Record, str]:
        if output not in self._places:
            folder, name = os.path.split(os.path.realpath(output))
            record = self._folders.setdefault(folder, Record(folder))
            self._places[output] = record, name
        return self._places[output]


def asked(wanted: Wanted, model: str) -> dict[str, Any]:
    """List what an output depends on besides its source, in the form read back from a record.

    Args:
        model: See `identity`.
    """
    usual = Wanted()
    # Limits change no output. Defaults are left out, so that new options do not outdate records.
    options = {
        field.name: getattr(wanted, field.name)
        for field in fields(wanted)
        if not field.name.startswith("max_")
        and getattr(wanted, field.name) != getattr(usual, field.name)
    }
    return json.loads(json.dumps({"model": model, **options}, default=asdict))


def identity(model: str, strength: float | None = None) -> str:
    """Make a text that changes when a model does: the hash of its file, or its name without one.

    With a strength, it is that number and the hashes of both files; 1 is the model itself.

    Args:
        model, strength: See `load_model`.
    """
    source = find_source(model, strength)
    if source.file is None:
        return model
    try:
        own = _hash(source.file)
        if source.base is None or source.strength == 1:
            return own
        return f"{source.strength} of {own} on {_hash(source.base)}"
    except OSError:
        return model  # loading it will fail, too


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parsed(line: bytes) -> Entry | None:
    try:
        given = json.loads(line)
        entry = Entry(**given)
    except (ValueError, TypeError):
        return None
    kinds = {"name": str, "source": str, "asked": dict}
    right = all(isinstance(value, kinds.get(key, int)) for key, value in given.items())
    return entry if right else None
