"""Runs that are killed, stopped, and disturbed end as runs that are left alone."""

import contextlib
import copy
import json
import os
import signal
import struct
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
from filelock import FileLock
from tensorboardX.proto.event_pb2 import Event

import scoring
from configs.load import load_train
from tests.configs.test_load import REGISTRIES
from tests.programs import (
    CLOCKED,
    ended,
    fails,
    load,
    run,
    same,
    succeeds,
    train,
    train_config,
    trained,
)
from tests.training.ranks import Ranks
from training.restore import first_good
from training.run_folder import to_continue

FILES = ("epoch-last.pth", "epoch-best.pth", "epoch-2.pth", "epoch-4.pth")


def scalars(run_folder):
    """What TensorBoard shows: {(curve, epoch): value}, later files winning where they purge."""
    shown = {}
    for path in sorted((run_folder / "tensorboard").glob("events*")):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            if at + length + 16 > len(data):
                break  # cut by a kill
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += length + 16
            if event.HasField("session_log"):
                shown = {key: value for key, value in shown.items() if key[1] < event.step}
            for value in event.summary.value:
                if not value.HasField("simple_value"):
                    continue  # a picture that a kill prevents is not made again
                assert (value.tag, event.step) not in shown, "repeated"
                shown[value.tag, event.step] = value.simple_value
    return shown


def logged(run_folder):
    lines = (run_folder / "log.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCKED} for line in lines]


def assert_same_run(one, two):
    assert same(ended(one), ended(two))
    for name in FILES[1:]:
        ends = [load(run_folder / name) for run_folder in (one, two)]
        assert same(*({k: v for k, v in end.items() if k != "record"} for end in ends)), name
    assert logged(one) == logged(two)
    assert scalars(one) == scalars(two)
    epochs = [
        [line.split(",")[0] for line in (f / "log.txt").read_text().splitlines() if "epoch" in line]
        for f in (one, two)
    ]
    told = [[line for line in lines if line.startswith("epoch")] for lines in epochs]
    assert told[0] == told[1]


def kill_often(folder, rounds, seed, **changes):
    config = {"save_every": {"steps": 1}, "ema": 0.9, "warmup": 3, **changes}
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**config)))
    args = [str(rounds), str(seed), "--config", "c.yaml"]
    out, _ = Ranks(folder, 1, "tests/training/killer.py", *args).finish(0, seconds=600)
    assert_same_run(folder / "save/whole", folder / "save/killed")
    print(out, flush=True)
    return int(out.split("killed ")[-1].split()[0])


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(folder, seed):
    assert kill_often(folder, 6, seed) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "changes"),
    [(0, {"epoch_max": 12}), (2, {}), (0, {"amp": "fp16", "lr_schedule": "cosine"})],
)
def test_thirty_kills(folder, workers, changes):
    changes = {**changes, "num_workers": workers}
    if "lr_schedule" in changes:
        changes["multi_step_lr"] = None
    assert kill_often(folder, 30, 7, **changes) >= 10


def begin(folder, until="epoch 1/", **changes):
    """A training as a process that leads its group, once it has said so much."""
    config = train_config(epoch_max=4000, epoch_val=None, val_dataset=None, epoch_save=None)
    (folder / "c.yaml").write_text(yaml.safe_dump({**config, **changes}))
    args = ["--config", "c.yaml", "--name", "r"]
    run = Ranks(folder, 1, "train_liif.py", *args, leads=True)
    run.wait_for(until)
    return run


@pytest.mark.parametrize(
    ("name", "code"), [("SIGTERM", 143), pytest.param("SIGINT", 130, marks=pytest.mark.slow)]
)
def test_a_signal_to_the_whole_group_ends_the_run_after_its_step(folder, name, code):
    run = begin(folder, num_workers=2)
    os.killpg(run.processes[0].pid, getattr(signal, name))
    out, error = run.finish(code)
    assert error == ""
    assert "stopped after epoch" in out
    saved = load(folder / "save/r/epoch-last.pth")
    assert f"stopped after epoch {saved['epoch']}, step {saved['step']}" in out


