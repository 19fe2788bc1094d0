"""Checkpoints that name the model that they were fine-tuned from."""

import pytest
import torch

import models.checkpoint as module
from models.checkpoint import load_checkpoint, load_model, save_checkpoint
from tests.cases import SPECS, make
from tests.programs import NORM, fails, succeeds

PROGRAM = "scripts/export_weights.py"


@pytest.fixture
def folder(tmp_path):
    """A base and a run that was fine-tuned from it, with what only training needs."""
    state = make("liif").state_dict()
    tuned = {key: value + 0.5 for key, value in state.items()}
    save_checkpoint(tmp_path / "base.pth", checkpoint(state))
    more = {"guard": False, "optimizer": {"name": "adam", "sd": {}}, "epoch": 3}
    save_checkpoint(tmp_path / "run.pth", {**checkpoint(tuned), **more})
    return tmp_path


def checkpoint(state, **changes):
    return {"model": {**SPECS["liif"], "sd": state}, "data_norm": NORM, **changes}


def test_the_base_is_written_beside_what_is_kept(folder):
    succeeds(folder, PROGRAM, "run.pth", "tuned.pth", "--base", "base.pth")
    kept = load_checkpoint(folder / "tuned.pth")
    assert kept.keys() == {"model", "data_norm", "guard", "base"}
    assert kept["base"] == "base.pth"
    found = load_model(folder / "tuned.pth", 0.5)[0].state_dict()
    for key, value in make("liif").state_dict().items():
        assert torch.equal(found[key], (value.double() * 0.5 + (value + 0.5).double() / 2).float())
    # Once more, also to another folder, as long as the base is found from there.
    succeeds(folder, PROGRAM, "tuned.pth", "again.pth")
    assert load_checkpoint(folder / "again.pth")["base"] == "base.pth"
    (folder / "other").mkdir()
    error = fails(folder, PROGRAM, "tuned.pth", "other/tuned.pth")
    assert error.endswith("lies neither in weights/ nor beside other/tuned.pth: copy it there")
    assert not (folder / "other/tuned.pth").exists()


def test_a_base_in_weights_is_written_by_its_name(tmp_path):
    for i, base in enumerate(("fast", module.WEIGHTS / "fast.pth")):
        fast = load_checkpoint("fast")
        save_checkpoint(tmp_path / "run.pth", {**fast, "epoch": 3})
        succeeds(tmp_path, PROGRAM, "run.pth", f"{i}.pth", "--base", base)
        assert load_checkpoint(tmp_path / f"{i}.pth")["base"] == "fast"
        assert load_model(tmp_path / f"{i}.pth", 0.5)[1] == fast["data_norm"]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("none.pth", "none.pth: cannot read the checkpoint: No such file"),
        ("fast", "run.pth: cannot be blended with fast: it is a 'liif', and the other a 'lmliif'"),
        ("norm.pth", "run.pth: cannot be blended with norm.pth: it has data_norm {"),
        ("tuned.pth", "tuned.pth: would replace its own base"),
    ],
)
def test_an_unfit_base_is_one_line_and_nothing_is_written(folder, base, message):
    state = make("liif").state_dict()
    norm = {**NORM, "gt": {"sub": [0.1], "div": [0.5]}}
    save_checkpoint(folder / "norm.pth", checkpoint(state, data_norm=norm))
    save_checkpoint(folder / "tuned.pth", checkpoint(state))
    before = (folder / "tuned.pth").read_bytes()
    error = fails(folder, PROGRAM, "run.pth", "tuned.pth", "--base", base)
    assert error.startswith(f"error: {message}")
    assert "\n" not in error
    assert (folder / "tuned.pth").read_bytes() == before
