"""How the threads of a program wait for each other."""

from __future__ import annotations

import os


def wait_asleep() -> None:
    """Let idle threads of torch sleep, not spin; to be called before torch is imported.

    Those that spin take the cores from other processes, and from the thread that they wait for:
    beside a busy process rendering takes longer by a third, alone it takes as long. A user who has
    set ``OMP_WAIT_POLICY`` has chosen.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
