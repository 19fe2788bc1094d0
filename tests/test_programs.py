"""The commands, as a user types them."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from models.checkpoint import save_checkpoint
from tests.cases import SPECS
from tests.programs import (
    ROOT,
    ended,
    fails,
    load,
    pillow_bicubic,
    run,
    same,
    succeeds,
    train,
    train_config,
    trained,
    write_tests,
)


def test_training_writes_the_run_folder(folder):
    out = train(folder, "--tag", "t1")
    run_folder = folder / "save" / "_c_t1"
    names = {p.name for p in run_folder.iterdir()}
    files = {"config.yaml", "log.txt", "log.jsonl", "tensorboard", ".lock"}
    assert names == files | {f"epoch-{k}.pth" for k in ("last", "previous", "best", "2", "4")}
    log = (run_folder / "log.txt").read_text()
    assert log == out
    values = [float(v) for v in re.findall(r"val: psnr=([\d.]+)", log)]
    losses = [float(v) for v in re.findall(r"loss=([\d.]+)", log)]
    assert len(values) == len(losses) == 4
    assert losses[-1] < losses[0]
    last, best = load(run_folder / "epoch-last.pth"), load(run_folder / "epoch-best.pth")
    assert {"model", "optimizer", "epoch"} <= last.keys()
    assert last["epoch"] == 4
    assert last["model"]["args"] == SPECS["liif"]["args"]
    assert last["optimizer"]["args"] == {"lr": 0.001}
    assert last["optimizer"]["sd"]["param_groups"][0]["lr"] == pytest.approx(0.00025)
    assert best["best"] == pytest.approx(max(values), abs=1e-3)
    assert best["epoch"] == values.index(max(values)) + 1
    events = (run_folder / "tensorboard").glob("events*")
    written = b"".join(path.read_bytes() for path in events)
    assert all(tag in written for tag in (b"loss/train", b"psnr/val", b"lr"))


def test_a_resumed_run_ends_as_an_uninterrupted_one(folder):
    trained(folder, "whole")
    train(folder, "--name", "parts", "--resume", epoch_max=2)
    out = train(folder, "--name", "parts", "--resume")
    assert "changed: epoch_max: was 2, is 4" in out
    assert "after epoch 2" in out
    assert "epoch 3/4" in out
    whole, parts = (ended(folder / "save" / name) for name in ("whole", "parts"))
    assert same(whole, parts)


def test_a_run_is_never_deleted(folder):
    trained(folder, "r", epoch_max=1)
    before = (folder / "save/r/epoch-last.pth").read_bytes()
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "r")
    assert "save/r: holds a run" in error
    assert "--resume" in error
    assert "--overwrite" in error
    assert (folder / "save/r/epoch-last.pth").read_bytes() == before
    train(folder, "--name", "r", "--overwrite", epoch_max=1, seed=5)
    assert (folder / "save/r.old-1/epoch-last.pth").read_bytes() == before
    assert load(folder / "save/r/epoch-last.pth")["seed"] == 5


def test_a_run_can_be_overwritten_by_its_own_config(folder):
    trained(folder, "r", epoch_max=1)
    args = ["--config", "save/r/config.yaml", "--name", "r", "--overwrite"]
    succeeds(folder, "train_liif.py", *args)
    assert (folder / "save/r/config.yaml").read_text() == (folder / "c.yaml").read_text()
    assert (folder / "save/r.old-1/epoch-last.pth").exists()


def test_a_failing_validation_does_not_lose_the_epoch(folder):
    (folder / "val").mkdir()
    for file in (folder / "photos").iterdir():
        (folder / "val" / file.name).write_bytes(file.read_bytes())
    last = folder / "val/2.png"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    config = train_config(epoch_max=1)
    config["val_dataset"]["dataset"]["args"]["root_path"] = "val"
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    args = ["--config", "c.yaml", "--name", "r"]
    error = fails(folder, "train_liif.py", *args)
    assert "val/2.png: not a readable image" in error
    assert "the run is saved" in error
    saved = load(folder / "save/r/epoch-last.pth")
    assert (saved["epoch"], saved["step"]) == (0, 3)  # all steps, but no validation yet
    last.write_bytes(whole)
    succeeds(folder, "train_liif.py", *args, "--resume")
    trained(folder, "straight", epoch_max=1)
    assert same(*(load(folder / "save" / n / "epoch-last.pth")["model"] for n in ("r", "straight")))


@pytest.mark.parametrize(
    "changes", [{"epoch": "abc"}, {"epoch": -5}, {"best": None}, {"optimizer": {"name": "adam"}}]
)
def test_odd_checkpoints_to_resume(folder, changes):
    trained(folder, "r", epoch_max=1)
    path = folder / "save/r/epoch-last.pth"
    (folder / "save/r/epoch-previous.pth").unlink(missing_ok=True)
    torch.save({**load(path), **changes}, path)
    args = ["--config", "c.yaml", "--name", "r", "--resume"]
    assert "epoch-last.pth: holds no training state" in fails(folder, "train_liif.py", *args)
    optimizer = {"name": "adam", "args": {"lr": 0.1}, "sd": 5}
    torch.save({**load(path), "epoch": 1, "best": 1.0, "optimizer": optimizer}, path)
    assert "epoch-last.pth: the optimizer" in fails(folder, "train_liif.py", *args)


def test_resume_from_a_published_checkpoint(folder):
    """It holds less, and its optimizer's rate has decayed already: it must not decay twice."""
    trained(folder, "first", epoch_max=2)
    checkpoint = load(folder / "save/first/epoch-last.pth")
    published = {key: checkpoint[key] for key in ("model", "optimizer", "epoch")}
    torch.save(published, folder / "published.pth")
    out = train(folder, "--name", "second", resume="published.pth")
    assert "continued from published.pth after epoch 2" in out
    whole = trained(folder, "whole")
    resumed, straight = (load(folder / "save" / n / "epoch-last.pth") for n in ("second", "whole"))
    assert same(resumed["model"], straight["model"])
    assert same(resumed["optimizer"], straight["optimizer"])
    strip = [re.sub(r", [\d.]+ samples.*", "", text).splitlines()[-2:] for text in (out, whole)]
    assert strip[0] == strip[1]