@pytest.mark.parametrize(
    ("name", "code"), [pytest.param("SIGTERM", 143, marks=pytest.mark.slow), ("SIGKILL", 1)]
)
def test_a_worker_that_is_killed_loses_no_step(folder, name, code):
    """SIGTERM reaches all processes of a job, the workers too; SIGKILL is the memory's end."""
    run = begin(folder, num_workers=2)
    family = psutil.Process(run.processes[0].pid)
    assert len(family.children(recursive=True)) == 2
    for victim in [*family.children(recursive=True), *([family] if code == 143 else [])]:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(getattr(signal, name))
    out, error = run.finish(code)
    assert len(error.splitlines()) == (0 if code == 143 else 1), error
    if code == 1:
        assert "a process that reads the data was killed" in error
        assert "--resume" in error
    saved = load(folder / "save/r/epoch-last.pth")
    lines = (folder / "save/r/log.jsonl").read_text().splitlines()
    assert saved["epoch"] == len(lines) >= 1
    if code == 143:
        assert f"stopped after epoch {saved['epoch']}, step {saved['step']}" in out


def wait_for_save(last, before=0):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):  # between two renames
            if (saved := last.stat().st_mtime_ns) > before:
                return saved
        time.sleep(0.01)
    raise AssertionError("nothing was saved")


def test_usr1_saves_and_goes_on_and_a_second_process_is_refused(folder):
    """In an epoch without end, of which the first step alone is saved without being asked."""
    section = copy.deepcopy(train_config()["train_dataset"])
    section["dataset"]["args"]["repeat"] = 100_000
    run = begin(folder, "train: ", train_dataset=section)
    last = folder / "save/r/epoch-last.pth"
    saved = wait_for_save(last)
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r", "--resume")
    assert "save/r: another process is training there" in error
    assert load(last)["step"] == 1
    for _ in range(3):
        run.signal(0, signal.SIGUSR1)
        saved = wait_for_save(last, saved)
    assert load(last)["step"] > 1
    run.signal(0, signal.SIGKILL)
    run.finish(-signal.SIGKILL)


def test_a_stop_in_validation_repeats_no_step(folder, monkeypatch):
    trained(folder, "whole")
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config()))
    args = ["--config", "c.yaml", "--name", "parts", "--resume"]
    evaluate = scoring.evaluate

    def stopping(*arguments):
        for result in evaluate(*arguments):
            os.kill(os.getpid(), signal.SIGTERM)
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "evaluate", stopping)
        stopped = run(folder, "train_liif.py", *args)
    assert stopped.returncode == 143
    assert "stopped after epoch 0, step 3" in stopped.stdout
    saved = load(folder / "save/parts/epoch-last.pth")
    assert (saved["epoch"], saved["step"]) == (0, 3)
    succeeds(folder, "train_liif.py", *args)
    assert_same_run(folder / "save/whole", folder / "save/parts")


def damages(data):
    yield b""
    yield bytes(len(data))
    for i in range(1, 20):
        yield data[: len(data) * i // 20]
    generator = torch.Generator().manual_seed(0)
    for at in torch.randint(len(data), (20,), generator=generator).tolist():
        yield data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(folder, monkeypatch):
    """A flipped byte of padding may go unnoticed: the result is right all the same."""
    trained(folder, "r", epoch_max=3)
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(epoch_max=3)))
    run_folder = folder / "save/r"
    whole = ended(run_folder)
    last, previous = run_folder / "epoch-last.pth", run_folder / "epoch-previous.pth"
    kept = {path: path.read_bytes() for path in (last, previous)}
    good = {str(path.relative_to(folder)): load(path) for path in kept}
    assert to_continue(run_folder) == [last, previous]
    args = ["--config", "c.yaml", "--name", "r", "--resume"]
    for broken in (b"", kept[last][: len(kept[last]) // 2]):
        last.write_bytes(broken)
        previous.write_bytes(kept[previous])
        out = succeeds(folder, "train_liif.py", *args)
        assert "epoch-last.pth: " in out
        assert "taking save/r/epoch-previous.pth" in out
        assert same(ended(run_folder), whole)
    previous.write_bytes(kept[previous])
    monkeypatch.chdir(folder)
    config = load_train("c.yaml", **REGISTRIES)
    unnoticed = 0
    for broken in damages(kept[last]):
        last.write_bytes(broken)
        state, _, path = first_good(config, torch.device("cpu"), 3, Path("save/r"))
        if path == "save/r/epoch-last.pth":
            unnoticed += 1
            assert not state.notes
        else:
            (note,) = state.notes
            assert note.startswith("save/r/epoch-last.pth: ")
            assert note.endswith("; taking save/r/epoch-previous.pth instead")
        assert same(state.checkpoint(config), good[path])
    assert unnoticed <= 5
    last.write_bytes(kept[last][:-9])
    previous.write_bytes(b"")
    error = fails(folder, "train_liif.py", *args)
    assert "epoch-last.pth: damaged" in error
    assert "epoch-previous.pth: damaged" in error
    for path in (last, previous):
        path.unlink()
    assert "neither epoch-last.pth nor" in fails(folder, "train_liif.py", *args)


def test_a_full_disk_leaves_the_old_checkpoint(folder, monkeypatch):
    trained(folder, "r", epoch_max=1)
    kept = (folder / "save/r/epoch-last.pth").read_bytes()
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(epoch_max=2)))

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        args = ["--config", "c.yaml", "--name", "r", "--resume", "--force"]
        error = fails(folder, "train_liif.py", *args)
    assert "No space left on device" in error
    assert (folder / "save/r/epoch-last.pth").read_bytes() == kept
    (folder / "save/r/epoch-previous.pth").unlink(missing_ok=True)
    (folder / "save/r/epoch-previous.pth").mkdir()
    (folder / "save/r/epoch-previous.pth/x").touch()
    assert "epoch-previous.pth" in fails(folder, "train_liif.py", *args)
    assert load(folder / "save/r/epoch-last.pth")["epoch"] >= 1


