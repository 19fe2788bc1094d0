"""Find the pictures that files, folders and patterns name."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from errors import UserError
from rendering.kinds import RAW_ENDINGS
from rendering.reading import ENDINGS
from rendering.record import Records

# Endings of images and videos: those that cannot be read are counted, as raws are.
KINDS = (
    "avif avifs bmp dds dib exr fits gif hdr heic heics heif hif icns ico j2c j2k",
    "jfif jfi jif jp2 jpe jpeg jpf jpg jpx jxl jxr kra mpo pam pbm pcx pfm pgm",
    "png apng pnm ppm psb psd qoi ras sgi svg tga tif tiff webp wdp xcf eps",
    "3gp avi m4v mkv mov mp4 mpg mts webm wmv",
)
PICTURES = RAW_ENDINGS | {f".{ending}" for line in KINDS for ending in line.split()}
# Folders and files of operating systems, besides those whose names begin with a dot.
SYSTEM = frozenset(
    {"thumbs.db", "desktop.ini", "ehthumbs.db", "@eadir", "__macosx", "$recycle.bin"}
)


class Source(NamedTuple):
    """A picture, and the relative path of its output below the folder, with the input's ending."""

    path: Path
    place: Path


@dataclass
class Found:
    """The files found for the inputs.

    Attributes:
        sources: Pictures to render, sorted.
        made: Number of files left out because this program made them.
        unread: Number of files that cannot be read here, by ending.
        failed: A line for each folder that cannot be read, and for each input without pictures.
    """

    sources: list[Source] = field(default_factory=list)
    made: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def unread_line(self) -> str:
        """Make a line such as ``29 not read: 20 .heic, 9 .dng``."""
        counts = ", ".join(f"{count} {ending}" for ending, count in self.unread.most_common())
        return f"{self.unread.total()} not read: {counts}"


def is_one_file(inputs: Sequence[str]) -> bool:
    """Check whether ``--input`` is one file, not a folder, a pattern or several inputs."""
    return len(inputs) == 1 and not Path(inputs[0]).is_dir() and not _is_pattern(inputs[0])


def find_sources(inputs: Sequence[str], output: str | Path, records: Records | None) -> Found:
    """Find the pictures that inputs name.

    Folders are searched recursively. With several inputs, each folder keeps its name below the
    output. Hidden files and folders are skipped, unless they are named.

    Args:
        inputs: Files, folders, and patterns such as ``photos/**/*.png``.
        output: Folder of the outputs; files in it are not inputs of a folder around it.
        records: Records of the files that this program made. Such a file is not an input if it lies
            in the output folder, or if the picture that it was made from is an input. None: such
            files are inputs like all others.

    Raises:
        UserError: If there is no picture.
    """
    found = Found()
    if is_one_file(inputs):
        path = Path(inputs[0])
        found.sources = [Source(path, Path(path.name))]
        return found
    folder = Path(output).resolve()
    for given in inputs:
        before = len(found.sources) + found.unread.total() + len(found.failed)
        for source in _listed(given, folder, len(inputs) > 1, found.failed):
            named = source.path == Path(given)
            ending = source.path.suffix.lower()
            if ending in ENDINGS or (named and not source.path.exists()):
                found.sources.append(source)
            elif ending in PICTURES or (named and source.path.name.lower() not in SYSTEM):
                found.unread[ending or "without an ending"] += 1
        if before == len(found.sources) + found.unread.total() + len(found.failed):
            found.failed.append(f"{given}: no images ({', '.join(sorted(ENDINGS))})")
    # Each file only once, whichever of its names is given.
    every = sorted({(os.path.realpath(s.path), s.place): s for s in found.sources}.values())
    found.sources = every
    if records is not None:
        paths = {os.path.realpath(source.path) for source in every}
        found.sources = [s for s in every if not _is_made(s.path, paths, folder, records)]
    found.made = len(every) - len(found.sources)
    if not found.sources and len(found.failed) == len(inputs) == 1:
        raise UserError(found.failed[0])
    if not found.sources and not found.failed:
        why = [found.unread_line()] if found.unread else []
        why += [f"{found.made} are outputs of this program"] if found.made else []
        raise UserError(f"{' '.join(inputs)}: no images to render: {'; '.join(why)}")
    return found


def _is_made(path: Path, inputs: set[str], output: Path, records: Records) -> bool:
    """Check whether a file is an output of this program, and so no input; see `find_sources`."""
    entries = records.of(path)
    if any(records.source(path, entry) in inputs for entry in entries):
        return True
    if not entries or not path.parent.resolve().is_relative_to(output):
        return False
    return records.made(path) is not None


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not Path(text).exists()


def _listed(given: str, output: Path, several: bool, failed: list[str]) -> Iterator[Source]:
    """Yield all files that one input names."""
    path = Path(given)
    if path.is_dir():
        root, files = path, _walk(path, failed)
        top = Path(path.resolve().name) if several else Path()
    elif _is_pattern(given):
        root, rest = _split(given)
        top, files = Path(), (file for file in root.glob(rest) if not file.is_dir())
        if not any(part.startswith(".") for part in Path(rest).parts):
            files = (file for file in files if not _is_quiet(file.relative_to(root)))
    else:
        yield Source(path, Path(path.name))
        return
    around = not root.resolve().is_relative_to(output)
    for file in files:
        if not (around and file.parent.resolve().is_relative_to(output)):
            yield Source(file, top / file.relative_to(root))


def _walk(root: Path, failed: list[str]) -> Iterator[Path]:
    """Yield all files below a folder except quiet ones; follow links, but no folder twice."""

    def fail(error: OSError) -> None:
        failed.append(f"{error.filename}: cannot be read: {error.strerror}")

    seen = set()
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        here = Path(folder).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        folders[:] = [name for name in folders if not _is_quiet(Path(name))]
        yield from (Path(folder, name) for name in files if not _is_quiet(Path(name)))


def _is_quiet(place: Path) -> bool:
    """Check whether a relative path is hidden or belongs to the operating system."""
    return any(part.startswith(".") or part.lower() in SYSTEM for part in place.parts)


def _split(pattern: str) -> tuple[Path, str]:
    """Split a pattern into the folders before its first wildcard, and the rest."""
    parts = Path(pattern).parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:first]), str(Path(*parts[first:]))
