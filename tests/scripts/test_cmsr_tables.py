import json

import numpy as np
import pytest
import torch

from models.checkpoint import load_checkpoint, load_model, save_checkpoint
from tests.cases import SPECS, make
from tests.test_programs import fails, photos, succeeds
from utils import make_cell, make_coord, sample_bilinear

__all__ = ["photos"]  # a fixture
SCRIPT = "scripts/cmsr_tables.py"


@pytest.fixture
def folder(photos):
    for name in ("lmliif", "liif"):
        model = {**SPECS[name], "sd": make(name).state_dict()}
        save_checkpoint(photos / f"{name}.pth", {"model": model, "epoch": 1})
    return photos


def measured(folder, *args):
    args = ["--model", "lmliif.pth", "--input", "photos", "--scale", "5", "--side", "12", *args]
    succeeds(folder, SCRIPT, *args, "--output", "n.pth")
    model, _ = load_model(folder / "n.pth")
    return load_checkpoint(folder / "n.pth")["model"]["args"]["cmsr_spec"]["s2m_tables"][5], model


def pictures(composed):
    """At x5: all rendered; x1 enlarged, with the modulation for x5; and as composed."""
    plain, inp = make("lmliif"), torch.randn(1, 3, 9, 8)
    coord, little = (make_coord(size).unsqueeze(0) for size in ((45, 40), (9, 8)))
    cell = (make_cell((45, 40)) * 5 / 4).view(1, 1, 2)  # as for x4
    with torch.no_grad():
        latent = plain.encode(inp)
        codes, _ = plain.modulate(latent, cell)
        small = plain.render(latent, codes, little, make_cell((9, 8)).view(1, 1, 2))
        enlarged = sample_bilinear(small.mT.unflatten(2, (9, 8)), coord)
        cells = cell.expand_as(coord)
        return plain(inp, coord, cells), enlarged, composed(inp, coord, cells)


def test_without_tolerance_all_is_rendered(folder):
    table, model = measured(folder, "--mse", "0")
    assert list(table) == [1, 1.5, 2, 3, 4, 5]
    assert table[1] < 0.3  # the intensities that no code has
    full, _, composed = pictures(model)
    inner = torch.isclose(full, composed, atol=1e-4).all(-1).float().mean()
    assert inner > 0.7  # at the border coordinates are not the same


def test_with_any_tolerance_nothing_is_but_x1(folder):
    table, model = measured(folder, "--mse", "1e9")
    assert table == {1: 1, 1.5: 1, 2: 1, 3: 1, 4: 1, 5: 1}
    _, enlarged, composed = pictures(model)
    torch.testing.assert_close(composed, enlarged, atol=1e-4, rtol=0)


def test_thresholds_rise_with_the_scale(folder):
    tables = [measured(folder, "--mse", mse)[0] for mse in ("1e-5", "1e-2")]
    for table in tables:
        assert list(table.values()) == sorted(table.values())
    assert np.all(np.array(list(tables[0].values())) <= list(tables[1].values()))


def test_tables_of_a_file(folder):
    (folder / "t.json").write_text(json.dumps({"8": {"1": 0.02, "8": 1}}))
    args = ["--model", "lmliif.pth", "--tables", "t.json", "--output", "n.pth"]
    assert "x8: x1 up to 0.02, x8 up to 1.00" in succeeds(folder, SCRIPT, *args)
    model, _ = load_model(folder / "n.pth")
    assert model.cmsr.s2m_tables == {8: {1: 0.02, 8: 1}}


def test_mistakes(folder):
    (folder / "n.pth").unlink(missing_ok=True)
    out = ["--output", "n.pth"]
    args = ["--model", "liif.pth", "--input", "photos", *out]
    assert "liif.pth: 'liif' has no modulation" in fails(folder, SCRIPT, *args)
    args = ["--model", "lmliif.pth", "--input", "photos", *out]
    assert "up to x4" in fails(folder, SCRIPT, *args, "--scale", "3")
    (folder / "t.yaml").write_text("4: {1: much}")
    args = ["--model", "lmliif.pth", "--tables", "t.yaml", *out]
    assert "t.yaml: s2m_tables.4.1" in fails(folder, SCRIPT, *args)
    assert not (folder / "n.pth").exists()