def test_numbers_that_are_not_finite_stop_the_run(folder):
    sgd = {"name": "sgd", "args": {"lr": 1e30}}
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(optimizer=sgd)))
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert "infinite or NaN at epoch 1, step 2" in error
    place = json.loads((folder / "save/r/not-finite.json").read_text())
    assert place["step"] == 2
    assert len(place["files"]) == 4
    assert all(Path(name).suffix == ".png" for name in place["files"])
    saved = load(folder / "save/r/epoch-last.pth")
    assert saved["step"] == 1
    assert all(torch.isfinite(weight).all() for weight in saved["model"]["sd"].values())


def test_bad_steps_are_skipped_up_to_a_number(folder):
    """Steps of an infinite loss: the weights stay as they are."""
    norm = {"inp": {"sub": [0.5], "div": [0.5]}, "gt": {"sub": [0.5], "div": [1e-45]}}
    changes = {"data_norm": norm, "epoch_max": 1, "val_dataset": None, "epoch_val": None}
    out = train(folder, "--name", "r", max_skipped=3, **changes)
    assert out.count("skipped step") == 3
    assert load(folder / "save/r/epoch-last.pth")["skipped"] == 3
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(max_skipped=2, **changes)))
    assert "epoch 1, step 3" in fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "s")


@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_the_workers(folder, workers):
    trained(folder, "none")
    train(folder, "--name", "some", num_workers=workers)
    assert_same_run(folder / "save/none", folder / "save/some")


def test_the_average_is_what_is_validated_and_saved(folder):
    train(folder, "--name", "r", ema=0.5, epoch_max=1, epoch_save=1, save_every={"steps": 1})
    saved = load(folder / "save/r/epoch-last.pth")
    assert saved["averaged"] == 3
    assert not same(saved["model"]["sd"], saved["trained_sd"])
    assert saved["trained_sd"].keys() == saved["model"]["sd"].keys()


def test_the_lock_ends_with_its_process(folder):
    trained(folder, "r", epoch_max=1)
    with FileLock(folder / "save/r/.lock", timeout=0):
        args = ["--config", "c.yaml", "--name", "r", "--overwrite"]
        assert "another process" in fails(folder, "train_liif.py", *args)
    succeeds(folder, "train_liif.py", *args)


