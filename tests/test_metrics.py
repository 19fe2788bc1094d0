"""A metric is one function and one row of the table."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from metrics import METRICS, Metric, compared
from tests.programs import pillow_bicubic, succeeds, write_tests


def mean_absolute_error(sr, hr, dataset=None, scale=1):
    return compared(sr - hr, dataset, scale).abs().mean()


ROW = Metric("MAE", mean_absolute_error, 4, more_is_better=False, about="mean absolute error, too")


def test_a_new_metric_is_measured_and_in_all_tables(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "mae", ROW)
    write_tests(photos, scales=(2,))
    files = {form: tmp_path / f"t.{form}" for form in ("json", "csv", "markdown", "latex")}
    options = [part for form, file in files.items() for part in (f"--{form}", file)]
    args = ["--config", "suite.yaml", "--model", "bicubic", "m.pth"]
    out = succeeds(photos, "test.py", *args, "--mae", *options)
    wanted = []
    for i in range(3):
        hr = Image.open(photos / "photos" / f"{i}.png")
        small = hr.resize((30, 27), Image.Resampling.BICUBIC)
        difference = (pillow_bicubic(small, (60, 54)) - np.asarray(hr)) / 255
        luma = difference @ np.array([65.738, 129.057, 25.064]) / 256
        wanted.append(np.abs(luma[2:-2, 2:-2]).mean())
    bicubic, other = json.loads(files["json"].read_text())["results"]
    assert [image["mae"] for image in bicubic["per_image"]] == pytest.approx(wanted, abs=1e-4)
    assert bicubic["mae"] == pytest.approx(np.mean(wanted), abs=1e-4)
    assert (bicubic["ssim"], bicubic["per_image"][0]["ssim"]) == (None, None)
    assert f"bicubic: {bicubic['psnr']:.4f}, MAE {bicubic['mae']:.4f}\n" in out
    table = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert [float(row["mae"]) for row in table] == [bicubic["mae"], other["mae"]]
    assert files["markdown"].read_text().startswith("| PSNR (dB) / MAE |")
    best = min(bicubic["mae"], other["mae"])
    assert rf"\textbf{{{best:.4f}}}" in files["latex"].read_text()
    assert ROW.about in succeeds(photos, "test.py", "--help")


def test_without_its_option_a_metric_is_not_measured(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(METRICS, "mae", ROW)
    write_tests(photos, scales=(2,))
    args = ["--config", "suite.yaml", "--model", "bicubic", "--json", tmp_path / "t.json"]
    assert "MAE" not in succeeds(photos, "test.py", *args)
    (row,) = json.loads((tmp_path / "t.json").read_text())["results"]
    assert row["mae"] is None
