"""Run a program in several processes, each with a device and a share of every batch.

They are started by `torchrun`, on one machine or many, or by `start_each` for ``--gpu 0,1``.
Without either, a program is a single process, and `Group` says so.
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
