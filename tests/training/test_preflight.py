"""What is said of a training before an image is read."""

import copy
import json
import os
import signal
import sys

import pytest
import yaml
from PIL import Image

import training.loop
from configs.load import load_train
from configs.source import read_source
from tests.cases import IMNET, SPECS
from tests.configs.test_load import REGISTRIES
from tests.programs import (
    NORM,
    ROOT,
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
from tests.training.test_changes import adam, rates, write
from training.preflight import preflight

TRAININGS = [*ROOT.glob("configs/train-*/*.yaml"), ROOT / "configs/quickstart/train.yaml"]


def test_values_on_the_command_line(folder):
    write(folder, epoch_max=3)
    args = ["--config", "c.yaml", "--name", "r"]
    settings = ["epoch_max=1", "optimizer.args.lr=2e-4", "multi_step_lr.milestones.0=2"]
    settings += ["data_norm.inp.sub=[0.4]", "grad_clip=1"]
    options = [part for setting in settings for part in ("--set", setting)]
    succeeds(folder, "train_liif.py", *args, *options)
    kept = yaml.safe_load((folder / "save/r/config.yaml").read_text())
    wanted = train_config(epoch_max=1, optimizer=adam(lr=2e-4), grad_clip=1)
    wanted["multi_step_lr"]["milestones"] = [2, 3]
    wanted["data_norm"] = {**NORM, "inp": {"sub": [0.4], "div": [0.5]}}
    assert kept == wanted
    assert (
        (folder / "save/r/config.yaml").read_text().startswith("# 'c.yaml'\n# --set 'epoch_max=1'")
    )
    assert rates(folder / "save/r") == [2e-4]
    succeeds(folder, "train_liif.py", *args, "--resume", *options)
    assert "changed" not in (folder / "save/r/log.txt").read_text()
    for setting, message in {
        "lr=1": "--set lr=1: did you mean optimizer.args.lr?",
        "epoch_mx=1": "epoch_mx: unknown key; did you mean 'epoch_max'?",
        "epoch_max": "--set epoch_max: expected KEY=VALUE",
        "epoch_max=x": "epoch_max: input should be a valid integer, got 'x'",
        "epoch_max.a=1": "--set epoch_max.a=1: there is no mapping to put 'a' into",
        "multi_step_lr.milestones.7=1": "the list has no place 7, only 0 to 1",
        "a=[": "--set a=[: the value cannot be read",
        "a={b: 1, b: 2}": "the key 'b' is given twice",
    }.items():
        assert message in fails(folder, "train_liif.py", *args, "--resume", "--set", setting)


def test_a_stop_in_the_validation_before_the_first_epoch_keeps_the_loss(folder, monkeypatch):
    """Of a run that was stopped in the middle of an epoch."""
    trained(folder, "whole", epoch_max=1)
    real = training.loop.train_step
    steps = iter(range(99))

    def stopping(*args, **options):
        if next(steps) == 1:
            signal.raise_signal(signal.SIGTERM)
        return real(*args, **options)

    args = ["--config", "c.yaml", "--name", "r", "--resume"]
    with monkeypatch.context() as patch:
        patch.setattr("training.loop.train_step", stopping)
        assert run(folder, "train_liif.py", *args).returncode == 143
    assert load(folder / "save/r/epoch-last.pth")["step"] == 2
    with monkeypatch.context() as patch:
        patch.setattr("training.loop.eval_psnr", lambda *_, **__: sys.exit(3))
        assert run(folder, "train_liif.py", *args, "--validate-first").returncode == 3
    succeeds(folder, "train_liif.py", *args)
    losses = [ended(folder / "save" / name)["record"]["loss"] for name in ("whole", "r")]
    assert losses[0] == losses[1]


def test_a_validation_before_the_first_epoch(folder):
    trained(folder, "plain", epoch_max=1)
    out = train(folder, "--name", "r", "--validate-first", epoch_max=1)
    psnr = float(out.split("before epoch 1: val: psnr=")[1].split()[0])
    assert 5 < psnr < 20
    assert same(*(ended(folder / "save" / n)["model"] for n in ("plain", "r")))
    out = train(folder, "--name", "r", "--resume", "--validate-first", epoch_max=2)
    last = json.loads((folder / "save/r/log.jsonl").read_text().splitlines()[0])["psnr"]
    assert f"before epoch 2: val: psnr={last:.4f}" in out
    write(folder, epoch_val=None)
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--validate-first")
    assert "no val_dataset with an epoch_val" in error


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"epoch_val": None}, "val_dataset is never used: give epoch_val, too"),
        ({"val_dataset": None}, "epoch_val comes to nothing: there is no val_dataset"),
        ({"epoch_val": 3}, "val_dataset is never used: epoch_val 3 is more than epoch_max 1"),
    ],
)
def test_a_validation_that_is_never_run_is_said(folder, changes, line):
    assert f"\n{line}\n" in train(folder, epoch_max=1, **changes)


@pytest.mark.parametrize("name", ["..", "../x", "/tmp/x", "", "a/../../b", "."])
def test_a_name_does_not_leave_the_folder_of_runs(folder, name):
    write(folder)
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", name)
    assert "is no name of a folder below save/" in error


