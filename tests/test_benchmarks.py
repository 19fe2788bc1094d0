"""The benchmarks run, and what they compare is the same thing."""

import json
import sys

import pytest
from torch import nn

import models
from benchmarks import bench_data, bench_model, bench_train, count_model
from benchmarks.measure import model_spec
from tests import cases


def rows(capsys, monkeypatch, module, *args):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, args)])
    module.main()
    *_, line = capsys.readouterr().out.splitlines()
    result = json.loads(line)
    assert {"benchmark", "date", "torch", "python", "device", "threads"} < result.keys()
    return result["rows"]


@pytest.mark.parametrize(
    "config",
    [
        *(
            f"train-div2k/train_edsr-baseline-{name}"
            for name in ("liif", "metasr", "lte", "lmliif")
        ),
        "train-compact/train_fast",
    ],
)
def test_rendering(capsys, monkeypatch, config):
    config = f"configs/{config}.yaml"
    args = ["--config", config, "--size", 6, 9, "--scale", 2.5, "--rounds", 1, "--literal"]
    for row in rows(capsys, monkeypatch, bench_model, *args):
        assert min(row["whole s"], row["encode s"]) > 0  # which is longer is luck at this size
        assert row["times faster"] > 0
        assert row["largest difference"] < 1e-4


def test_rendering_beside_a_busy_process(capsys, monkeypatch):
    args = ["--size", 6, "--scale", 2, "--rounds", 1, "--literal", "--beside"]
    (row,) = rows(capsys, monkeypatch, bench_model, *args)
    assert min(row["whole beside s"], row["beside/alone"], row["times faster beside"]) > 0


@pytest.mark.parametrize("name", ["liif", "lte"])
def test_gray_models(name):
    model = cases.make(name, **cases.GRAY_ARGS[name])
    row = bench_model.measure(model, name, 6, 2.5, rounds=1, literal=True)
    assert row["largest difference"] < 1e-4
    per_pixel, per_query = count_model.multiply_adds(model)
    three = count_model.multiply_adds(cases.make(name))
    last = 4 * 2 * 16  # two of its outputs, at four corners
    assert (per_pixel, per_query) == (three[0], three[1] - last)


def test_multiply_adds_of_liif_and_lmliif(capsys, monkeypatch):
    configs = [
        f"configs/train-div2k/train_edsr-baseline-{name}.yaml" for name in ("liif", "lmliif")
    ]
    made = [models.make(model_spec(path)) for path in configs]
    encoder = sum(c.weight.numel() for c in made[0].encoder.modules() if c.__class__ is nn.Conv2d)
    counts = [count_model.multiply_adds(model) for model in made]
    # Of LIIF once per pixel the 3 x 3 neighbours' part of the first layer, the rest per corner.
    assert counts[0] == (encoder + 576 * 256, 4 * (4 * 256 + 3 * 256**2 + 256 * 3))
    # Of LM-LIIF once the hypernet with the cell, and the code's part of the first layer.
    hypernet = 578 * 208 + 208 * 208
    # A query has one cell for all corners.
    query = 2 * 16 + 4 * (2 * 16 + 5 * 16**2 + 16 * 3)
    assert counts[1] == (encoder + hypernet + 16 * 16, query)
    monkeypatch.setattr("sys.argv", ["count_model", "--config", configs[1]])
    count_model.main()
    row = capsys.readouterr().out.splitlines()[-1]
    assert row == "| edsr-baseline-lmliif | 1.22 M | 166 k | 1.38 M | 5.47 k |"


def test_training(capsys, monkeypatch):
    args = ["--batch", 1, "--size", 6, "--queries", 20, "--amp", "bf16", "--literal", "--rounds", 1]
    found = rows(capsys, monkeypatch, bench_train, *args)
    assert [row["step"] for row in found] == ["fp32", "bf16", "literal"]
    assert all(row["steps/s"] > 0 for row in found)


def test_the_literal_step_trains_as_ours_does():
    spec = bench_train.model_spec(bench_train.DEFAULT_CONFIG)
    spec["args"]["encoder_spec"]["args"].update(n_resblocks=1, n_feats=8)
    batch = bench_train.random_batch(2, 6, 30, bench_train.torch.device("cpu"))
    losses = []
    for make in (bench_train.make_step, bench_train.make_literal_step):
        bench_train.torch.manual_seed(0)
        step = make(spec, batch)
        losses.append([float(step()) for _ in range(5)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_data(capsys, monkeypatch):
    args = ["--size", 220, 200, "--samples", 2, "--rounds", 1, "--workers", 0, "--literal"]
    found = rows(capsys, monkeypatch, bench_data, *args)
    kinds = [(row["cache"], row["pipeline"]) for row in found]
    assert kinds == [(c, p) for c in bench_data.CACHES for p in ("ours", "literal", "loader")]
    assert all(row["samples/s"] > 0 for row in found)
    held = {row["pipeline"]: row["MB held"] for row in found if row["cache"] == "in_memory"}
    assert held["literal"] == 4 * held["ours"]


def test_caches_of_many_files(capsys, monkeypatch):
    small, large = rows(capsys, monkeypatch, bench_data, "--files", 64)
    assert (small.pop("files"), large.pop("files")) == (8, 64)
    assert all(0 < value < 1000 for row in (small, large) for value in row.values())


@pytest.mark.parametrize("cache", bench_data.CACHES)
def test_literal_samples_are_samples(tmp_path, cache):
    bench_data.make_images(tmp_path / "HR", 220, 200)
    folder = {"name": "image-folder", "args": {"root_path": str(tmp_path / "HR"), "cache": cache}}
    spec = {"name": "sr-implicit-downsampled", "args": bench_data.SAMPLING}
    dataset = bench_data.datasets.make(folder)
    ours = bench_data.datasets.make(spec, args={"dataset": dataset})
    literal = bench_data.LiteralSamples(tmp_path / "HR", cache)
    for key in range(8):
        one, other = ours[key], literal[key]
        assert {k: (v.shape, v.dtype) for k, v in one.items()} == {
            k: (v.shape, v.dtype) for k, v in other.items()
        }
        # Where a colour is asked for, the input shows nearly the same one.
        for sample in (one, other):
            shown = bench_data.torch.nn.functional.grid_sample(
                sample["inp"][None], sample["coord"].flip(-1)[None, None], align_corners=False
            )
            assert (shown[0, :, 0].T - sample["gt"]).abs().mean() < 0.03
