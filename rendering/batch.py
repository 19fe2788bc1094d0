"""Render many pictures, skip those that are done already, and report the results."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cli.command import describe, is_out_of_memory, one_line
from datasets.header import read_header
from errors import UserError
from parallel import Group
from rendering.job import Done, Wanted, render_file
from rendering.pace import Pace, Part
from rendering.record import Records, Stamp, asked
from rendering.targets import Plan, Task
from rendering.tiles import Renderer


@dataclass
class Report:
    """The results of the tasks of a run.

    Attributes:
        skipped: Number of outputs that already existed, from the same source, options and model.
        failed, kept: A line for each file. Files are kept if they exist and this program did not
            make them.
        unread: See `Plan`.
    """

    rendered: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    unread: str = ""

    def __str__(self) -> str:
        counts = f"{self.rendered} rendered, {self.skipped} were there already"
        lines = [f"{counts}, {len(self.failed)} failed", *map("  ".__add__, self.failed)]
        if self.kept:
            lines.append(f"{len(self.kept)} kept; --overwrite replaces them")
            lines += map("  ".__add__, self.kept)
        return "\n".join([*lines, self.unread] if self.unread else lines)


class Kept(Exception):  # noqa: N818  nothing went wrong
    """Raised to leave an output alone: its file exists, and this program did not make it."""


class Batch:
    """The options that all tasks of a run share, and the records of earlier runs.

    Args:
        model: Result of `rendering.record.identity`.
        overwrite: Render existing outputs again, whoever made them.
    """

    def __init__(self, wanted: Wanted, model: str, overwrite: bool) -> None:
        self.wanted, self.overwrite = wanted, overwrite
        self._records, self._asked = Records(), asked(wanted, model)

    def is_done(self, task: Task) -> bool:
        """Check whether the output already exists exactly as it would be rendered now.

        Raises:
            Kept: If the output was not made by this program.
            UserError: If the output was rendered from another input.
        """
        if self.overwrite or not task.target.exists() or not task.source.exists():
            return False
        entry = self._records.made(task.target)
        if entry is None:
            known = bool(self._records.of(task.target))
            told = "was changed since" if known else "was there already, and not made by"
            raise Kept(f"{task.target}: {told} this program{' made it' if known else ''}")
        path = self._records.source(task.target, entry)
        stamp = Stamp.of(task.source)
        same = entry.source_stamp == stamp and Path(path).name == task.source.resolve().name
        if not same and path != os.path.realpath(task.source):
            raise UserError(
                f"{task.target} is the rendering of {path}; choose another folder or --suffix"
            )
        return same and entry.asked == self._asked

    def render(self, renderer: Renderer, task: Task, progress: Callable[[int, int], None]) -> Done:
        """Render a task and record it; see `render_file`."""
        before = Stamp.of(task.source) if task.source.exists() else Stamp(0, 0)
        noted: list[Stamp] = []

        def note(stamp: Stamp) -> None:
            self._records.add(task.target, stamp, task.source, before, self._asked)
            noted.append(stamp)

        def commit(file: BinaryIO) -> None:
            file.flush()
            os.fsync(file.fileno())  # network disks set the final time only now
            there = not self.overwrite and task.target.exists()
            if there and self._records.made(task.target) is None:
                raise Kept(f"{task.target}: was changed meanwhile, not by this program")
            note(Stamp.of(file.fileno()))

        done = render_file(renderer, task.source, task.target, self.wanted, progress, commit)
        if (stamp := Stamp.of(task.target)) not in noted:  # some systems set the time on closing
            note(stamp)
        return done

    def pixels(self, task: Task) -> int | None:
        """Count the output's pixels from the input's header; 0 if done or kept, None if unknown."""
        try:
            if self.is_done(task):
                return 0
            header = read_header(task.source)
            rows, cols = self.wanted.grid((header.height, header.width))
            return len(rows) * len(cols)
        except Kept:
            return 0
        except Exception:  # reported when it is rendered
            return None


def render_all(renderer: Renderer, plan: Plan, batch: Batch, group: Group) -> Report:
    """Render this process's share of the tasks; a file that fails does not stop the others.

    Returns:
        The combined report of all processes.
    """
    report = Report()
    if group.is_first:
        report.failed += plan.failed
        report.unread = plan.unread
    tasks = plan.tasks[group.rank :: group.world]
    sizes, pace = _expected(batch, tasks, group)
    for task, size in zip(tasks, sizes, strict=True):
        done = Part(pace, size)
        try:
            if batch.is_done(task):
                report.skipped += 1
                continue
            notes = batch.render(renderer, task, done.reach).notes
        except Kept as kept:
            report.kept.append(one_line(str(kept)))
        except Exception as error:  # whatever goes wrong, render the others
            line = _one_line(task.source, error)
            report.failed.append(line)
            pace.say(f"error: {line}")
        else:
            report.rendered += 1
            for note in notes:
                pace.say(one_line(f"{task.source}: {note}"))
        finally:
            done.reach(1, 1)
            pace.add(0, images=int(size > 0))
    pace.close()
    return _sum(group.gather([report]))


def _expected(batch: Batch, tasks: list[Task], group: Group) -> tuple[list[int], Pace]:
    """Estimate the pixels of each output of this process, and make the progress of all processes.

    An output whose size is not known yet counts as one of mean size.
    """
    known = [batch.pixels(task) for task in tasks]
    sizes = [size for size in known if size]
    mean = sum(sizes) // len(sizes) if sizes else 1
    own = [mean if size is None else size for size in known]
    every = group.gather(own)
    return own, Pace("images", sum(every), sum(size > 0 for size in every), group)


def _one_line(source: Path, error: Exception) -> str:
    """Describe an error in one line that starts with the name of the file."""
    if isinstance(error, OSError):
        reason = describe(error).removeprefix("error: ")
    elif (isinstance(error, UserError) or is_out_of_memory(error)) and str(error):
        reason = str(error)
    else:
        reason = f"{type(error).__name__}: {error}"
    return one_line(f"{source}: {reason.removeprefix(f'{source}: ')}")


def _sum(reports: list[Report]) -> Report:
    return Report(
        sum(report.rendered for report in reports),
        sum(report.skipped for report in reports),
        [line for report in reports for line in report.failed],
        [line for report in reports for line in report.kept],
        "".join(report.unread for report in reports),
    )
