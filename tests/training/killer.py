"""Starts a training again and again, and kills it: killer.py ROUNDS SEED ARGS

Every start is a fork of this process, which has imported everything and computed nothing. The first
is left alone, as the run `whole`. Then half of the rounds of `killed` are killed at a random time,
half in the middle of a random save. One more start ends the run.
"""

import os
import pathlib
import random
import runpy
import signal
import sys
import time

import datasets  # noqa: F401
import models  # noqa: F401
import training.log
import training.run_folder  # noqa: F401

ROOT = pathlib.Path(__file__).parents[2]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_within_a_save(call: int, after: bool) -> None:
    """Be killed just before or after the file operation with this number."""
    calls = 0

    def deadly(operation):
        def wrapped(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call and not after:
                die()
            result = operation(*args, **kwargs)
            if calls == call:
                die()
            return result

        return wrapped

    pathlib.Path.replace = deadly(pathlib.Path.replace)
    os.fsync = deadly(os.fsync)


def start(args: list[str], call: int = 0, after: bool = False) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setpgid(0, 0)
    if call:
        die_within_a_save(call, after)
    sys.argv = ["train_liif.py", *args]
    try:
        runpy.run_path(str(ROOT / "train_liif.py"), run_name="__main__")
    except SystemExit as stop:
        print(stop, file=sys.stderr, flush=True)
        os._exit(stop.code if isinstance(stop.code, int) else 1)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(2)
    os._exit(0)


def main() -> None:
    rounds, seed, *args = sys.argv[1:]
    rng = random.Random(int(seed))
    began = time.monotonic()
    whole = os.waitpid(start([*args, "--name", "whole"]), 0)[1]
    seconds = time.monotonic() - began
    assert whole == 0
    args += ["--name", "killed", "--resume"]
    killed = 0
    for number in range(int(rounds)):
        if number % 2:
            pid = start(args, rng.randrange(1, 12), rng.random() < 0.5)
        else:
            pid = start(args)
            time.sleep(rng.uniform(0, 0.4) * seconds)
            os.kill(pid, signal.SIGKILL)
        killed += os.waitpid(pid, 0)[1] == signal.SIGKILL
    print(f"killed {killed}", flush=True)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(start(args), 0)[1]))


if __name__ == "__main__":
    main()
