"""Configs that change when a run is resumed, and checkpoints of other trainings."""

import copy
import json

import numpy as np
import pytest
import torch
import yaml

import models
from tests.cases import SPECS, make
from tests.programs import ended, fails, load, same, succeeds, train, train_config, trained

RESUME = ["--config", "c.yaml", "--name", "r", "--resume"]


def write(folder, **changes):
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**changes)))


def adam(**args):
    return {"name": "adam", "args": {"lr": 0.001, **args}}


def rates(run_folder):
    lines = (run_folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["lr"] for line in lines]


def test_a_changed_learning_rate_is_applied_and_logged(folder):
    trained(folder, "r", epoch_max=1)
    before = load(folder / "save/r/epoch-last.pth")["optimizer"]["sd"]["state"]
    write(folder, epoch_max=2, optimizer=adam(lr=1e-12), multi_step_lr=None)
    error = fails(folder, "train_liif.py", *RESUME)
    assert "optimizer.args.lr: was 0.001, is 1e-12" in error
    assert yaml.safe_load((folder / "save/r/config.yaml").read_text())["epoch_max"] == 1
    weights = load(folder / "save/r/epoch-last.pth")["model"]["sd"]
    succeeds(folder, "train_liif.py", *RESUME, "--force")
    assert rates(folder / "save/r") == [0.001, 1e-12]
    after = load(folder / "save/r/epoch-last.pth")
    for key, value in weights.items():
        torch.testing.assert_close(after["model"]["sd"][key], value, rtol=0, atol=1e-9)
    assert after["optimizer"]["args"] == {"lr": 1e-12}
    steps = [int(state["step"]) for state in after["optimizer"]["sd"]["state"].values()]
    assert set(steps) == {6}, "the moments went on"
    assert set(before) == set(after["optimizer"]["sd"]["state"])
    log = (folder / "save/r/log.txt").read_text()
    assert "changed: optimizer.args.lr: was 0.001, is 1e-12\n" in log
    assert (folder / "save/r/config.yaml").read_text() == (folder / "c.yaml").read_text()


def test_after_a_divergence_the_advice_can_be_followed(folder):
    trained(folder, "r", epoch_max=1)
    write(folder, optimizer=adam(lr=1e30))
    error = fails(folder, "train_liif.py", *RESUME, "--force")
    assert "lower the learning rate" in error
    assert "--resume --force" in error
    write(folder, optimizer=adam(lr=1e-4))
    succeeds(folder, "train_liif.py", *RESUME, "--force")
    assert rates(folder / "save/r") == [1e-3, 5e-5, 5e-5, 2.5e-5]


def test_the_same_change_in_the_middle_is_as_if_made_by_hand(folder):
    """Oracle: the checkpoint's own entry of the rate and weight decay edited, by torch's rules."""
    trained(folder, "r", epoch_max=1, multi_step_lr=None)
    (folder / "save/s").mkdir()
    torch.save(load(folder / "save/r/epoch-last.pth"), folder / "save/s/epoch-last.pth")
    changes = {"optimizer": adam(weight_decay=0.1, betas=[0.5, 0.6]), "multi_step_lr": None}
    changes.update(epoch_max=2, loss="mse", grad_clip=0.5)
    train(folder, "--name", "r", "--resume", "--force", **changes)
    train(folder, "--name", "s", "--resume", **changes)  # without a config of the past
    one, two = (ended(folder / "save" / name) for name in "rs")
    assert same(one["model"], two["model"])
    (group,) = one["optimizer"]["sd"]["param_groups"]
    assert (group["weight_decay"], list(group["betas"])) == (0.1, [0.5, 0.6])


