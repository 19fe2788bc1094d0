"""Many pictures: which, to where, and what has become of them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
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
) -> list[Task]:
    """The images of a folder or a pattern, and outputs with the same relative paths.

    Args:
        pattern: A folder, searched to its depths, or a pattern such as ``photos/**/*.png``.
        output: A folder; it is not searched.
        suffix: Appended to the names, before the ending.
        ending: Of the outputs; as of the inputs if None.

    Raises:
        UserError: If there is no image, or the output is a file.
    """
    target = Path(output)
    if target.exists() and not target.is_dir():
        raise UserError(f"{output}: is a file; for several inputs name a folder")
    if Path(pattern).is_dir():
        root, found = Path(pattern), _walk(Path(pattern), target)
    else:
        root = _root_of(pattern)
        names = glob.iglob(pattern, recursive=True)  # noqa: PTH207  of any folder
        found = (Path(name) for name in names)
        found = (path for path in found if not path.is_dir())
    images = sorted({path for path in found if path.suffix.lower() in ENDINGS})
    if not images:
        raise UserError(f"{pattern}: no images ({', '.join(sorted(ENDINGS))})")
    tasks = []
    for source in images:
        inside = source.relative_to(root)
        name = inside.stem + suffix + (ending or inside.suffix)
        tasks.append(Task(source, target / inside.parent / name))
    return tasks


def _walk(root: Path, without: Path) -> Iterator[Path]:
    """All files below, links followed, none of its folders twice."""
    seen = {without.resolve()} - {root.resolve()}
    for folder, folders, files in os.walk(root, followlinks=True):
        here = Path(folder).resolve()
        if here in seen:
            folders.clear()
            continue
        seen.add(here)
        yield from (Path(folder) / name for name in files)


def _root_of(pattern: str) -> Path:
    """The folders of a pattern before its first wildcard."""
    parts = []
    for part in Path(pattern).parent.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return Path(*parts)


def render_all(
    renderer: Renderer,
    tasks: Iterable[Task],
    wanted: Wanted,
    overwrite: bool,
    group: Group,
) -> Report:
    """Render this process's share of the tasks; a bad file is a line, and the rest goes on.

    Returns:
        The report of all processes.
    """
    tasks = list(tasks)
    report = Report()
    owners: dict[Path, Path] = {}
    mine = progress_bar(tasks[group.rank :: group.world], "images", unit="image")
    for task in tasks:
        owners.setdefault(task.target, task.source)
    for task in mine:
        try:
            if owners[task.target] != task.source:
                raise UserError(f"{task.target} is the output of {owners[task.target]} already")
            if task.target.exists() and task.target.samefile(task.source):
                raise UserError("would replace its input; name another folder, or a --suffix")
            if task.target.exists() and not overwrite:
                report.skipped += 1
                continue
            done = render_file(renderer, task.source, task.target, wanted)
        except (UserError, OSError, RuntimeError, MemoryError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            named = str(task.source)
            line = reason if reason.startswith(named) else f"{named}: {reason}"
            report.failed.append(line)
            mine.write(f"error: {line}", file=sys.stderr)
        else:
            report.rendered += 1
            for note in done.notes:
                mine.write(f"{task.source}: {note}", file=sys.stderr)
    return _sum(group.gather([report]))


def _sum(reports: list[Report]) -> Report:
    return Report(
        sum(report.rendered for report in reports),
        sum(report.skipped for report in reports),
        [line for report in reports for line in report.failed],
    )
