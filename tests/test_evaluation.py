"""test.py: what is wrong is said first, and what can be evaluated is kept."""

import csv
import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import datasets
import evaluation.results
from configs.load import load_test
from errors import UserError
from evaluation.check import expected_scale
from evaluation.pictures import distinct_names
from models.checkpoint import save_checkpoint
from tests.programs import fails, load, pillow_bicubic, run, succeeds
from tests.training.ranks import Ranks


@pytest.fixture
def work(photos, tmp_path):
    """Photographs of one's own, and a model."""
    shutil.copytree(photos / "photos", tmp_path / "photos")
    (tmp_path / "m.pth").symlink_to(photos / "m.pth")
    return tmp_path


def shrinking(root, scales, **args):
    return {
        "scales": scales,
        "test_dataset": {
            "dataset": {"name": "image-folder", "args": {"root_path": root, **args}},
            "wrapper": {"name": "sr-implicit-downsampled", "args": {"scale_min": "{scale}"}},
            "batch_size": 1,
        },
        "eval_type": "benchmark-{scale}",
    }


def paired(root, scales):
    args = {"root_path_1": f"{root}/X{{scale}}", "root_path_2": f"{root}/HR"}
    return {
        "scales": scales,
        "test_dataset": {
            "dataset": {"name": "paired-image-folders", "args": args},
            "wrapper": {"name": "sr-implicit-paired"},
            "batch_size": 1,
        },
        "eval_type": "benchmark-{scale}",
    }


def write(work, name, *tests):
    (work / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, "tests": list(tests)}))
    return f"{name}.yaml"


def write_pairs(work, root, *scales):
    """The photographs as HR, and shrunk by integers."""
    shutil.copytree(work / "photos", work / root / "HR")
    for scale in scales:
        (work / root / f"X{scale}").mkdir()
        for file in (work / root / "HR").iterdir():
            image = Image.open(file)
            size = (image.width // scale, image.height // scale)
            image.resize(size, Image.Resampling.BICUBIC).save(work / root / f"X{scale}" / file.name)


def tables(work):
    forms = {form: work / f"t.{form}" for form in ("markdown", "latex", "json", "csv")}
    return forms, [part for form, file in forms.items() for part in (f"--{form}", file)]


def results(file):
    return json.loads(file.read_text())["results"]


def cells(text):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]


