"""What this program has made in a folder, so that it is told from what others put there."""

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

NAME = ".rendered.jsonl"  # in each folder with outputs; one object a line


class Stamp(NamedTuple):
    """What a file is known by without reading it: bytes, and nanoseconds of the last change."""

    size: int
    mtime: int

    @classmethod
    def of(cls, file: str | Path | int) -> Stamp:
        """The stamp of a path or an open file.

        Raises:
            OSError: If there is none.
        """
        status = os.stat(file)  # noqa: PTH116  also of descriptors
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Entry:
    """An output, and what it was made of.

    Attributes:
        name: Of the output, in the folder of the record.
        size, mtime: Its stamp.
        source: Path of the input from that folder, links followed.
        source_size, source_mtime: Its stamp when it was read.
        asked: What `asked` says.
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
    """The entries of one folder, those of other processes included as soon as they are written.

    Lines are only appended, each in one piece. One that is damaged is passed over: its output then
    counts as not made by this program, and so is kept.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._path = Path(folder, NAME)
        self._read = 0
        self._entries: dict[str, list[Entry]] = {}

    def of(self, name: str) -> list[Entry]:
        """All that was noted of an output, the latest last."""
        self._refresh()
        return self._entries.get(name, [])

    def add(self, entry: Entry) -> None:
        """Append an entry.

        Raises:
            OSError: If it cannot be written.
        """
        line = f"\n{json.dumps(asdict(entry))}\n".encode()  # after a line that was cut off, too
        with naming(self._path), self._path.open("ab", buffering=0) as file:
            file.write(line)

    def _refresh(self) -> None:
        """Read what was appended since."""
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
    """The records of all folders; outputs are known by their path without links."""

    def __init__(self) -> None:
        self._folders: dict[str, Record] = {}
        self._places: dict[Path, tuple[Record, str]] = {}

    def of(self, output: Path) -> list[Entry]:
        """All that was noted of a path, whether or not the file is still the one that was made."""
        record, name = self._place(output)
        return record.of(name)

    def made(self, output: Path) -> Entry | None:
        """What was noted of an existing file; None if it is not, byte for byte, of this program."""
        entries, stamp = self.of(output), Stamp.of(output)
        return next((entry for entry in reversed(entries) if entry.stamp == stamp), None)

    def add(
        self, output: Path, stamp: Stamp, source: Path, source_stamp: Stamp, asked: dict[str, Any]
    ) -> None:
        """Note an output, before it appears; see `Entry`.

        Raises:
            OSError: If that cannot be written.
        """
        record, name = self._place(output)
        path = os.path.realpath(source)
        with suppress(ValueError):  # on another drive of Windows
            path = os.path.relpath(path, record.folder)
        record.add(Entry(name, *stamp, path, *source_stamp, asked))

    def source(self, output: Path, entry: Entry) -> str:
        """The path without links that an output was made of."""
        return os.path.realpath(Path(self._place(output)[0].folder, entry.source))

    def _place(self, output: Path) -> tuple[Record, str]:
        if output not in self._places:
            folder, name = os.path.split(os.path.realpath(output))
            record = self._folders.setdefault(folder, Record(folder))
            self._places[output] = record, name
        return self._places[output]


def asked(wanted: Wanted, model: str) -> dict[str, Any]:
    """What an output depends on besides its source, as it is read back from a record.

    Args:
        model: See `identity`.
    """
    usual = Wanted()
    # The limit changes no output. What is as usual is left out, so that new options change none.
    options = {
        field.name: getattr(wanted, field.name)
        for field in fields(wanted)
        if not field.name.startswith("max_")
        and getattr(wanted, field.name) != getattr(usual, field.name)
    }
    return json.loads(json.dumps({"model": model, **options}, default=asdict))


def identity(model: str, strength: float | None = None) -> str:
    """What changes when a model does: the hash of its file, or its name if it has none.

    Of a strength it is that number, and the hashes of both files; 1 is the model itself.

    Args:
        model, strength: As of `load_model`.
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
        return model  # which cannot be loaded either


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
