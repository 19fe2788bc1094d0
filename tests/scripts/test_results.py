"""The scripts behind the model in the box: its file, its picture, its table."""

import math
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from configs.yaml_file import read_yaml
from evaluation.run import Report
from models.checkpoint import save_checkpoint
from reports import Result
from tests.cases import SPECS, make
from tests.programs import NORM, ROOT, fails, load, succeeds, write_tests

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))


def test_exported_weights_render_as_the_checkpoint_and_hold_no_more(photos, tmp_path):
    trained = {**load(photos / "m.pth"), "optimizer": {"name": "adam", "sd": {}}, "epoch": 3}
    save_checkpoint(tmp_path / "run.pth", trained)
    succeeds(tmp_path, "scripts/export_weights.py", "run.pth", "small.pth")
    kept = load(tmp_path / "small.pth")
    assert kept.keys() == {"model", "data_norm"}
    assert kept["data_norm"] == NORM
    for name, value in trained["model"]["sd"].items():
        assert torch.equal(kept["model"]["sd"][name], value)


def test_the_comparison_is_drawn(photos, tmp_path):
    write_tests(photos)
    options = ["--config", "suite.yaml", "--model", "m.pth", "--side", "50"]
    picture = tmp_path / "c.png"
    succeeds(photos, "scripts/compare.py", *options, "--scale", "2", "--output", picture)
    assert Image.open(picture).size == (200, 150)
    succeeds(photos, "scripts/compare.py", *options, "--scale", "3.7", "--output", picture)
    suite = yaml.safe_load((photos / "suite.yaml").read_text())
    suite["tests"][0]["test_dataset"]["wrapper"]["args"]["scale_min"] = 2
    suite["tests"][0].update(scales=[2], eval_type=None)
    (tmp_path / "fixed.yaml").write_text(yaml.safe_dump(suite))
    options[1] = tmp_path / "fixed.yaml"
    error = fails(photos, "scripts/compare.py", *options, "--scale", "7")
    assert f"--scale 7: not in {tmp_path / 'fixed.yaml'}" in error


def test_costs_are_counted(tmp_path):
    from results_table import costs

    spec = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16, 16]}}
    model = make("liif", imnet_spec=spec, cell_decode=False)
    args = {**SPECS["liif"]["args"], "imnet_spec": spec, "cell_decode": False}
    saved = {"name": "liif", "args": args, "sd": model.state_dict()}
    save_checkpoint(tmp_path / "m.pth", {"model": saved})
    found = costs(str(tmp_path / "m.pth"))
    # Four codes, each through 16 x 16 and 16 x 3, and two coordinates added to the first layer.
    wanted = 4 * (16 * 16 + 16 * 3 + 2 * 16) / 1000
    assert float(found["decoder"].split()[0]) == pytest.approx(wanted, abs=0.5)
    # Head 27 x 8, two blocks of two, one more of 9 x 8 x 8, and the first layer on nine codes.
    wanted = (27 * 8 + 5 * 9 * 64 + 9 * 8 * 16) / 1000
    assert float(found["encoder"].split()[0]) == pytest.approx(wanted, abs=0.5)


def tables_of(text):
    """{title: rows of cells} of a Markdown text."""
    parts = [part.splitlines() for part in text.split("### ")[1:]]
    return {
        title: [
            [cell.strip() for cell in line.split("|")[1:-1]] for line in rest if line[:1] == "|"
        ]
        for title, *rest in parts
    }


def test_the_tables_of_restoration(monkeypatch, capsys):
    """Bicubic, published rows and each model, from what their evaluation says."""
    import results_table

    ran = []

    def evaluated(names, cases, plan, *_):
        ran.append(names)
        (model,) = names
        assert plan.metrics == ("psnr",)
        values = [{"psnr": len(model) + case.scale} for case in cases]
        found = zip(cases, values, strict=True)
        return Report([Result(case.name, case.scale, value) for case, value in found], {})

    monkeypatch.setattr(results_table, "evaluate", evaluated)
    monkeypatch.setattr(results_table, "costs", lambda name: {"parameters": "1 k", "decoder": "-"})
    monkeypatch.setattr(sys, "argv", ["results_table.py", "--restoration", "--model"])
    sys.argv += ["bicubic", "fast", "m.pth"]
    results_table.main()
    assert len(ran) == 3
    tables = tables_of(capsys.readouterr().out)
    head, _, *rows = tables["JPEG, on luma, PSNR (dB)"]
    assert head == ["model", "parameters", "decoder", *(f"LIVE1 q{q}" for q in (10, 20, 30, 40))]
    found = {row[0]: row[1:] for row in rows}
    assert list(found) == [
        "bicubic",
        "AR-CNN (ICCV 2015), per quality",
        "DnCNN-3 (TIP 2017)",
        "FBCNN (ICCV 2021)",
        "**fast**",
        "**m.pth**",
    ]
    assert found["DnCNN-3 (TIP 2017)"] == ["665 k", "-", "29.19", "31.59", "32.98", "33.96"]
    assert found["**fast**"] == ["1 k", "-", *["5.00"] * 4]
    head, _, *rows = tables["Gaussian noise, on RGB, PSNR (dB)"]
    assert head[3:] == ["CBSD68 s15", "CBSD68 s25", "CBSD68 s50"]
    assert ["FFDNet (TIP 2018), told sigma", "-", "-", "33.87", "31.21", "27.96"] in rows
    head, _, *rows = tables["B100, shrunk, with noise and JPEG, PSNR (dB)"]
    columns = [f"B100 degraded q{q} x{s:g}" for q in (30, 75) for s in (1, 2, 2.5, 4)]
    assert head[3:] == columns
    assert rows[0] == ["bicubic", "-", "-", *["8.00", "9.00", "9.50", "11.00"] * 2]
    assert len(tables) == 4


def test_noise_is_as_strong_as_its_sigma_says():
    noisy = read_yaml(ROOT / "docs/published.yaml")["the noisy image, not cut off"]
    for sigma in (15, 25, 50):
        assert noisy[f"CBSD68 s{sigma}"][1] == round(20 * math.log10(255 / sigma), 2)


def test_the_table_leaves_out_rows_without_numbers():
    from results_table import psnr_table

    rows = [
        {"name": "a", "parameters": "1 k", "Set5": {2: 37.004}, "Set14": {}, "B100": {}},
        {"name": "b", "Set5": {8: 20.0}},
    ]
    head, _, row = psnr_table(rows, (2, 3)).splitlines()
    assert head.split("|")[4].strip() == "Set5 x2"
    assert [cell.strip() for cell in row.split("|")[1:7]] == ["a", "1 k", "-", "37.00", "-", "-"]
