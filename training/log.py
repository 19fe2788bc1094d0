"""What a run says: lines in log.txt, numbers in log.jsonl and TensorBoard."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from tensorboardX import SummaryWriter
from torch import Tensor

from configs.files import written_whole
from training.state import Record

CURVES = {"loss": "loss/train", "psnr": "psnr/val", "lr": "lr"}


class Log:
    """The logs of a run folder, in step with its checkpoint.

    An epoch is logged after its checkpoint is written. So after a kill the logs may lack the epoch
    of the checkpoint, whose record it holds; and they may be ahead of an older checkpoint. Both is
    mended when they are opened: every epoch is there once.

    Args:
        folder: Of the run.
        epoch: Of the checkpoint that the run continues from.
        record: Of that epoch; empty if nothing is continued.
    """

    def __init__(self, folder: Path, epoch: int = 0, record: Record | None = None) -> None:
        self._text, self._json = folder / "log.txt", folder / "log.jsonl"
        logged = _keep(self._json, lambda line: json.loads(line)["epoch"] <= epoch)
        _keep(self._text, lambda line: _epoch_of(line) <= epoch)
        last = json.loads(logged[-1])["epoch"] if logged else 0
        missing = bool(record) and last < epoch
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=epoch if missing else epoch + 1
        )
        if record and missing:
            self.epoch(record)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._board.close()

    def line(self, text: str) -> None:
        print(text, flush=True)
        with self._text.open("a", encoding="utf-8") as file:
            print(text, file=file)

    def epoch(self, record: Record) -> None:
        """One epoch, in all three."""
        for key, curve in CURVES.items():
            if key in record:
                self._board.add_scalar(curve, record[key], record["epoch"])
        self._board.flush()
        self.line(describe(record))
        with self._json.open("a", encoding="utf-8") as file:
            print(json.dumps(record), file=file)

    def picture(self, name: str, picture: Tensor, epoch: int) -> None:
        """A picture (3, H, W) in [0, 1], in TensorBoard."""
        self._board.add_image(name, picture.numpy(), epoch)
        self._board.flush()


def describe(record: Record) -> str:
    """The line of an epoch."""
    parts = [f"epoch {record['epoch']}/{record['epoch_max']}, train: loss={record['loss']:.4f}"]
    if "psnr" in record:
        parts.append(f"val: psnr={record['psnr']:.4f}")
    parts.append(f"lr={record['lr']:.3g}")
    parts.append(f"{record['samples_per_second']:.1f} samples/s")
    if "gpu_mib" in record:
        parts.append(f"{record['gpu_mib']} MiB on the GPU")
    return ", ".join([*parts, f"{record['seconds']:.1f}s", f"{_clock(record['left'])} left"])


def _keep(path: Path, wanted: Callable[[str], bool]) -> list[str]:
    """Drop the other lines of a file, and one that a kill has cut short."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    kept = [line for line in whole if wanted(line)]
    if "".join(kept) != text:
        with written_whole(path) as file:
            file.write("".join(kept).encode())
    return kept


def _epoch_of(line: str) -> int:
    match = re.match(r"epoch (\d+)/", line)
    return int(match[1]) if match else 0


def _clock(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f}h"
    return f"{seconds / 60:.1f}m" if seconds >= 60 else f"{seconds:.0f}s"