@pytest.mark.parametrize(
    "changes",
    [
        {"num_workers": 1},
        {"skip_unreadable": True},
        {"eval_bsize": 100},
        {"save_every": {"steps": 2}},
        {"epoch_save": None},
        {"seed": 0, "ema": None, "accumulate": 1, "loss": "l1"},
        {"optimizer": adam(eps=1e-8, betas=[0.9, 0.999], amsgrad=False)},
        {"data_norm": {k: {"sub": [0.5] * 3, "div": [0.5]} for k in ("inp", "gt")}},
        {"model": {**SPECS["liif"], "args": {**SPECS["liif"]["args"], "feat_unfold": True}}},
        {"epoch_max": 2},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_no_result_never_blocks(folder, changes):
    trained(folder, "r", epoch_max=1)
    write(folder, **{"epoch_max": 1, **changes})
    succeeds(folder, "train_liif.py", *RESUME)


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch_max": 3},
        {"epoch_max": 2, "seed": 1},
        {"epoch_max": 2, "loss": "mse"},
        {"epoch_max": 2, "grad_clip": 1.0},
        {"epoch_max": 2, "multi_step_lr": None, "lr_schedule": "cosine", "warmup": 1},
    ],
)
def test_what_changes_a_result_is_asked_for(folder, changes):
    """A longer run, too, where the rate depends on its end."""
    schedule = {"multi_step_lr": None, "lr_schedule": "cosine"}
    trained(folder, "r", **{"epoch_max": 2, **schedule})
    write(folder, **{**schedule, **changes})
    assert "--force" in fails(folder, "train_liif.py", *RESUME)
    out = succeeds(folder, "train_liif.py", *RESUME, "--force")
    assert "changed: " in out


other_liif = copy.deepcopy(SPECS["liif"])
other_liif["args"]["imnet_spec"]["args"]["hidden_list"] = [16]
OTHERS = [
    ({"model": SPECS["lte"]}, "model.name: was liif, is lte"),
    ({"model": other_liif}, "model.args.imnet_spec.args.hidden_list: was [16, 16], is [16]"),
    (
        {"model": {"name": "liif", "args": {**SPECS["liif"]["args"], "local_ensemble": False}}},
        "model.args.local_ensemble: was True, is False",
    ),
    ({"optimizer": {"name": "sgd", "args": {"lr": 0.1}}}, "optimizer.name: was adam, is sgd"),
    ({"optimizer": adam(amsgrad=True)}, "optimizer.args.amsgrad: was False, is True"),
    (
        {"data_norm": {k: {"sub": [0.5], "div": [1.0]} for k in ("inp", "gt")}},
        "data_norm.inp.div: was [0.5, 0.5, 0.5], is [1.0, 1.0, 1.0]",
    ),
]


@pytest.mark.parametrize(("changes", "message"), OTHERS)
def test_what_cannot_be_applied_is_refused_with_what_to_do_instead(folder, changes, message):
    trained(folder, "r", epoch_max=1)
    before = (folder / "save/r/config.yaml").read_bytes()
    write(folder, **changes)
    error = fails(folder, "train_liif.py", *RESUME, "--force")
    assert message in error
    assert "pre_train: save/r/epoch-last.pth" in error
    assert (folder / "save/r/config.yaml").read_bytes() == before
    (folder / "save/r/config.yaml").unlink()  # the checkpoint itself says it, too
    assert message in fails(folder, "train_liif.py", *RESUME, "--force")


@pytest.mark.parametrize(("changes", "message"), OTHERS)
def test_resume_is_as_strict_as_pre_train(folder, changes, message):
    trained(folder, "first", epoch_max=1)
    write(folder, **changes, resume="save/first/epoch-last.pth")
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert message in error
    assert "pre_train: save/first/epoch-last.pth instead" in error
    assert not (folder / "save/r").exists()


def test_resume_beyond_the_end_says_so(folder):
    trained(folder, "first", epoch_max=2)
    write(folder, resume="save/first/epoch-last.pth", epoch_max=2)
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert "has 2 epochs behind it, and epoch_max is 2: nothing is left to train" in error
    assert "complete: 2 epochs of 2" in train(folder, "--name", "first", "--resume", epoch_max=2)