def test_pre_train_begins_with_the_weights_of_a_checkpoint(folder):
    """Of these alone: steps, rates and moments begin anew. A resumed run does not read it again."""
    trained(folder, "first", epoch_max=1)
    first = load(folder / "save/first/epoch-last.pth")
    tiny = {"name": "sgd", "args": {"lr": 1e-20}}
    config = {"pre_train": "save/first/epoch-last.pth", "optimizer": tiny}
    train(folder, "--name", "second", epoch_max=1, **config)
    second = load(folder / "save/second/epoch-last.pth")
    assert same(second["model"]["sd"], first["model"]["sd"])
    assert second["epoch"] == 1
    (folder / "save/first/epoch-last.pth").unlink()
    train(folder, "--name", "second", "--resume", "--force", epoch_max=2, **config)
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**config)))
    message = "save/first/epoch-last.pth: cannot read the checkpoint"
    assert message in fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "third")
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(resume="a.pth", **config)))
    error = fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "third")
    assert "resume and pre_train exclude each other" in error
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(compile="max-autotune")))
    assert fails(folder, "train_liif.py", "--config", "c.yaml").count("compile") == 1
    changes = {"compile": "reduce-overhead", "accumulate": 2}
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(**changes)))
    error = fails(folder, "train_liif.py", "--config", "c.yaml")
    assert "compile: reduce-overhead and accumulate exclude each other" in error


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_amp_in_training(folder, amp):
    """Close to fp32, and its resumed run ends as the uninterrupted one."""
    plain = trained(folder, "plain")
    whole = train(folder, "--name", "whole", amp=amp)
    train(folder, "--name", "parts", "--resume", amp=amp, epoch_max=2)
    train(folder, "--name", "parts", "--resume", "--force", amp=amp)
    ends = [ended(folder / "save" / name) for name in ("whole", "parts")]
    assert same(*ends)
    assert ("scale" in ends[0]["scaler"]) == (amp == "fp16")
    losses = [[float(v) for v in re.findall(r"loss=([\d.]+)", log)] for log in (plain, whole)]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [True, "reduce-overhead"])
