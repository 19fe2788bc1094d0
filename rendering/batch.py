"""Many pictures: which, to where, and what has become of them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from configs.command import is_out_of_memory
from configs.spec import UserError
from engine import progress_bar
from parallel import Group
from rendering.job import Wanted, render_file
from rendering.tiles import Renderer
from rendering.writing import FORMATS

ENDINGS = {ending for format in FORMATS for ending in format.endings}


@dataclass(frozen=True)
class Task:
    """An input and its output."""

    source: Path
    target: Path


@dataclass
class Report:
    """What has become of the tasks.

    Attributes:
        failed: A line each.
    """

    rendered: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.rendered} rendered, {self.skipped} were there already"
        return "\n".join([f"{counts}, {len(self.failed)} failed", *map("  ".__add__, self.failed)])


def names_many(pattern: str) -> bool:
    """Whether an ``--input`` is a folder or a pattern rather than one file."""
    return Path(pattern).is_dir() or (glob.has_magic(pattern) and not Path(pattern).exists())


def find_tasks(
    pattern: str, output: str, suffix: str = "", ending: str | None = None
) -> tuple[list[Task], list[str]]:
    """The images of a folder or a pattern, and outputs with the same relative paths.

    Args:
        pattern: A folder, searched to its depths, or a pattern such as ``photos/**/*.png``.
        output: A folder; what lies in it, or is an output, is no input.
        suffix: Appended to the names, before the ending.
        ending: Of the outputs; as of the inputs if None.

    Returns:
        The tasks, and a line for each folder that cannot be read.

    Raises:
        UserError: If there is no image, or the output is a file.
    """
    target = Path(output)
    unreadable: list[str] = []
    if Path(pattern).is_dir():
        root = Path(pattern)
        found = _walk(root, unreadable)
    else:
        root, rest = _split(pattern)
        found = (path for path in root.glob(rest) if not path.is_dir())
    inside = {path for path in found if path.suffix.lower() in ENDINGS}
    if target.resolve() != root.resolve():
        inside = {path for path in inside if not _is_below(path, target)}
    tasks = []
    for source in sorted(inside):
        place = source.relative_to(root)
        name = place.stem + suffix + (ending or place.suffix)
        tasks.append(Task(source, target / place.parent / name))
    outputs = {task.target for task in tasks}
    tasks = [task for task in tasks if task.source not in outputs or task.source == task.target]
    if not tasks and not unreadable:
        raise UserError(f"{pattern}: no images ({', '.join(sorted(ENDINGS))})")
    if target.exists() and not target.is_dir():
        raise UserError(f"{output}: is a file; for several inputs name a folder")
    return tasks, unreadable


def _walk(root: Path, unreadable: list[str]) -> Iterator[Path]:
    """All files below, links followed, none of its folders twice."""

    def fail(error: OSError) -> None:
        unreadable.append(f"{error.filename}: cannot be read: {error.strerror}")

    seen = set()
    for folder, folders, files in os.walk(root, onerror=fail, followlinks=True):
        here = Path(folder).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        yield from (Path(folder) / name for name in files)


def _is_below(path: Path, folder: Path) -> bool:
    return path.parent.resolve().is_relative_to(folder.resolve())


def _split(pattern: str) -> tuple[Path, str]:
    """The folders of a pattern before its first wildcard, and the rest."""
    parts = Path(pattern).parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return Path(*parts[:first]), str(Path(*parts[first:]))


def render_all(
    renderer: Renderer,
    tasks: list[Task],
    wanted: Wanted,
    overwrite: bool,
    group: Group,
) -> Report:
    """Render this process's share of the tasks; a bad file is a line, and the rest goes on.

    Returns:
        The report of all processes.
    """
    report = Report()
    owners: dict[Path, Path] = {}
    for task in tasks:
        owners.setdefault(task.target, task.source)
    mine = progress_bar(tasks[group.rank :: group.world], "images", unit="image")
    for task in mine:
        try:
            if owners[task.target] != task.source:
                raise UserError(f"{task.target} is the output of {owners[task.target]} already")
            same = task.target.exists() and task.target.samefile(task.source)
            if task.target.exists() and not overwrite and not same:
                report.skipped += 1
                continue
            done = render_file(renderer, task.source, task.target, wanted)
        except Exception as error:  # whatever a file or a model does, the others are rendered
            line = _one_line(task.source, error)
            report.failed.append(line)
            mine.write(f"error: {line}", file=sys.stderr)
        else:
            report.rendered += 1
            for note in done.notes:
                mine.write(f"{task.source}: {note}", file=sys.stderr)
    return _sum(group.gather([report]))


def _one_line(source: Path, error: Exception) -> str:
    """What went wrong, with the name of the file in front."""
    known = isinstance(error, (UserError, OSError)) or is_out_of_memory(error)
    reason = str(error) if known and str(error) else f"{type(error).__name__}: {error}"
    reason = reason.removeprefix(f"{source}: ")
    return " ".join(f"{source}: {reason}".splitlines())


def _sum(reports: list[Report]) -> Report:
    return Report(
        sum(report.rendered for report in reports),
        sum(report.skipped for report in reports),
        [line for report in reports for line in report.failed],
    )
