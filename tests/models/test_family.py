"""Outputs, keys and sizes of the published models that followed LIIF."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from tests.golden import rules

GOLDEN = Path(__file__).parents[1] / "golden" / "family"
FILES = sorted(GOLDEN.glob("*.npz"))
COUNTS = {"swinir": 7, "lte": 6, "ltefast": 3, "lmliif": 7, "lmlte": 6, "srno": 5}


def test_all_cases_are_there():
    found = [path.stem.split("_")[0] for path in FILES]
    assert {name: found.count(name) for name in found} == COUNTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_model_agrees_with_published_output(path):
    golden = np.load(path)
    case = json.loads(str(golden["case"]))
    model = models.make(case["spec"]).eval()
    keys = [f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items()]
    assert sorted(keys) == golden["keys"].tolist()
    assert sum(parameter.numel() for parameter in model.parameters()) == case["params"]
    fill(model, case)
    with torch.no_grad():
        outputs = CALLS[case.get("call", "flat")](model, case)
    for name, output in outputs.items():
        tolerance = max(1e-5, 5 * case["noise"])
        np.testing.assert_allclose(output.numpy(), golden[name], atol=tolerance, rtol=0)


def fill(model: nn.Module, case: dict) -> None:
    """Parameters by rule; buffers stay as they were built."""
    for key, parameter in model.named_parameters():
        value = rules.weight(key, tuple(parameter.shape))
        *_, module, last = ["", *key.split(".")]
        if last == "weight" and parameter.ndim == 1 and module.startswith("norm"):
            value += case.get("norm_add", 0)
        for part, factor in case.get("gain", {}).items():
            value = value * np.float32(factor) if part in key else value
        parameter.data = torch.from_numpy(value)


def image(case: dict) -> Tensor:
    return torch.from_numpy((rules.batch(case) - 0.5) / 0.5)


def queries(case: dict) -> tuple[Tensor, Tensor]:
    coord, cell = (torch.from_numpy(x)[: case.get("queries")] for x in rules.queries(case))
    return coord, cell * case.get("cell_scale", 1)


def call_flat(model: nn.Module, case: dict) -> dict[str, Tensor]:
    inp = image(case)
    coord, cell = (x.expand(len(inp), -1, -1) for x in queries(case))
    return {"rgb": model(inp, coord, cell)}


def call_grid(model: nn.Module, case: dict) -> dict[str, Tensor]:
    """Coordinates (B, H, W, 2), a cell per image, colours (B, 3, H, W)."""
    inp = image(case)
    coord, cell = queries(case)
    one = torch.tensor(case["cell"]) if "cell" in case else cell[0]
    grid = coord.unflatten(0, tuple(case["hr"]) if "hr" in case else (1, -1))
    grid, one = grid.expand(len(inp), -1, -1, -1), one.expand(len(inp), -1)
    model.gen_feat(inp)
    rows = grid.split(case.get("bsize", grid.shape[1]), dim=1)
    return {"rgb": torch.cat([model.query_rgb(part, one) for part in rows], dim=2)}


def call_feat(model: nn.Module, case: dict) -> dict[str, Tensor]:
    channels, rows, cols = case.get("stride", [1, 1, 1])
    return {"feat": model(image(case))[:, ::channels, ::rows, ::cols]}


def call_window(model: nn.Module, case: dict) -> dict[str, Tensor]:
    """The published test of window encoders: the image is mirrored to more windows, then cut."""
    scale, window, (h, w) = case["scale"], case["window"], case["lr"]
    inp = image(case)
    for axis, n in ((2, h), (3, w)):
        more = (n // window + 1) * window - n
        inp = torch.cat([inp, inp.flip(axis)], axis).narrow(axis, 0, n + more)
    big = [scale * n for n in inp.shape[-2:]]
    coord, cell = queries({"lr": case["lr"], "coord": "grid", "hr": big})
    rgb = model(inp, coord.unsqueeze(0), cell.unsqueeze(0) * max(scale / 4, 1))
    return {"rgb": rgb.unflatten(1, big)[:, : scale * h, : scale * w].flatten(1, 2)}


CALLS = {"flat": call_flat, "grid": call_grid, "feat": call_feat, "window": call_window}