def test_a_compiled_run_is_like_a_plain_one(folder, mode):
    plain = train(folder, "--name", "plain", epoch_max=2)
    compiled = train(folder, "--name", "compiled", epoch_max=2, compile=mode)
    losses = [[float(v) for v in re.findall(r"loss=([\d.]+)", log)] for log in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_compile_without_a_compiler(folder, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "cache"))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "/nowhere/c++"))
    torch.compiler.reset()
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(compile=True)))
    error = fails(folder, "train_liif.py", "--config", "c.yaml")
    assert "compile does not work here" in error
    assert "/nowhere/c++" in error


def test_training_without_schedule_and_validation(folder):
    out = train(folder, epoch_max=1, multi_step_lr=None, val_dataset=None, epoch_val=None)
    assert "val:" not in out


def test_user_mistakes_in_training(folder):
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config()).replace("adam", "adamm"))
    assert "did you mean 'adam'" in fails(folder, "train_liif.py", "--config", "c.yaml")
    assert not (folder / "save").exists()
    assert "none.yaml" in fails(folder, "train_liif.py", "--config", "none.yaml")
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(resume="gone.pth")))
    assert "gone.pth" in fails(folder, "train_liif.py", "--config", "c.yaml")
    torch.save({"model": {**SPECS["liif"], "sd": {}}}, folder / "gone.pth")
    assert "gone.pth" in fails(folder, "train_liif.py", "--config", "c.yaml")
    config = train_config()
    config["train_dataset"]["wrapper"]["args"]["inp_size"] = 60
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    assert "54x60 pixels are too few" in fails(folder, "train_liif.py", "--config", "c.yaml")
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(eval_type="div2k-60")))
    assert "2.png: nothing of 54x60 pixels" in fails(folder, "train_liif.py", "--config", "c.yaml")
    assert not (folder / "save").exists()
    (folder / "save").write_text("in the way")
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config()))
    assert "save" in fails(folder, "train_liif.py", "--config", "c.yaml")
    (folder / "save").unlink()
    part = {"name": "mlp", "args": {"in_dim": 2, "out_dim": 3, "hidden_list": []}}
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(model=part)))
    assert "'mlp' is a part" in fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "m")
    liif = {"name": "liif", "args": {**SPECS["liif"]["args"], "encoder_spec": part}}
    (folder / "c.yaml").write_text(yaml.safe_dump(train_config(model=liif)))
    assert "no encoder" in fails(folder, "train_liif.py", "--config", "c.yaml", "--name", "m")


def test_evaluation_prints_results_and_tables(photos, tmp_path):
    write_tests(photos)
    single = succeeds(photos, "test.py", "--config", "single.yaml", "--model", "m.pth")
    assert re.fullmatch(r"result: \d\d\.\d{4}\n", single)
    pictures = tmp_path / "pictures"
    out = succeeds(
        photos, "test.py", "--config", "suite.yaml", "--model", "m.pth", "--save", pictures
    )
    assert f"Photos x2: {single.split()[1]}" in out
    assert re.search(r"\| Photos +\| +\d\d\.\d\d \| +\d\d\.\d\d \|\n$", out)
    assert "|    x2 |  x3.5 |" in out
    saved = sorted(str(p.relative_to(pictures)) for p in pictures.rglob("*.png"))
    assert saved == [f"Photos/{s}/{i}.png" for s in ("x2", "x3.5") for i in range(3)]
    assert Image.open(pictures / "Photos/x2/0.png").size == (60, 54)
    one = succeeds(photos, "test.py", "--config", "suite.yaml", "--model", "m.pth", "--scale", "2")
    assert one == single


