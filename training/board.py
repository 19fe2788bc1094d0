"""Write the curves and pictures of a run for TensorBoard."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import image, scalar
from torch import Tensor

from cli.command import describe
from files.whole import naming


class Board:
    """An event file of TensorBoard, which is on disk after each call.

    tensorboardX itself would write in a thread. If that fails, as on a full disk, the thread dies,
    and any caller that adds to its queue waits forever. Here a failure is reported once, and the
    run goes on without TensorBoard.

    Args:
        folder: Folder of the event files.
        purge_step: First epoch whose entries in earlier files are discarded.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        self._folder = folder
        self._writer: Any = None
        try:
            folder.mkdir(exist_ok=True)
            # The number distinguishes and sorts files of the same second.
            self._writer = EventsWriter(str(folder / "events"), f".{time.time_ns() % 10**9:09}")
        except OSError as error:
            self._give_up(error)
        session = SessionLog(status=SessionLog.START)
        self._write(purge_step, {"file_version": "brain.Event:2"}, {"session_log": session})

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each of the given curves."""
        self._write(step, *({"summary": scalar(*point)} for point in values.items()))

    def picture(self, name: str, picture: Tensor, step: int) -> None:
        """Add a picture (3, H, W) in [0, 1]; one that is lost to a kill is not made again."""
        self._write(step, {"summary": image(name, picture.numpy())})

    def close(self) -> None:
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()

    def _write(self, step: int, *events: dict[str, Any]) -> None:
        if self._writer is None:
            return
        try:
            with naming(self._folder):
                for event in events:
                    self._writer.write_event(Event(wall_time=time.time(), step=step, **event))
                self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        print(f"{describe(error)}; TensorBoard gets no more of this run", file=sys.stderr)
