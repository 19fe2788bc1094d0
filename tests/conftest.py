"""What the tests and the processes that they start have of the machine; and photographs.

One thread: what they compute is too small for more. SIGINT and SIGHUP, which tests send, and which
a shell and nohup let jobs ignore. And no GPU, which has no fixed order of sums, but for
``-m cuda``.
"""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[Any]) -> None:
    if not any(item.get_closest_marker("cuda") for item in items):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder outside the repository with images, and a model."""
    from models.checkpoint import save_checkpoint
    from tests.cases import SPECS, make
    from tests.programs import NORM, SIZE, write_photos

    root = tmp_path_factory.mktemp("work")
    write_photos(root / "photos", *SIZE)
    model = make("liif", input_skip="bicubic")
    args = {**SPECS["liif"]["args"], "input_skip": "bicubic"}
    spec = {"name": "liif", "args": args, "sd": model.state_dict()}
    save_checkpoint(root / "m.pth", {"model": spec, "data_norm": NORM})
    return root


@pytest.fixture
def folder(photos: Path, tmp_path: Path) -> Path:
    """A working folder of a test of its own, with the images of `photos`."""
    (tmp_path / "photos").symlink_to(photos / "photos")
    return tmp_path