def test_evaluation_writes_tables(photos, tmp_path):
    write_tests(photos)
    files = {form: tmp_path / f"t.{form}" for form in ("markdown", "json", "csv")}
    options = [part for form, file in files.items() for part in (f"--{form}", file)]
    args = ["--config", "suite.yaml", "--model", "m.pth"]
    plain = succeeds(photos, "test.py", *args)
    out = succeeds(photos, "test.py", *args, "--ssim", "--ensemble", *options)
    assert files["markdown"].read_text() in out
    rows = json.loads(files["json"].read_text())["results"]
    assert [(row["scale"], row["images"]) for row in rows] == [(2, 3), (3.5, 3)]
    assert all(0.5 < row["ssim"] < 1 for row in rows)
    assert f"Photos x2: {rows[0]['psnr']:.4f}, SSIM {rows[0]['ssim']:.4f}" in out
    assert f"Photos x2: {rows[0]['psnr']:.4f}" not in plain, "the ensemble differs"
    assert files["csv"].read_text().splitlines()[0] == "set,scale,psnr,ssim,images"


def test_where_a_table_goes_is_checked_before_anything_is_evaluated(photos, tmp_path):
    write_tests(photos)
    table = tmp_path / "no" / "t.md"
    done = run(photos, "test.py", "--config", "suite.yaml", "--model", "m.pth", "--markdown", table)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"error: {table}: there is no such folder\n"


def test_evaluation_of_bicubic_agrees_with_pillow(photos):
    write_tests(photos)
    out = succeeds(photos, "test.py", "--config", "single.yaml", "--model", "bicubic")
    wanted = []
    for i in range(3):
        hr = Image.open(photos / "photos" / f"{i}.png")
        small = hr.resize((30, 27), Image.Resampling.BICUBIC)
        sr = pillow_bicubic(small, (60, 54))
        diff = (sr - np.asarray(hr)) / 255 @ np.array([65.738, 129.057, 25.064]) / 256
        wanted.append(-10 * np.log10((diff[2:-2, 2:-2] ** 2).mean()))
    assert float(out.split()[1]) == pytest.approx(np.mean(wanted), abs=0.02)


def test_the_checkpoints_normalisation_wins(photos, tmp_path):
    write_tests(photos)
    other = {"inp": {"sub": [0.4], "div": [0.3]}, "gt": {"sub": [0.4], "div": [0.3]}}
    save_checkpoint(tmp_path / "n.pth", {**load(photos / "m.pth"), "data_norm": other})
    done = run(photos, "test.py", "--config", "single.yaml", "--model", tmp_path / "n.pth")
    assert "differs from the checkpoint's" in done.stderr
    (photos / "other.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load((photos / "single.yaml").read_text()), "data_norm": other})
    )
    same = succeeds(photos, "test.py", "--config", "other.yaml", "--model", tmp_path / "n.pth")
    assert done.stdout == same


def test_user_mistakes_in_evaluation(photos, tmp_path):
    write_tests(photos)

    def error(config, model="m.pth", *more):
        return fails(photos, "test.py", "--config", config, "--model", model, *more)

    assert "none.pth" in error("single.yaml", "none.pth")
    assert "published form" in error("single.yaml", "m.pth", "--scale", "4")
    (tmp_path / "cut.pth").write_bytes((photos / "m.pth").read_bytes()[:999])
    assert "cut.pth" in error("single.yaml", tmp_path / "cut.pth")
    (photos / "again").mkdir(exist_ok=True)
    (photos / "again" / "single.yaml").write_text((photos / "single.yaml").read_text())
    assert "single is in the configs twice" in error(
        "single.yaml", "m.pth", "--config", *(["single.yaml", "again/single.yaml"])
    )
    write_tests(photos, "gone")
    assert "gone: cannot read the image folder" in error("single.yaml")


