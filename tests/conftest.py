"""What the tests and the processes that they start have of the machine.

One thread: what they compute is too small for more. SIGINT and SIGHUP, which tests send, and which
a shell and nohup let jobs ignore. And no GPU, which has no fixed order of sums, but for
``-m cuda``.
"""

import os
import signal
from typing import Any

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    if not any(item.get_closest_marker("cuda") for item in items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
