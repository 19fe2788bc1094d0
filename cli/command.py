"""Command-line options shared by the programs, and errors in one line."""

from __future__ import annotations

import argparse
import io
import os
import select
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from errors import UserError

if TYPE_CHECKING:
    import torch


DEFAULT_MODEL = "fast"  # the one in weights/


def add_gpu_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gpu",
        metavar="0,1",
        help="CUDA devices by number, one process on each, or cpu (cpu,cpu: two processes); "
        "default: the first GPU, or the CPU without one",
    )


def add_model_option(parser: argparse.ArgumentParser, several: bool = False) -> None:
    parser.add_argument(
        "--model",
        nargs="+" if several else None,
        default=[DEFAULT_MODEL] if several else DEFAULT_MODEL,
        metavar="M.pth",
        help=f"{'checkpoints' if several else 'a checkpoint'}; fast, compact or photo: those in "
        f"weights/; or bicubic: the baseline; M.pth@0.5: a fine-tuned one at half its strength; "
        f"default: {DEFAULT_MODEL}",
    )


def choose_devices(gpu: str | None, default: str = "0", quiet: bool = False) -> list[torch.device]:
    """Return the devices that ``--gpu`` names, or the CPU without CUDA.

    If ``--gpu`` was given but there is no CUDA, the first process says so, unless quiet.

    Raises:
        UserError: If the names are neither numbers nor ``cpu``, or there is no such GPU.
    """
    import torch

    names = (gpu or default).lower().replace(" ", "").split(",")
    if set(names) == {"cpu"}:
        return [torch.device("cpu")] * len(names)
    try:
        numbers = [int(name) for name in names]
    except ValueError:
        raise UserError(f"--gpu {gpu}: expected numbers such as 0 or 0,1, or cpu") from None
    if not torch.cuda.is_available():
        if gpu is not None and not quiet and os.environ.get("RANK", "0") == "0":
            print(f"--gpu {gpu}: no CUDA here, running on the CPU", file=sys.stderr)
        return [torch.device("cpu")]
    count = torch.cuda.device_count()
    wrong = [n for n in numbers if not 0 <= n < count]
    if wrong or len(set(numbers)) < len(numbers):
        named = ",".join(names)
        raise UserError(f"--gpu {named}: expected different numbers from 0 to {count - 1}")
    return [torch.device("cuda", n) for n in numbers]


def parse_pair(text: str, convert: Callable[[str], float]) -> tuple[float, float]:
    """Parse ``A,B``, or ``A`` for both, finite and above 0, as an argparse type.

    Raises:
        argparse.ArgumentTypeError: If it is anything else.
    """
    parts = text.split(",")
    try:
        values = [convert(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in (1, 2) or not all(0 < value < float("inf") for value in values):
        raise argparse.ArgumentTypeError(f"expected one or two positive numbers, got {text[:40]!r}")
    return values[0], values[-1]


def describe(error: UserError | OSError | KeyboardInterrupt) -> str:
    """Return the text that is shown to the user for an error."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError):
        name = error.filename2 or error.filename  # for a rename, its target
        place = f"{name}: " if name else ""
        return f"error: {place}{error.strerror or error}"
    return "\n".join(f"error: {line}" for line in str(error).splitlines())


def outlive_output() -> None:
    """Keep running when nobody reads the output any more, as after a closed terminal or `| head`.

    Output that cannot be printed, for any reason such as a full disk, is lost. For programs that
    leave their results in files.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass  # closed from the start: the next opened file must not become the output
    os.close(number)
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


def _lasting(stream: TextIO) -> TextIO:
    """Return a version of a stream whose writes never fail; the Windows console stays as it is."""
    if not isinstance(stream, io.TextIOWrapper) or not isinstance(_raw(stream), io.FileIO):
        return stream
    output = _Lasting(stream.fileno(), "w", closefd=False)
    try:
        stream.flush()
    except OSError:
        output.give_up()
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )


def _raw(stream: Any) -> Any:
    buffer = getattr(stream, "buffer", None)
    return getattr(buffer, "raw", buffer)


class _Lasting(io.FileIO):
    """A file descriptor that switches to /dev/null when it cannot be written to."""

    def write(self, data: Any) -> int:
        try:
            while (count := super().write(data)) is None:  # a terminal in non-blocking mode
                select.select([], [self], [])
        except OSError:
            self.give_up()
            return len(data)
        return count

    def give_up(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def run(main: Callable[[], None]) -> None:
    """Run a program; an error that the user can correct is one line on stderr and a failed exit."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # no longer `end_at_once`
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may not be valid text
    try:
        main()
        if sys.stdout is not None:
            sys.stdout.flush()
        return
    except UserError as error:
        status: int | str = describe(error)
    except KeyboardInterrupt as error:
        outlive_output()
        print(describe(error), file=sys.stderr)
        status = 130
    except OSError as error:
        unread = isinstance(error, BrokenPipeError) and not isinstance(_raw(sys.stdout), _Lasting)
        status = 1 if unread else describe(error)  # nobody misses it, as with `| head`
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        status = f"error: out of memory: {first_line(error)}"
    outlive_output()  # a flush that fails at the end would change the exit status
    sys.exit(status)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out: Python's, or torch's on a CPU or a GPU."""
    told = ("out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED")
    return isinstance(error, MemoryError) or any(text in str(error) for text in told)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its class if it has none."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def one_line(text: str) -> str:
    """Remove line breaks from a text, as file names may contain them."""
    return " ".join(text.splitlines())
