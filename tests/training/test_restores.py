"""Checkpoints say whether a model was trained to improve what it does not enlarge."""

import pytest

from configs.schema import TrainConfig, parse_section
from models.checkpoint import load_checkpoint, load_model
from tests.programs import ROOT, succeeds, train_config
from training.state import trains_to_restore

NOISE = [{"name": "noise", "args": {"sigma": 9}}]


def config(name, **args):
    raw = train_config()
    raw["train_dataset"]["wrapper"] = {"name": name, "args": {"inp_size": 8, **args}}
    parsed, problems = parse_section(TrainConfig, raw)
    assert not problems
    return parsed


@pytest.mark.parametrize(
    ("name", "args", "wanted"),
    [
        ("sr-implicit-degraded", {"low": NOISE}, True),
        ("sr-implicit-degraded", {"high": NOISE, "scale_min": 1}, True),
        ("sr-implicit-degraded", {"low": NOISE, "scale_min": 2, "scale_max": 4}, False),
        ("sr-implicit-degraded", {}, False),
        ("sr-implicit-downsampled", {}, False),
    ],
)
def test_trainings_that_restore(name, args, wanted):
    assert trains_to_restore(config(name, **args)) is wanted


def test_the_model_in_the_box_does_and_the_others_do_not(tmp_path):
    assert [load_model(name)[0].restores for name in ("photo", "fast", "compact")] == [True, 0, 0]
    box = ROOT / "weights"
    args = [box / "photo.pth", "photo.pth", "--base", "fast"]
    succeeds(tmp_path, "scripts/export_weights.py", *args)
    assert load_checkpoint(tmp_path / "photo.pth")["restores"] is True
