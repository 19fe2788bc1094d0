"""Decide where outputs go, by one rule for all of them.

An input is never overwritten, two results never share a file, and an existing file is only replaced
if the user asks for it, or if a record says that this program made it.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.command import one_line
from errors import UserError
from rendering.inputs import Inputs, check_target, file_key
from rendering.record import Records
from rendering.sources import find_sources
from rendering.writing import FORMATS

WRITTEN = frozenset(ending for format in FORMATS for ending in format.endings)
# Endings of photographs, which become JPEG where their own format cannot be written.
PHOTOGRAPHS = frozenset({".heic", ".heif", ".hif", ".avif", ".jfif", ".jpe", ".mpo"})


@dataclass(frozen=True)
class Task:
    """An input and its output."""

    source: Path
    target: Path


@dataclass
class Plan:
    """The tasks of a run, and what is known about the inputs before it.

    Attributes:
        failed: A line for each input that is not found or cannot be rendered.
        notes: Further lines for the user.
        unread: A line about the files that cannot be read here; empty if there are none.
    """

    tasks: list[Task] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unread: str = ""


def is_folder(output: str | None) -> bool:
    """Check whether ``--output`` names a folder, whether or not it exists."""
    separators = tuple(filter(None, (os.sep, os.altsep)))
    return bool(output) and (Path(str(output)).is_dir() or str(output).endswith(separators))


def check_targets(targets: Mapping[str, str], source: str | None, overwrite: bool) -> None:
    """Refuse single outputs of a run that would overwrite something.

    Args:
        targets: Paths by the options that name them.
        source: The input; None if it is not a file.
        overwrite: Whether existing files may be replaced.

    Raises:
        UserError: If an output is the input, already exists, or is the same as another one.
    """
    taken: dict[str, str] = {}
    for option, target in targets.items():
        if source:
            check_target(source, target)
        other = taken.setdefault(file_key(Path(target)), option)
        if other != option:
            raise UserError(f"{target}: {other} and {option} name the same file")
        if not overwrite and Path(target).exists() and not Path(target).is_dir():
            raise UserError(f"{target}: is there already; --overwrite replaces it")


def plan(inputs: Sequence[str], output: str, suffix: str = "", ending: str | None = None) -> Plan:
    """Plan the outputs of the pictures that inputs name, in a folder with the same relative paths.

    Args:
        inputs: See `find_sources`.
        output: Folder of the outputs.
        suffix: Text to append to the names, before the ending.
        ending: Ending of the outputs; None: that of the input where its format can be written, else
            .jpg for photographs and .png for the rest.

    Raises:
        UserError: If there is no picture, or the output is a file.
    """
    if Path(output).exists() and not Path(output).is_dir():
        raise UserError(f"{output}: is a file; for several inputs name a folder")
    found = find_sources(inputs, output, Records())
    made = Plan(failed=found.failed, unread=found.unread_line() if found.unread else "")
    if found.made:
        made.notes.append(f"outputs of earlier runs, which are no inputs: {found.made}")
    changed: Counter[tuple[str, str]] = Counter()
    tasks = []
    for source in found.sources:
        own = source.place.suffix.lower()
        chosen = ending or _ending(source.place.suffix)
        if ending is None and chosen.lower() != own:
            changed[own, chosen] += 1
        name = source.place.stem + suffix + chosen
        tasks.append(Task(source.path, Path(output, source.place.parent, name)))
    for (own, chosen), count in changed.items():
        made.notes.append(f"{count} {own or 'without an ending'} as {chosen}: --ext chooses")
    made.tasks = _apart(tasks, made.failed)
    made.failed = [*map(one_line, made.failed)]
    return made


def _ending(own: str) -> str:
    """Choose the ending of an output from that of its input."""
    if own.lower() in WRITTEN:
        return own
    return ".jpg" if own.lower() in PHOTOGRAPHS else ".png"


def _apart(tasks: list[Task], failed: list[str]) -> list[Task]:
    """Keep the tasks with outputs that are unique and not inputs; add a line for each other one."""
    inputs = Inputs(task.source for task in tasks)
    sharing: dict[str, list[Task]] = defaultdict(list)
    for task in tasks:
        sharing[file_key(task.target)].append(task)
    left = []
    for task in tasks:
        others = [other for other in sharing[file_key(task.target)] if other.source != task.source]
        replaced = inputs.find(task.target)
        if others:
            failed.append(
                f"{task.source}: not rendered: {others[0].source} would have the same output, "
                f"{task.target}; rename one, or render them into different folders"
            )
        elif replaced is not None:
            what = "it" if replaced == task.source else f"the input {replaced}"
            failed.append(
                f"{task.source}: the output would replace {what}; "
                "choose another folder, or names with --suffix"
            )
        else:
            left.append(task)
    return left
