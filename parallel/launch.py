"""Start the processes of a run, join them, and end together."""

from __future__ import annotations

import gc
import math
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

from cli.command import choose_devices, describe, first_line
from cli.interrupt import STOPPING, ending_at_once
from errors import UserError
from parallel.group import Group, LostProcessError

STARTER = "STARTED_BY"  # environment variable: id of the process that ran `start_each`
GRACE = 30  # seconds that the others have to end by themselves after one has failed


@contextmanager
def joined(gpu: str | None) -> Iterator[Group]:
    """Join the group of processes that torchrun has started, or a group of one without it.

    An error that several processes meet is reported by only one; a process whose only error is that
    it lost the others is silent.

    Args:
        gpu: Value of the option ``--gpu``.

    Raises:
        UserError: If there are not enough devices.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if "RANK" not in os.environ or world == 1:
        devices = choose_devices(gpu)
        if len(devices) > 1:
            raise UserError(f"--gpu {gpu}: torchrun has started one process; name one device")
        yield Group(device=devices[0])
        return
    local_rank, local_world = (
        int(os.environ.get(name, default))
        for name, default in (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
    )
    device = _own_device(gpu, local_rank, local_world)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _following(int(os.environ.get(STARTER, os.getppid()))):
        try:
            with ending_at_once():  # it waits for the others outside Python
                dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        except (RuntimeError, ValueError) as error:
            raise UserError(f"cannot reach the other processes: {first_line(error)}") from None
        with _speaking_once(device):
            yield Group(dist.get_rank(), world, local_rank, local_world, device)


@contextmanager
def _speaking_once(device: torch.device) -> Iterator[None]:
    """Leave the group; if several processes meet the same error, let only one report it."""
    try:
        yield
    except (UserError, OSError, KeyboardInterrupt) as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        first = _first_to_say(error)
        if device.type == "cuda":  # NCCL would wait for the others, or complain
            if first:
                print(describe(error), file=sys.stderr, flush=True)
            os._exit(status)
        if not first:
            raise SystemExit(status) from None
        raise
    except SystemExit as stop:
        traceback.clear_frames(stop.__traceback__)
        _leave()
        raise
    _leave()


def _leave() -> None:
    """Leave the group, so that nothing of it is left when the interpreter ends.

    Its threads would be joined then, and one that waits for Python would be aborted, along with the
    process.
    """
    gc.collect()  # models that refer to the group are in cycles
    dist.destroy_process_group()


@contextmanager
def _following(parent: int) -> Iterator[None]:
    """Stop, as after SIGTERM, when the process that started this one is killed."""
    ended = threading.Event()

    def follow() -> None:
        while os.getppid() == parent:
            if ended.wait(1):
                return
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:  # a thread that wakes up while the interpreter ends may abort it
        ended.set()
        thread.join()


def _own_device(gpu: str | None, local_rank: int, local_world: int) -> torch.device:
    devices = choose_devices(gpu, default=",".join(map(str, range(local_world))))
    if devices[0].type == "cpu":
        return devices[0]
    if len(devices) != local_world:
        raise UserError(f"--gpu {gpu}: {local_world} processes are started here; name as many GPUs")
    return devices[local_rank]


def _first_to_say(error: BaseException) -> bool:
    """Tell whether no process has reported this error, or, for a lost process, any error.

    The store remembers what was reported.
    """
    try:
        store = dist.distributed_c10d._get_default_store()
        anything = store.add("said", 1) > 1
        same = store.add(f"said {type(error).__name__} {error}", 1) > 1
    except RuntimeError:  # the store is gone with its process
        return True
    return not (anything if isinstance(error, LostProcessError) else same)


def start_each(gpu: str | None) -> None:
    """Run this program once on each of several devices, then exit; does nothing under torchrun.

    Signals are forwarded to all of them. When one fails, the others are ended.

    Raises:
        SystemExit: With the exit status of the first process that failed, or 0.
    """
    if "RANK" in os.environ or (count := len(choose_devices(gpu, quiet=True))) == 1:
        return
    store = dist.TCPStore(  # type: ignore[attr-defined]
        "127.0.0.1", 0, is_master=True, wait_for_workers=False
    )
    own = {STARTER: str(os.getpid())}
    threads = {"OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // count))}
    processes: list[subprocess.Popen[bytes]] = []
    asked: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        asked.append(number)
        for process in processes:
            process.send_signal(number) if asked.count(signal.SIGINT) < 2 else process.kill()

    for name in (*STOPPING, "SIGUSR1"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, forward)
    for rank in range(count):
        processes.append(
            subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env={**threads, **os.environ, **environment(rank, count, store.port), **own},
                process_group=0,  # Ctrl-C comes from here, once
            )
        )
    for number in tuple(asked):  # received before all were started
        for process in processes:
            process.send_signal(number)
    sys.exit(_wait(processes, asked))


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """Return the variables that torchrun sets and `joined` reads, for one of ``count`` processes.

    All processes are on this machine.

    Args:
        port: Port of a store that outlives the processes.
    """
    return {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # else DDP warns if it finds no unused parameters
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }


def _wait(processes: list[subprocess.Popen[bytes]], asked: list[int]) -> int:
    """Wait for all processes to end, and return the exit status of the first to fail, or 0.

    Args:
        asked: Signals that were forwarded; one ends a process that has nothing to save.
    """
    failed, deadline = 0, math.inf
    while None in (codes := [process.poll() for process in processes]):
        if not failed and (failed := next(filter(None, codes), 0)):
            deadline = time.monotonic() + GRACE
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.1)
    failed = failed or next(filter(None, codes), 0)
    if failed >= 0:
        return failed
    if -failed not in asked:
        name = signal.Signals(-failed).name
        print(f"error: a process of the run was ended by {name}", file=sys.stderr)
    elif -failed == signal.SIGINT:
        print(describe(KeyboardInterrupt()), file=sys.stderr)
    return 128 - failed
