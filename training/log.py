"""Log a run: lines in log.txt, numbers in log.jsonl and TensorBoard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from files.whole import naming, written_whole
from training.board import Board
from training.state import Record, TrainState

CURVES = {"loss": "loss/train", "psnr": "psnr/val", "lr": "lr"}


class Log:
    """The logs of a run folder, kept in step with its checkpoint.

    An epoch is logged after its checkpoint is written. So after a kill, the logs may lack the last
    epoch, whose record is in the checkpoint, or they may be ahead of an older checkpoint. Both are
    repaired when the logs are opened, so that every epoch is there once.

    Args:
        folder: Folder of the run.
        state: State that the run continues from.
    """

    def __init__(self, folder: Path, state: TrainState) -> None:
        epoch, record = state.epoch, state.record
        self._text, self._json = folder / "log.txt", folder / "log.jsonl"
        logged = _keep(self._json, lambda line: 0 < _json_epoch(line) <= epoch)
        last = _json_epoch(logged[-1]) if logged else 0
        reached = (epoch + 1, state.step)
        _keep(self._text, lambda line: _is_epoch(line, last) and _is_skip(line, reached))
        missing = bool(record) and last < epoch
        self._board = Board(folder / "tensorboard", epoch if missing else epoch + 1)
        if missing:
            self.epoch(record)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def line(self, text: str) -> None:
        """Log a line of text, written to the file before it is printed."""
        _append(self._text, text)
        print(text, flush=True)

    def epoch(self, record: Record) -> None:
        """Log one epoch in all three places."""
        points = {curve: record[key] for key, curve in CURVES.items() if key in record}
        self._board.scalars(points, int(record["epoch"]))
        self.line(describe(record))
        _append(self._json, json.dumps(record))

    def picture(self, name: str, picture: Tensor, epoch: int) -> None:
        """Add a picture (3, H, W) in [0, 1] to TensorBoard."""
        self._board.picture(name, picture, epoch)


class Silence(Log):
    """A log that does nothing, for every process except the first."""

    def __init__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def line(self, text: str) -> None:
        pass

    def epoch(self, record: Record) -> None:
        pass


def describe(record: Record) -> str:
    """Format the line of an epoch."""
    parts = [f"epoch {record['epoch']}/{record['epoch_max']}, train: loss={record['loss']:.4f}"]
    if "psnr" in record:
        parts.append(f"val: psnr={record['psnr']:.4f}")
    parts.append(f"lr={record['lr']:.3g}")
    parts.append(f"{record['samples_per_second']:.1f} samples/s")
    if "gpu_mib" in record:
        parts.append(f"{record['gpu_mib']} MiB on the GPU")
    return ", ".join([*parts, f"{record['seconds']:.1f}s", f"{_clock(record['left'])} left"])


def _append(path: Path, line: str) -> None:
    with naming(path), path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        print(line, file=file)


def _keep(path: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Keep only the wanted lines of a file, and drop a last line that a kill cut short."""
    if not path.exists():
        return []
    text = path.read_bytes().decode(errors="replace")
    whole = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    kept = [line for line in whole if wanted(line)]
    if "".join(kept) != text:
        with written_whole(path) as file:
            file.write("".join(kept).encode())
    return kept


def _json_epoch(line: str) -> int:
    """Read the epoch of a record; 0 for any other line."""
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError):
        return 0


def _is_epoch(line: str, last: int) -> bool:
    """Check that a line is not about an epoch after ``last``."""
    match = re.match(r"epoch (\d+)/", line)
    return match is None or int(match[1]) <= last


def _is_skip(line: str, reached: tuple[int, int]) -> bool:
    """Check that a line is not about a skipped step that the run has yet to repeat."""
    match = re.match(r"skipped step (\d+) of epoch (\d+)", line)
    return match is None or (int(match[2]), int(match[1])) <= reached


def _clock(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f}h"
    return f"{seconds / 60:.1f}m" if seconds >= 60 else f"{seconds:.0f}s"