def cut(file):
    """Leave the header, so that only decoding fails."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])


def test_a_missing_set_is_said_first_and_leaves_an_empty_cell(work):
    here = write(work, "Here", shrinking("photos", [2, 3]))
    gone = write(work, "Gone", shrinking("gone", [2, 3]))
    forms, options = tables(work)
    done = run(work, "test.py", "--config", gone, here, "--model", "bicubic", *options)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: Gone x2, Gone x3: gone: cannot read the image folder: No such file or directory",
        "error: 2 of 4 results are missing, see above",
    ]
    alone = succeeds(work, "test.py", "--config", here, "--model", "bicubic")
    assert done.stdout.splitlines()[:2] == alone.splitlines()[:2]
    rows = cells(forms["markdown"].read_text())
    assert rows[2] == ["Gone", "-", "-"]
    assert rows[3][1] in alone
    assert forms["markdown"].read_text() in done.stdout
    assert r"Gone & -- & -- \\" in forms["latex"].read_text()
    listed = list(csv.DictReader(forms["csv"].open()))
    assert [row["psnr"] == "" for row in listed] == [True, True, False, False]
    gone, _, here, _ = results(forms["json"])
    assert gone["psnr"] is None
    assert gone["error"].startswith("gone: cannot read the image folder")
    assert "error" not in here
    assert f"Here x2: {here['psnr']:.4f}" in alone


def test_all_that_is_wrong_is_said_before_anything_is_evaluated(work):
    (work / "photos/bad.png").write_bytes(b"no image")
    (work / "photos/1.png").write_bytes(b"")
    bad = write(work, "Bad", shrinking("photos", [2]))
    gone = write(work, "Gone", shrinking("gone", [2]))
    forms, options = tables(work)
    error = fails(work, "test.py", "--config", bad, gone, "--model", "none.pth", *options)
    for part in ("none.pth: cannot read", "photos/bad.png", "photos/1.png", "Gone x2: gone: "):
        assert part in error
    assert len(error.splitlines()) == 4
    assert not any(file.exists() for file in forms.values())


def test_mistakes_of_all_configs_are_said_at_once(work):
    one = write(work, "One", {**shrinking("photos", [2]), "eval_type": "set5-2"})
    error = fails(work, "test.py", "--config", one, "none.yaml", "--model", "bicubic")
    assert "One.yaml: tests.0.eval_type" in error
    assert "none.yaml" in error


def test_an_image_that_fails_later_leaves_the_others(work):
    shutil.copytree(work / "photos", work / "broken")
    cut(work / "broken/1.png")
    broken = write(work, "Broken", shrinking("broken", [2]))
    here = write(work, "Here", shrinking("photos", [2]))
    forms, options = tables(work)
    began = time.monotonic()
    done = run(work, "test.py", "--config", broken, here, "--model", "bicubic", *options)
    assert time.monotonic() - began < 4, "its workers were waited for"
    assert done.returncode == 1
    first, last = done.stderr.splitlines()
    assert first.startswith("error: Broken x2: broken/1.png: not a readable image")
    assert last == "error: 1 of 2 results are missing, see above"
    assert [row["psnr"] is None for row in results(forms["json"])] == [True, False]
    alone = run(work, "test.py", "--config", broken, "--model", "bicubic", *options)
    assert (alone.returncode, alone.stdout) == (1, "")
    assert alone.stderr.startswith("error: broken/1.png: not a readable image")
    assert len(alone.stderr.splitlines()) == 1
    assert [row["psnr"] for row in results(forms["json"])] == [None]


def test_an_interrupt_keeps_what_there_is(work, monkeypatch):
    score, calls = evaluation.results.score, []

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return score(*args, **options)

    monkeypatch.setattr(evaluation.results, "score", interrupted)
    config = write(work, "Here", shrinking("photos", [2, 3]))
    forms, options = tables(work)
    done = run(work, "test.py", "--config", config, "--model", "bicubic", *options)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    first, second = results(forms["json"])
    assert f"Here x2: {first['psnr']:.4f}" in done.stdout
    assert (second["psnr"], second["error"]) == (None, "not evaluated yet")
    assert cells(forms["markdown"].read_text())[2][2] == "-"


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_kill_loses_one_case(work, number):
    config = write(
        work, "Here", shrinking("photos", [2]), shrinking("photos", [3], repeat=1_000_000)
    )
    forms, options = tables(work)
    args = ["--config", config, "--model", "bicubic", "--workers", "0", *map(str, options)]
    ranks = Ranks(work, 1, "test.py", *args)
    ranks.wait_for("Here x2: ")
    while not all(file.exists() for file in forms.values()):
        pass
    ranks.signal(0, number)
    ranks.finish(-number)
    assert [row["psnr"] is None for row in results(forms["json"])] == [False, True]
    assert not list(work.glob("*.part"))


def test_processes_agree_on_what_has_failed(work, tmp_path_factory):
    """A file that is broken for one of them only, in the check or later."""
    other = tmp_path_factory.mktemp("other")
    for name in ("broken", "gone", "fewer"):
        shutil.copytree(work / "photos", work / name)
    write(work, "All", *(shrinking(name, [i]) for i, name in enumerate(("broken", "gone"), 2)))
    write(work, "Rest", *(shrinking(name, [i]) for i, name in enumerate(("fewer", "photos"), 2)))
    shutil.copytree(work, other, dirs_exist_ok=True, symlinks=True)
    cut(other / "broken/1.png")
    shutil.rmtree(other / "gone")
    (other / "fewer/2.png").unlink()
    args = ["--config", "All.yaml", "Rest.yaml", "--model", "bicubic", "--workers", "0"]
    out, error = Ranks([work, other], 2, "test.py", *args, "--json", "t.json").finish(1, 1)
    alone = succeeds(work, "test.py", "--config", "Rest.yaml", "--model", "bicubic")
    assert out.splitlines()[0] == alone.splitlines()[1]
    lines = error.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("error: All x3: gone: cannot read the image folder")
    assert lines[1].startswith("error: Rest x2: the images differ between the processes")
    assert lines[2].startswith("error: All x2: broken/1.png: not a readable image")
    assert lines[3] == "error: 3 of 4 results are missing, see above"
    assert [row["psnr"] is None for row in results(work / "t.json")] == [True, True, True, False]


def test_images_of_all_processes_are_in_the_report(work):
    config = write(work, "Here", shrinking("photos", [2]))
    args = ["--config", config, "--model", "bicubic", "--workers", "0", "--json", "t.json"]
    succeeds(work, "test.py", *args)
    (alone,) = results(work / "t.json")
    Ranks(work, 2, "test.py", *args).finish(0, 0)
    assert results(work / "t.json") == [alone]
    assert json.loads((work / "t.json").read_text())["machine"]["processes"] == 2


def test_several_models_are_compared(work):
    other = {"inp": {"sub": [0.4], "div": [0.3]}, "gt": {"sub": [0.4], "div": [0.3]}}
    save_checkpoint(work / "n.pth", {**load(work / "m.pth"), "data_norm": other})
    config = write(work, "Here", shrinking("photos", [2, 3]))
    forms, options = tables(work)
    names = ["bicubic", "none.pth", "m.pth", "n.pth"]
    done = run(work, "test.py", "--config", config, "--model", *names, *options)
    assert done.returncode == 1
    assert done.stderr.startswith("error: none.pth: cannot read the checkpoint")
    assert "error: 2 of 8 results are missing" in done.stderr
    head, _, *rows = cells(forms["markdown"].read_text())
    assert head == ["PSNR (dB)", "x2", "x3"]
    assert [row[0] for row in rows] == [f"Here, {name}" for name in names]
    assert rows[1][1:] == ["-", "-"]
    found = results(forms["json"])
    norms = {row["model"]: row["protocol"]["data_norm"] for row in found if row["psnr"]}
    assert norms["n.pth"] == other
    assert norms["m.pth"] == norms["bicubic"] != other
    for name in ("bicubic", "m.pth", "n.pth"):
        alone = succeeds(work, "test.py", "--config", config, "--model", name)
        for line in alone.splitlines()[:2]:
            title, psnr = line.split(": ")
            assert f"{title}, {name}: {psnr}\n" in done.stdout
    columns = forms["csv"].read_text().splitlines()
    assert columns[0] == "model,set,scale,psnr,ssim,images"
    assert columns[3].startswith("none.pth,Here,2.0,,,")


def test_a_model_is_not_named_twice(work):
    config = write(work, "Here", shrinking("photos", [2]))
    done = run(work, "test.py", "--config", config, "--model", "m.pth", "m.pth")
    assert done.returncode == 2
    assert "a model is named twice" in done.stderr


def test_json_says_how_and_with_what_and_each_image(work):
    config = write(work, "Here", shrinking("photos", [2]))
    forms, options = tables(work)
    succeeds(work, "test.py", "--config", config, "--model", "bicubic", "m.pth", *options)
    report = json.loads(forms["json"].read_text())
    assert {"python", "torch", "numpy", "pillow"} <= report["versions"].keys()
    assert report["machine"]["device"] == "cpu"
    bicubic, model = report["models"]
    assert bicubic == {"name": "bicubic", "file": None, "sha256": None, "parameters": 0}
    assert model["sha256"] == hashlib.sha256((work / "m.pth").read_bytes()).hexdigest()
    state = load(work / "m.pth")["model"]["sd"]
    assert model["parameters"] == sum(value.numel() for value in state.values())
    half = {"sub": [0.5], "div": [0.5]}
    assert report["results"][0]["protocol"] == {
        "eval_type": "benchmark-2",
        "scale": 2,
        "shave": 2,
        "channels": "luma",
        "lr": "shrunk here (Pillow bicubic)",
        "data_norm": {"inp": half, "gt": half},
        "ensemble": False,
    }
    images = report["results"][0]["per_image"]
    for i, image in enumerate(images):
        hr = Image.open(work / "photos" / f"{i}.png")
        sr = pillow_bicubic(hr.resize((30, 27), Image.Resampling.BICUBIC), (60, 54))
        diff = (sr - np.asarray(hr)) / 255 @ np.array([65.738, 129.057, 25.064]) / 256
        wanted = -10 * np.log10((diff[2:-2, 2:-2] ** 2).mean())
        assert image["psnr"] == pytest.approx(wanted, abs=0.02)
        assert (image["file"], image["height"], image["width"]) == (f"photos/{i}.png", 54, 60)
        assert image["ssim"] is None
    mean = np.mean([image["psnr"] for image in images])
    assert report["results"][0]["psnr"] == pytest.approx(mean, abs=1e-9)
    assert (report["results"][0]["images"], report["results"][0]["left_out"]) == (3, 0)


def test_lr_files_are_told_from_images_shrunk_here(work):
    write_pairs(work, "set", 2)
    config = write(work, "Set", paired("set", [2]))
    succeeds(work, "test.py", "--config", config, "--model", "bicubic", "--json", "t.json")
    assert results(work / "t.json")[0]["protocol"]["lr"] == "files"


def test_any_scale_of_tests_that_shrink_themselves(work):
    write_pairs(work, "set", 2, 3)
    listed = write(work, "Set", shrinking("set/HR", [3.7, 5.25]))
    wanted = succeeds(work, "test.py", "--config", listed, "--model", "bicubic")
    mixed = write(work, "Set", paired("set", [2, 3]), shrinking("set/HR", [1.5]))
    args = ["--config", mixed, "--model", "bicubic", "--scale"]
    assert succeeds(work, "test.py", *args, "3.7", "5.25") == wanted
    succeeds(work, "test.py", *args, "3", "3.7", "--json", "t.json")
    found = [(row["scale"], row["protocol"]["lr"][:6]) for row in results(work / "t.json")]
    assert found == [(3, "files"), (3.7, "shrunk")]
    assert results(work / "t.json")[1]["protocol"]["eval_type"] == "benchmark-3.7"


def test_a_scale_that_no_test_has(work):
    write_pairs(work, "set", 2, 3)
    only = write(work, "Set", paired("set", [2, 3]))
    error = fails(work, "test.py", "--config", only, "--model", "bicubic", "--scale", "2", "4")
    assert error == (
        "error: --scale 4: not in the configs, and none of their tests shrinks its images itself; "
        "their scales: 2, 3"
    )
    more = write(work, "Photos", shrinking("photos", [2]))
    args = ["--config", only, more, "--model", "bicubic", "--scale", "2", "4"]
    done = run(work, "test.py", *args)
    assert (done.returncode, done.stderr) == (0, "Set: no test of x4, left out\n")
    assert cells(done.stdout)[-2][2] == "-"
    for scale in ("0.5", "nan", "inf", "x", "-2"):
        assert run(work, "test.py", *args[:-2], scale).returncode == 2


@pytest.mark.parametrize("scale", ["55", "1e6", "1e20", "25"])
def test_a_scale_that_leaves_no_pixel_is_an_empty_cell(work, scale):
    """At 25, the border of the protocol takes all that is left."""
    config = write(work, "Here", shrinking("photos", [2]))
    args = ["--config", config, "--model", "bicubic", "--scale", "2", scale, "--save", "out"]
    done = run(work, "test.py", *args)
    assert done.returncode == 1
    *each, last = done.stderr.splitlines()
    size = "50x50" if scale == "25" else "54x60"
    for number, line in enumerate(each):
        assert line.startswith(f"error: Here x{float(scale):g}: photos/{number}.png: ")
        assert f"{size} pixels" in line
    assert len(each) == 3
    assert last == "error: 1 of 2 results are missing, see above"
    assert cells(done.stdout)[-1][2] == "-"
    assert len(list(work.glob("out/**/*.png"))) == 3


def test_a_table_replaces_nothing_that_it_is_made_of(work):
    config = write(work, "Here", shrinking("photos", [2]))
    model = work / "mm.pth"
    model.write_bytes((work / "m.pth").read_bytes())
    kept = [model.read_bytes(), (work / config).read_bytes()]
    for options in (["--json", model], ["--csv", config]):
        done = run(work, "test.py", "--config", config, "--model", model, *options)
        assert done.returncode == 1
        assert "would be overwritten, and is what the table is made of" in done.stderr
    os.mkfifo(work / "pipe")
    done = run(work, "test.py", "--config", config, "--model", model, "--csv", "pipe")
    assert "pipe: is no file; name one" in done.stderr
    assert [model.read_bytes(), (work / config).read_bytes()] == kept
    two = ["--model", "mm.pth", "./mm.pth"]
    assert "named twice" in run(work, "test.py", "--config", config, *two).stderr


def test_names_of_pictures_are_as_short_as_tells_them_apart():
    assert distinct_names(["x/a.png", "x/b.1.jpg"]) == ["a", "b.1"]
    assert distinct_names(["x/1/a.png", "x/2/a.png", "x/2/b.png"]) == ["1/a", "2/a", "2/b"]
    assert distinct_names(["p/x/a.png", "q/x/a.png"]) == ["p/x/a", "q/x/a"]
    assert distinct_names(["../x/a.png", "x/../a.png"]) == ["x/a", f"{Path.cwd().name}/a"]
    assert distinct_names(["x/a.png", "x/a.jpg", "y/b.png"]) == ["a.png", "a.jpg", "b.png"]
    assert distinct_names(["x/a.png", "x/A.png"]) == ["a", "A"]
    assert distinct_names(["/a.png", "/x/a.png"]) == ["a", "x/a"]
    with pytest.raises(UserError, match=r"a\.png is there twice"):
        distinct_names(["x/a.png", "x/../x/a.png"])


def test_pictures_never_share_a_file(work):
    Image.open(work / "photos/0.png").save(work / "photos/0.jpg")
    config = write(work, "Here", shrinking("photos", [2]))
    args = ["--config", config, "--save", "out", "--model"]
    succeeds(work, "test.py", *args, "bicubic")
    saved = sorted(file.name for file in work.glob("out/Here/x2/*"))
    assert saved == ["0.jpg.png", "0.png.png", "1.png.png", "2.png.png"]
    succeeds(work, "test.py", *args, "bicubic", "m.pth")
    assert len(list(work.glob("out/*/Here/x2/*"))) == 8
    twice = write(work, "Twice", shrinking("photos", [2], repeat=2))
    error = fails(work, "test.py", *args, "bicubic", "--config", twice)
    assert "0.jpg is there twice, and would be written to one file" in error
    above = write(work, "..", shrinking("photos", [2]))
    assert "cannot be that of a folder" in fails(
        work, "test.py", *args, "bicubic", "--config", above
    )


def test_pictures_take_no_place_of_others(work):
    """But that of an earlier run's."""
    config = write(work, "Here", shrinking("photos", [2]))
    args = ["--config", config, "--save", "out", "--model", "bicubic"]
    succeeds(work, "test.py", *args)
    succeeds(work, "test.py", *args)
    mine = work / "out/Here/x2/1.png"
    shutil.copy(work / "photos/1.png", mine)
    done = run(work, "test.py", *args)
    assert done.returncode == 1
    assert done.stderr.startswith("error: out/Here/x2/1.png: is there, and is no picture of")
    assert mine.read_bytes() == (work / "photos/1.png").read_bytes()


