"""Starts the processes of a run as forks of one that has imported everything: in no time."""

import multiprocessing
import os
import runpy
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.distributed as dist

from parallel import environment

ROOT = Path(__file__).parents[2]
os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # as `environment` says, which comes after the import
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["torch._dynamo", "torch.nn.parallel", "datasets", "models", "training.loop"]
)


def start(folder, env, outputs, program, args, leads=False):
    """A program as a process, with these files as its stdout and stderr.

    With ``leads`` it leads a session, so that a terminal among them is its own.
    """
    args = (folder, env, outputs, program, args, leads)
    process = SERVER.Process(target=_run, args=args, daemon=True)
    process.start()
    return process


def _run(folder, env, outputs, program, args, leads):
    # As a process that was started by itself, it has processes of its own, and starts them as such.
    multiprocessing.current_process()._config["daemon"] = False
    multiprocessing.set_start_method(None, force=True)
    if leads:
        os.setsid()
    os.chdir(folder)
    os.environ.update(env)
    for number, path in zip((1, 2), outputs, strict=True):
        # Only a terminal that can be read becomes that of a session.
        os.dup2(os.open(path, (os.O_RDWR if leads else os.O_WRONLY) | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "This DataLoader")  # of few cores
    sys.argv = [program, *args]
    runpy.run_path(str(ROOT / program), run_name="__main__")


class Ranks:
    """The processes of one run, each in its own folder if there are several.

    A single one is as a user starts it; with ``leads`` it leads a group.
    """

    def __init__(self, folder, count, program, *args, leads=False):
        self.store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        folders = folder if isinstance(folder, list) else [folder] * count
        now = time.monotonic_ns()
        self.outputs = [folders[rank] / f"rank{rank}-{now}" for rank in range(count)]
        envs = [environment(rank, count, self.store.port) for rank in range(count)]
        envs = envs if count > 1 else [{}]
        self.processes = [
            start(folder, env, (f"{output}.out", f"{output}.err"), program, args, leads)
            for folder, env, output in zip(folders, envs, self.outputs, strict=True)
        ]

    def said(self, name="out"):
        paths = [Path(f"{output}.{name}") for output in self.outputs]
        return "".join(path.read_text() for path in paths if path.exists())

    def wait_for(self, text):
        deadline = time.monotonic() + 60
        while text not in self.said():
            assert time.monotonic() < deadline, self.said("err")
            time.sleep(0.01)

    def signal(self, rank, number):
        os.kill(self.processes[rank].pid, number)

    def finish(self, *codes, seconds=60):
        """The output, once all have ended with these exit codes."""
        deadline = time.monotonic() + seconds
        for process in self.processes:
            process.join(deadline - time.monotonic())
        error = self.said("err")
        assert tuple(p.exitcode for p in self.processes) == codes, error
        assert "Traceback" not in error
        return self.said(), error
