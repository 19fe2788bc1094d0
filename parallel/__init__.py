"""One run in several processes: each has a device and a share of every batch.

`torchrun` starts them, on one machine or many, or `start_each` does for ``--gpu 0,1``. Without
either a program is one process, and `Group` says so.
"""

from parallel.group import ALONE, Group, LostProcessError, is_failure, reason
from parallel.launch import environment, joined, start_each

__all__ = [
    "ALONE",
    "Group",
    "LostProcessError",
    "environment",
    "is_failure",
    "joined",
    "reason",
    "start_each",
]