def test_a_kill_in_the_very_first_save(folder, monkeypatch):
    """The best epoch is written before the last; a run must be there to go on with all the same."""
    import training.run_folder as run_folder

    trained(folder, "whole")
    write = run_folder.save_checkpoint

    def dies(path, checkpoint):
        write(path, checkpoint)
        if path.name == "epoch-best.pth":
            raise SystemExit(9)

    args = ["--config", "c.yaml", "--name", "killed", "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "save_checkpoint", dies)
        assert run(folder, "train_liif.py", *args).returncode == 9
    succeeds(folder, "train_liif.py", *args)
    assert_same_run(folder / "save/whole", folder / "save/killed")


def test_a_kill_between_the_lines_of_an_epoch(folder, monkeypatch):
    trained(folder, "whole")
    args = ["--config", "c.yaml", "--name", "killed", "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr("training.log.json.dumps", lambda _: (_ for _ in ()).throw(SystemExit(9)))
        assert run(folder, "train_liif.py", *args).returncode == 9
    succeeds(folder, "train_liif.py", *args)
    assert_same_run(folder / "save/whole", folder / "save/killed")


def test_a_kill_after_a_damaged_checkpoint_was_set_aside(folder):
    trained(folder, "r", epoch_max=1)
    run_folder = folder / "save/r"
    good = (run_folder / "epoch-last.pth").read_bytes()
    (run_folder / "epoch-previous.pth").write_bytes(b"damaged")
    (run_folder / "epoch-last.pth").rename(run_folder / ".epoch-new.pth")
    succeeds(folder, "train_liif.py", "--config", "c.yaml", "--name", "r", "--resume")
    (run_folder / "log.jsonl").write_bytes(b"\xff\nnot json\n\n")
    (run_folder / "epoch-last.pth").write_bytes(good)
    succeeds(folder, "train_liif.py", "--config", "c.yaml", "--name", "r", "--resume")
    assert [line["epoch"] for line in logged(run_folder)] == [1]


def test_fp16_and_skipped_steps(folder):
    norm = {"inp": {"sub": [0.5], "div": [0.5]}, "gt": {"sub": [0.5], "div": [1e-45]}}
    changes = {"data_norm": norm, "epoch_max": 1, "val_dataset": None, "epoch_val": None}
    out = train(folder, "--name", "r", max_skipped=3, amp="fp16", **changes)
    assert out.count("skipped step") == 3


def test_changes_by_force(folder):
    """Other batches begin the epoch again; without an average the trained weights go on."""
    trained(folder, "r", ema=0.5, epoch_max=1)
    path = folder / "save/r/epoch-last.pth"
    saved = load(path)
    torch.save({**saved, "epoch": 0, "step": 2, "loss_sum": 1.0, "samples": 8}, path)
    config = train_config(epoch_max=1, save_every={"steps": 1})
    config["train_dataset"]["batch_size"] = 6
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    args = ["--config", "c.yaml", "--name", "r", "--resume", "--force"]
    done = run(folder, "train_liif.py", *args)
    assert "batch_size: was 4, is 6" in done.stdout
    assert "epoch 1 begins again" in done.stdout
    assert "after epoch 0, step 0" in done.stdout
    begun = load(folder / "save/r/epoch-previous.pth")
    assert (begun["step"], begun["samples"]) == (2, 12)


def test_a_run_that_begins_with_anothers_checkpoint_has_its_own_best(folder):
    trained(folder, "a")
    train(folder, "--name", "b", resume="save/a/epoch-2.pth", eval_type="div2k-2")
    assert (folder / "save/b/epoch-best.pth").exists()
    assert [line["epoch"] for line in logged(folder / "save/b")] == [3, 4]


def test_the_rate_of_an_epoch_is_that_it_was_trained_with(folder):
    train(folder, "--name", "r")
    assert [line["lr"] for line in logged(folder / "save/r")] == [1e-3, 5e-4, 5e-4, 2.5e-4]


@pytest.mark.parametrize("published", [True, False])
def test_a_checkpoint_from_several_gpus_goes_on_bit_for_bit(folder, published):
    """Saved by other code from DataParallel, with numbers of NumPy."""
    keys = ("model", "optimizer", "epoch") if published else ()
    for name in ("plain", "wrapped"):
        trained(folder, name, ema=0.5, epoch_max=2)
        path = folder / "save" / name / "epoch-last.pth"
        saved = load(path)
        saved = {key: saved[key] for key in keys or saved}
        if name == "wrapped":
            for place, key in ((saved["model"], "sd"), (saved, "trained_sd")):
                if key in place:
                    place[key] = {f"module.{k}": value for k, value in place[key].items()}
            saved.update(epoch=np.int64(2), best=np.float64(saved.get("best", 0)))
        torch.save(saved, path)
        args = ["--input", "photos/0.png", "--scale", 2, "--model", path, "--overwrite"]
        succeeds(folder, "demo.py", *args)
        train(folder, "--name", name, "--resume", "--force", ema=0.5)
    plain, wrapped = (ended(folder / "save" / name) for name in ("plain", "wrapped"))
    assert wrapped["epoch"] == 4
    assert same(plain, {**wrapped, "best": plain["best"]} if published else wrapped)
