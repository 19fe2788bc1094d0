"""Outputs, keys and shapes of the published implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from tests.golden import rules
from utils import calc_psnr

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(GOLDEN.glob("model_*.npz"))


def test_all_cases_are_there():
    assert len(FILES) == 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_model_agrees_with_published_output(path):
    golden = np.load(path)
    case = json.loads(str(golden["case"]))
    model = models.make(case["spec"]).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert sorted(f"{key} {shape}" for key, shape in shapes.items()) == golden["keys"].tolist()
    weights = {key: torch.from_numpy(rules.weight(key, s)) for key, s in shapes.items()}
    model.load_state_dict(weights)

    inp = torch.from_numpy((rules.batch(case) - 0.5) / 0.5)
    coord, cell = (torch.from_numpy(x).expand(len(inp), -1, -1) for x in rules.queries(case))
    with torch.no_grad():
        rgb = model(inp, coord, cell).numpy()
    assert np.abs(rgb - golden["rgb"]).max() <= 1e-5 * np.abs(golden["rgb"]).max()


@pytest.mark.parametrize("case", json.loads((GOLDEN / "psnr.json").read_text()), ids=str)
def test_psnr_agrees_with_published_value(case):
    sr, hr = (torch.from_numpy(x) for x in rules.psnr_pair(case))
    psnr = calc_psnr(sr, hr, case["dataset"], case["scale"])
    assert psnr.item() == pytest.approx(case["psnr"], abs=1e-4)