def test_a_config_from_a_pipe_is_read_once(folder):
    write(folder, epoch_max=1)
    reading, writing = os.pipe()
    os.write(writing, (folder / "c.yaml").read_bytes())
    os.close(writing)
    path = f"/dev/fd/{reading}"
    assert "give --name" in fails(folder, "train_liif.py", "--config", path)
    succeeds(folder, "train_liif.py", "--config", path, "--name", "r")
    assert (folder / "save/r/config.yaml").read_bytes() == (folder / "c.yaml").read_bytes()
    error = fails(folder, "train_liif.py", "--config", path, "--name", "r", "--gpu", "cpu,cpu")
    assert "several processes cannot read a pipe" in error
    os.close(reading)


@pytest.mark.parametrize("path", sorted(TRAININGS), ids=lambda path: path.stem)
def test_every_shipped_config_trains_a_tiny_batch(path):
    raw = copy.deepcopy(read_source(path).raw)
    for key in {"train_dataset", "val_dataset"} & raw.keys():
        raw[key]["dataset"]["args"] = {}  # whose folders are not here
    config = load_train(path, **REGISTRIES)
    assert preflight(raw, config, begins=False) == ([], 3)


def test_mistakes_of_all_kinds_beside_one_of_the_schema(folder):
    changes = {"epoch_max": "x", "pre_train": "no.pth", "freeze": ["nopart"]}
    write(folder, **changes, optimizer=adam(lr="1e-3"))
    lines = fails(folder, "train_liif.py", "--config", "c.yaml").splitlines()
    places = [line.split(": ")[2] for line in lines]
    assert sorted(places) == ["epoch_max", "freeze", "optimizer.args.lr", "pre_train"]


def test_what_a_model_is_for_is_what_a_dataset_reads(folder):
    config = broken(train_dataset__dataset__args__channels=1)
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    error = fails(folder, "train_liif.py", "--config", "c.yaml")
    assert "train_dataset.dataset.args.channels: is 1, and the model is for 3" in error
    assert not (folder / "save").exists()


def broken(**changes):
    config = train_config()
    for key, value in changes.items():
        tree, *way = config, *key.split("__")
        *steps, last = way
        for step in steps:
            tree = tree[step]
        tree[last] = value
    return config


MISTAKES = {
    "optimizer": ("optimizer", adam(lr=-1.0), "Invalid learning rate: -1.0"),
    "betas": ("optimizer", adam(betas=[1.5, 0.9]), "Invalid beta parameter"),
    "scale": (
        "train_dataset__wrapper__args",
        {"inp_size": 8, "scale_min": 3, "scale_max": 2},
        "train_dataset.wrapper: scale_max 2 is less than scale_min 3",
    ),
    "channels": (
        "model",
        {
            "name": "liif",
            "args": {
                **SPECS["liif"]["args"],
                "imnet_spec": {**IMNET, "args": {"out_dim": 2, "hidden_list": [8]}},
            },
        },
        "model: ",
    ),
    "encoder as model": ("model", SPECS["liif"]["args"]["encoder_spec"], "is a part, not a"),
    "mlp as encoder": (
        "model",
        {
            "name": "liif",
            "args": {
                "encoder_spec": {
                    "name": "mlp",
                    "args": {"in_dim": 2, "out_dim": 3, "hidden_list": []},
                },
                "imnet_spec": IMNET,
            },
        },
        "is no encoder",
    ),
    "resume": ("resume", "gone.pth", "resume: gone.pth: cannot read the checkpoint"),
    "pre_train": ("pre_train", "gone.pth", "pre_train: gone.pth: cannot read the checkpoint"),
    "split": (
        "train_dataset__dataset__args",
        {"root_path": "photos", "split_file": "gone.json", "split_key": "a"},
        "train_dataset.dataset.args.split_file: gone.json: there is no such file",
    ),
    "validation": (
        "val_dataset__dataset__args",
        {"root_path": "gone"},
        "val_dataset.dataset.args.root_path: gone: there is no such folder",
    ),
    "training": (
        "train_dataset__dataset__args",
        {"root_path": "gone"},
        "train_dataset.dataset.args.root_path: gone: there is no such folder",
    ),
    "freeze": ("freeze", ["body"], "freeze: the model has no part 'body'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_is_found_before_an_image_is_read_and_with_others(folder, name, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("an image is read")

    monkeypatch.setattr("datasets.image_folder.read_image", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    key, value, message = MISTAKES[name]
    config = broken(**{key: value})
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    assert message in fails(folder, "train_liif.py", "--config", "c.yaml")
    other = (
        ("optimizer__args__lr", -2.0)
        if key != "optimizer"
        else ("val_dataset__dataset__args__root_path", "no")
    )
    tree = copy.deepcopy(config)
    *steps, last = other[0].split("__")
    place = tree
    for step in steps:
        place = place[step]
    place[last] = other[1]
    (folder / "c.yaml").write_text(yaml.safe_dump(tree))
    done = run(folder, "train_liif.py", "--config", "c.yaml")
    assert message in done.stderr
    assert ("learning rate: -2.0" in done.stderr) or ("no: there is no such folder" in done.stderr)
    assert not (folder / "save").exists()
