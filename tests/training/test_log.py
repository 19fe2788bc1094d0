"""What a run says, where it cannot be said."""

import os
import pty
import resource
import select
import signal
import threading

import pytest
import torch
import yaml

from tests.programs import ended, fails, load, run, same, train, train_config, trained
from tests.training import ranks
from tests.training.test_survival import logged
from training.board import Board
from training.signals import Signals

LONG = {"val_dataset": None, "epoch_val": None, "epoch_save": None}


def test_an_event_file_that_cannot_be_written_ends_nothing(tmp_path, capsys):
    threads = threading.active_count()
    board = Board(tmp_path / "tensorboard", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))  # what a full disk does
    try:
        for step in range(50):
            board.scalars({"loss": 0.5}, step)
            board.picture("val", torch.zeros(3, 8, 8), step)
        board.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    said = capsys.readouterr().err
    expected = f"error: {tmp_path}/tensorboard: File too large; TensorBoard gets no more of this"
    assert said == f"{expected} run\n"
    assert threading.active_count() == threads  # none that could die


def test_a_folder_of_event_files_that_cannot_be_made_ends_nothing(tmp_path, capsys):
    (tmp_path / "tensorboard").touch()
    Board(tmp_path / "tensorboard", 1).scalars({"loss": 0.5}, 1)
    assert "tensorboard: File exists; TensorBoard gets no more" in capsys.readouterr().err


def test_a_run_without_tensorboard(folder):
    (folder / "save/r").mkdir(parents=True)
    (folder / "save/r/tensorboard").touch()
    train(folder, "--name", "r", epoch_max=1)
    assert [line["epoch"] for line in logged(folder / "save/r")] == [1]


def test_a_log_that_cannot_be_written_is_named_and_the_steps_saved(folder, monkeypatch):
    """In the middle of an epoch, at the line of a skipped step."""
    norm = {"inp": {"sub": [0.5], "div": [0.5]}, "gt": {"sub": [0.5], "div": [1e-45]}}
    changes = {"data_norm": norm, "max_skipped": 3, **LONG, "epoch_max": 1}
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**changes)))
    args = ["--config", "c.yaml", "--name", "r", "--resume"]

    def full(path, line):
        if line.startswith("skipped step 2"):
            raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("training.log._append", full)
        error = fails(folder, "train_liif.py", *args)
    assert error == "error: save/r/log.txt: No space left on device"
    assert load(folder / "save/r/epoch-last.pth")["step"] == 2
    assert run(folder, "train_liif.py", *args).returncode == 0


def read_until(descriptor, text):
    said = b""
    while text not in said:
        assert select.select([descriptor], [], [], 60)[0], said
        said += os.read(descriptor, 10000)


def begin(folder, output, *args, leads=False):
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**LONG, epoch_max=EPOCHS)))
    args = ["--config", "c.yaml", "--name", "r", *args]
    return ranks.start(folder, {}, (output, output), "train_liif.py", args, leads)


EPOCHS = 40


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The same run, left alone."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "photos").symlink_to(photos / "photos")
    trained(folder, "r", **LONG, epoch_max=EPOCHS)
    return folder / "save/r"


def assert_whole(run_folder, whole):
    assert same(ended(run_folder), ended(whole))
    assert logged(run_folder) == logged(whole)
    lines = (run_folder / "log.txt").read_text().splitlines()
    assert sum(line.startswith("epoch ") for line in lines) == EPOCHS


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_a_run_outlives_its_output(folder, whole, kind):
    """A terminal of others, as of a run that was disowned, or the reader of a pipe goes away."""
    if kind == "terminal":
        reader, slave = pty.openpty()
        output = os.ttyname(slave)
    else:
        os.mkfifo(folder / "pipe")
        output = str(folder / "pipe")
        reader, slave = os.open(output, os.O_RDONLY | os.O_NONBLOCK), None
        os.set_blocking(reader, True)
    process = begin(folder, output)
    read_until(reader, b"epoch 2/")
    os.close(reader)
    if slave is not None:
        os.close(slave)
    process.join(60)
    assert process.exitcode == 0
    assert_whole(folder / "save/r", whole)


def test_a_run_whose_terminal_is_closed_saves_and_goes_on_bit_for_bit(folder, whole):
    """The system sends it SIGHUP."""
    reader, slave = pty.openpty()
    process = begin(folder, os.ttyname(slave), leads=True)
    read_until(reader, b"epoch 2/")
    os.close(slave)
    os.close(reader)
    process.join(60)
    assert process.exitcode == 129
    saved = load(folder / "save/r/epoch-last.pth")
    stopped = f"stopped after epoch {saved['epoch']}, step {saved['step']}"
    assert (folder / "save/r/log.txt").read_text().splitlines()[-1] == stopped
    assert 2 <= saved["epoch"] < EPOCHS
    train(folder, "--name", "r", "--resume", **LONG, epoch_max=EPOCHS)
    assert_whole(folder / "save/r", whole)


def test_what_is_ignored_stays_ignored():
    """SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            signals.begin()
            os.kill(os.getpid(), signal.SIGHUP)
            assert signals.stop is None
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.stop == 143
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