def test_outputs_are_tried_before_anything_is_evaluated(work):
    config = write(work, "Here", shrinking("photos", [2]))
    (work / "file").write_text("")
    options = ["--json", "photos", "--csv", "t", "--latex", "t", "--save", "file/x", "--markdown"]
    done = run(work, "test.py", "--config", config, "--model", "bicubic", *options, "no/t.md")
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: no/t.md: there is no such folder",
        "error: photos: is a folder; name a file",
        "error: --latex and --csv name one file: t",
        f"error: {work / 'file'}: is no folder",
    ]


def test_a_folder_that_cannot_be_written_to(work, monkeypatch):
    def full(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    config = write(work, "Here", shrinking("photos", [2]))
    error = fails(work, "test.py", "--config", config, "--csv", "t.csv", "--model", "bicubic")
    assert error == "error: .: cannot be written to: Permission denied"


def test_the_scale_that_pairs_must_have(work):
    def scales(name):
        cases = load_test(work / name, datasets=datasets.registry)
        return [expected_scale(case) for case in cases]

    assert scales(write(work, "Set", paired("set", [2, 3]))) == [2, 3]
    section = {"test_dataset": paired("set", [])["test_dataset"]}
    (work / "one.yaml").write_text(yaml.safe_dump({**section, "eval_type": "div2k-4"}))
    assert scales("one.yaml") == [4]
    (work / "none.yaml").write_text(yaml.safe_dump(section))
    assert scales("none.yaml") == [None]