@pytest.mark.parametrize(
    ("option", "size"),
    [
        (["--resolution", "120,77"], (120, 77)),
        (["--scale", "1.37"], (74, 82)),
        (["--scale", "2,0.5"], (108, 30)),
    ],
)
def test_rendering(photos, tmp_path, option, size):
    output = tmp_path / "new" / "out.png"
    args = ["--input", "photos/0.png", "--model", "m.pth", "--output", output]
    out = succeeds(photos, "demo.py", *args, *option, "--gpu", "cpu")
    assert f"{size[0]}x{size[1]}" in out
    assert Image.open(output).size == size[::-1]


def test_rendering_with_bicubic_is_pillows(photos, tmp_path):
    args = ["--input", "photos/0.png", "--model", "bicubic", "--scale", "3"]
    succeeds(photos, "demo.py", *args, "--output", tmp_path / "o.png")
    wanted = pillow_bicubic(Image.open(photos / "photos/0.png"), (180, 162))
    got = np.asarray(Image.open(tmp_path / "o.png"))
    assert np.abs(got - wanted)[6:-6, 6:-6].max() <= 1


def test_user_mistakes_in_rendering(photos, tmp_path):
    def error(**changes):
        args = {
            "input": "photos/0.png",
            "model": "m.pth",
            "scale": "2",
            "output": tmp_path / "o.png",
        }
        flat = [x for k, v in {**args, **changes}.items() for x in (f"--{k}", v)]
        return fails(photos, "demo.py", *flat)

    assert "nope.png: no such image" in error(input="nope.png")
    assert "m.pth: not an image of PNG" in error(input="m.pth")
    assert "ending" in error(output=tmp_path / "o.xyz")
    assert "less than one" in error(scale="0.001")
    assert "at most" in error(scale="1e300")
    assert "more than the" in error(scale="1e5")
    (tmp_path / "o.jpg").touch()
    assert "o.jpg: is there already; --overwrite" in error(output=tmp_path / "o.jpg")
    assert "--gpu x" in error(gpu="x")
    for scale in ("0", "-1", "nan", "inf", "1,2,3", "a"):
        done = run(
            photos, "demo.py", "--input", "photos/0.png", "--model", "m.pth", f"--scale={scale}"
        )
        assert done.returncode == 2
        assert "expected one or two positive numbers" in done.stderr
    both = ["--input", "photos/0.png", "--model", "m.pth", "--scale", "2", "--resolution", "3,4"]
    assert run(photos, "demo.py", *both).returncode == 2
    assert not (tmp_path / "o.png").exists()


def test_torch_hub(photos):
    model = torch.hub.load(str(ROOT), "liif", str(photos / "m.pth"), source="local")
    assert model(torch.zeros(1, 3, 4, 4), torch.zeros(1, 5, 2), torch.ones(1, 5, 2)).shape == (
        1,
        5,
        3,
    )


@pytest.mark.parametrize("program", ["train_liif.py", "test.py", "demo.py"])
def test_programs_start_as_processes_from_any_folder(tmp_path, program):
    command = [sys.executable, str(ROOT / program)]
    shown = subprocess.run([*command, "--help"], cwd=tmp_path, capture_output=True, check=True)
    assert b"usage: " in shown.stdout
    wrong = ["--config", "none.yaml", "--model", "none.pth", "--input", "none.png", "--scale", "2"]
    wrong = {"train_liif.py": wrong[:2], "test.py": wrong[:4], "demo.py": wrong[2:]}[program]
    failed = subprocess.run([*command, *wrong], cwd=tmp_path, capture_output=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"error: ")
    assert b"none" in failed.stderr
    assert b"Traceback" not in failed.stderr
    assert not list(tmp_path.iterdir())
