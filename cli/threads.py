"""Settings for how the threads of a program wait for each other."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Let idle threads of torch sleep instead of spin; call this before torch is imported.

    Spinning threads take the cores from other processes, and from the thread they wait for: next
    to a busy process, rendering takes a third longer with them; alone it takes as long either way.
    If the user has set ``OMP_WAIT_POLICY``, that choice stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