def test_another_validation_has_a_best_of_its_own(folder):
    trained(folder, "r", epoch_max=2)
    run_folder = folder / "save/r"
    old = (run_folder / "epoch-best.pth").read_bytes()
    write(folder, epoch_max=3, eval_type="div2k-20")  # what is left of the border is far worse
    out = succeeds(folder, "train_liif.py", *RESUME, "--force")
    assert "epoch-best-1.pth is the old one" in out
    assert (run_folder / "epoch-best-1.pth").read_bytes() == old
    best = load(run_folder / "epoch-best.pth")
    assert best["epoch"] == 3
    assert best["best"] < load(run_folder / "epoch-best-1.pth")["best"]
    assert (
        best["best"] == json.loads((run_folder / "log.jsonl").read_text().splitlines()[-1])["psnr"]
    )


def test_what_measures_the_same_keeps_the_best(folder):
    trained(folder, "r", epoch_max=2)
    config = train_config(epoch_max=2)
    config["val_dataset"]["batch_size"] = 2
    config["val_dataset"]["dataset"]["args"] = {"root_path": "./photos", "cache": "in_memory"}
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    succeeds(folder, "train_liif.py", *RESUME)
    assert not (folder / "save/r/epoch-best-1.pth").exists()
    (folder / "save/r/config.yaml").write_text("a: [")  # it may have had another validation
    out = succeeds(folder, "train_liif.py", *RESUME, "--force")
    assert "epoch-best-1.pth is the old one" in out


def in_published_order(checkpoint, order):
    """The checkpoint as code would have written it that registers parameters in this order."""
    names = [name for name, _ in models.make(checkpoint["model"]).named_parameters()]
    numbers = {name: number for number, name in enumerate(names)}
    state = checkpoint["optimizer"]["sd"]["state"]
    moved = {i: state[numbers[n]] for i, n in enumerate(order) if numbers[n] in state}
    sd = checkpoint["model"]["sd"]
    keys = [*order, *(key for key in sd if key not in order)]
    optimizer = {**checkpoint["optimizer"]["sd"], "state": moved}
    return {
        "model": {**checkpoint["model"], "sd": {key: sd[key] for key in keys}},
        "optimizer": {**checkpoint["optimizer"], "sd": optimizer},
        "epoch": checkpoint["epoch"],
    }


def test_moments_find_their_parameters_in_files_of_another_order(folder):
    """As `lmlte` of the published code and of earlier versions here: by the keys of the weights."""
    config = {"model": SPECS["lmlte"]}
    whole = trained(folder, "whole", epoch_max=2, **config)
    trained(folder, "first", epoch_max=1, **config)
    checkpoint = load(folder / "save/first/epoch-last.pth")
    names = [name for name, _ in make("lmlte").named_parameters()]
    order = [names[i] for i in np.random.default_rng(0).permutation(len(names))]
    torch.save(in_published_order(checkpoint, order), folder / "p.pth")
    train(folder, "--name", "second", epoch_max=2, resume="p.pth", **config)
    ends = [ended(folder / "save" / name) for name in ("whole", "second")]
    assert whole
    assert same(ends[0]["model"]["sd"], ends[1]["model"]["sd"])


@pytest.mark.parametrize("harm", ["shape", "count", "kind"])
def test_moments_of_other_parameters_are_refused(folder, harm):
    trained(folder, "first", epoch_max=1)
    checkpoint = load(folder / "save/first/epoch-last.pth")
    optimizer = checkpoint["optimizer"]["sd"]
    if harm == "shape":
        optimizer["state"][4]["exp_avg"] = torch.zeros(1, 2)
    elif harm == "count":
        optimizer["param_groups"][0]["params"].pop()
    else:
        optimizer["state"][4] = 3
    torch.save(checkpoint, folder / "p.pth")
    write(folder, resume="p.pth")
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert "p.pth: the optimizer's state does not fit" in error


def test_a_published_config_that_resumes_its_own_run(folder):
    own = {"resume": "./save/_c/epoch-last.pth"}
    write(folder, epoch_max=1, **own)
    out = succeeds(folder, "train_liif.py", "--config", "c.yaml")
    assert "resume: ./save/_c/epoch-last.pth: does not exist yet: the run begins" in out
    write(folder, epoch_max=2, **own)
    out = succeeds(folder, "train_liif.py", "--config", "c.yaml")  # as the published code has it
    assert "continued from save/_c/epoch-last.pth after epoch 1" in out
    write(folder, epoch_max=3, resume="save/_c/epoch-last.pth")
    out = succeeds(folder, "train_liif.py", "--config", "c.yaml", "--set", "epoch_max=2")
    assert "complete: 2 epochs of 2" in out, "with or without ./"
    out = succeeds(folder, "train_liif.py", "--config", "c.yaml", "--name", "n", "--overwrite")
    assert "continued from save/_c/epoch-last.pth after epoch 2" in out
    out = succeeds(folder, "train_liif.py", "--config", "c.yaml", "--overwrite")
    assert "resume: save/_c/epoch-last.pth: is set aside: the run begins" in out
    write(folder, resume="save/_c/epoch-77.pth")
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "m")
    assert "save/_c/epoch-77.pth: cannot read the checkpoint" in error
    write(folder, resume="./save/_other/epoch-last.pth")
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "m")
    assert "save/_other/epoch-last.pth: cannot read the checkpoint" in error


def test_pre_train_of_an_encoder_alone(folder):
    """From a checkpoint of a whole model, of an encoder, and from bare state dicts."""
    donor = make("lte")
    encoder = {f"encoder.{k}": v for k, v in donor.encoder.state_dict().items()}
    spec = SPECS["lte"]["args"]["encoder_spec"]
    torch.save({"model": {**SPECS["lte"], "sd": donor.state_dict()}}, folder / "whole.pth")
    bare = donor.encoder.state_dict()
    torch.save({"model": {**spec, "sd": bare}}, folder / "encoder.pth")
    torch.save(bare, folder / "bare.pt")
    tail = {"tail.0.0.weight": torch.zeros(1)}  # an upsampler that is not wanted here
    torch.save({"params": {**bare, **tail}}, folder / "params.pth")
    config = {"freeze": ["encoder"], "epoch_max": 1}
    for name in ("whole.pth", "encoder.pth", "bare.pt", "params.pth"):
        train(folder, "--name", name, pre_train={"encoder": name}, **config)
        trained = load(folder / "save" / name / "epoch-last.pth")["model"]["sd"]
        assert all(torch.equal(trained[key], value) for key, value in encoder.items()), name
    write(folder, pre_train={"encodr": "bare.pt"})
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert "pre_train: the model has no part 'encodr'; did you mean 'encoder'?" in error
    write(folder, pre_train={"imnet": "bare.pt"})
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert "bare.pt: these weights do not fit the imnet of the config's model" in error


def test_pre_train_from_a_bare_state_dict_says_what_it_lacks(folder):
    state = make("liif").state_dict()
    del state["imnet.layers.0.weight"]
    torch.save(state, folder / "bare.pt")
    out = train(folder, "--name", "r", pre_train="bare.pt", epoch_max=1)
    wanted = (
        f"bare.pt: lacks 1 of {len(state) + 1} weights, which begin anew: imnet.layers.0.weight"
    )
    assert wanted in out


def test_frozen_parts_stay_as_they_are(folder):
    train(folder, "--name", "r", epoch_max=1, freeze=["encoder.body", "imnet"])
    frozen = load(folder / "save/r/epoch-last.pth")["model"]["sd"]
    train(folder, "--name", "begun", epoch_max=1, optimizer=adam(lr=1e-30))
    begun = load(folder / "save/begun/epoch-last.pth")["model"]["sd"]
    same_keys = {key for key in begun if torch.equal(begun[key], frozen[key])}
    parts = ("encoder.body.", "imnet.", "encoder.sub_mean.", "encoder.add_mean.")
    assert same_keys == {key for key in begun if key.startswith(parts)}
    write(folder, freeze=["encoder", "imnet"])
    assert "leaves nothing to train" in fails(folder, "train_liif.py", "--config", "c.yaml")
    write(folder, freeze=["body"])
    assert "the model has no part 'body'" in fails(folder, "train_liif.py", "--config", "c.yaml")
    write(folder, epoch_max=2)  # later all of it
    succeeds(folder, "train_liif.py", *RESUME, "--force")
