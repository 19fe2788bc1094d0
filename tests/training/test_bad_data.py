"""Images that cannot be read, do not fit, or are not what they seem, in a training."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.cases import IMNET, SPECS
from tests.programs import ended, fails, load, run, same, succeeds, train_config

NEW = ["--config", "c.yaml", "--name", "r"]


@pytest.fixture
def own(folder):
    """A folder of images that can be damaged, and the config that trains with them."""
    (folder / "own").mkdir()
    for file in (folder / "photos").iterdir():
        (folder / "own" / file.name).write_bytes(file.read_bytes())
    return folder


def write(own, **changes):
    config = train_config(**changes)
    for key in ("train_dataset", "val_dataset"):
        if config[key] is not None:
            config[key]["dataset"]["args"]["root_path"] = "own"
    (own / "c.yaml").write_text(yaml.safe_dump(config))
    return config


def cut(file):
    """Half of a file: its header is whole."""
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    return whole


NO_VALIDATION = {"val_dataset": None, "epoch_val": None}


def test_check_lists_all_that_cannot_be_decoded(own):
    write(own)
    assert "images are right" in succeeds(own, "train_liif.py", "--config", "c.yaml", "--check")
    cut(own / "own/0.png")
    cut(own / "own/2.png")
    error = fails(own, "train_liif.py", "--config", "c.yaml", "--check")
    assert [line.split()[1] for line in error.splitlines()] == ["own/0.png:", "own/2.png:"]
    assert not (own / "save").exists()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_saves_the_run_which_goes_on_once_it_is_mended(own, workers):
    config = {"epoch_max": 1, "num_workers": workers, **NO_VALIDATION}
    write(own, **config)
    succeeds(own, "train_liif.py", "--config", "c.yaml", "--name", "whole")
    file = own / "own/1.png"
    whole = cut(file)
    error = fails(own, "train_liif.py", *NEW)
    assert "own/1.png: not a readable image" in error
    assert "the run is saved" in error
    assert len(error.splitlines()) == 1
    assert (own / "save/r/epoch-last.pth").exists()
    assert "own/1.png" in fails(own, "train_liif.py", *NEW, "--resume")
    file.write_bytes(whole)
    succeeds(own, "train_liif.py", *NEW, "--resume")
    assert same(*(ended(own / "save" / name)["model"] for name in ("whole", "r")))


def test_a_run_goes_on_without_what_cannot_be_read(own):
    cut(own / "own/1.png")
    ends = []
    for workers in (0, 2):
        write(own, epoch_max=2, skip_unreadable=True, num_workers=workers)
        out = succeeds(own, "train_liif.py", *NEW[:-1], f"r{workers}")
        assert out.count("own/1.png: left out") == 1
        log = (own / f"save/r{workers}/log.txt").read_text()
        assert "own/1.png: left out" in log
        ends.append(ended(own / f"save/r{workers}"))
    assert same(*ends)


def test_the_advice_about_an_unreadable_image_can_be_followed(own):
    for name in ("0.png", "1.png"):
        (own / "own" / name).write_bytes(b"")
    write(own, epoch_max=3, **NO_VALIDATION)
    cut(own / "own/2.png")
    (own / "own/3.png").write_bytes((own / "photos/0.png").read_bytes())
    for name in ("0.png", "1.png"):  # headers that cannot be read are found at the start
        (own / "own" / name).unlink()
    assert "skip_unreadable: true" in fails(own, "train_liif.py", *NEW)
    args = ["--resume", "--set", "skip_unreadable=true"]
    out = succeeds(own, "train_liif.py", *NEW, *args)
    assert out.count("left out") == 1


def test_files_of_no_known_format_are_told_once(own):
    (own / "own/1.png").write_bytes(b"")
    write(own, epoch_max=3, skip_unreadable=True, num_workers=2)
    out = succeeds(own, "train_liif.py", *NEW)
    assert out.count("own/1.png: left out: not a readable image: of no known format") == 1
    assert out.count("no pictures of the validation") == 1


def test_a_validation_of_which_nothing_can_be_read_ends_the_run(own):
    (own / "val").mkdir()
    (own / "val/a.png").write_bytes((own / "own/0.png").read_bytes())
    cut(own / "val/a.png")
    config = write(own, skip_unreadable=True)
    config["val_dataset"]["dataset"]["args"]["root_path"] = "val"
    (own / "c.yaml").write_text(yaml.safe_dump(config))
    error = fails(own, "train_liif.py", *NEW)
    assert "val_dataset: none of its images can be read; the run is saved" in error
    assert "skip_unreadable" not in error


def test_all_images_that_are_too_small_are_listed_before_the_first_step(own):
    for number in (3, 4):
        Image.new("RGB", (20 + number, 100)).save(own / f"own/{number}.png")
    write(own)
    error = fails(own, "train_liif.py", *NEW)
    assert "own/3.png: 100x23 pixels are too few for a crop of 24x24" in error
    assert "4.png" not in error
    (own / "own/5.png").write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(own / "own/6.png")
    lines = fails(own, "train_liif.py", *NEW).splitlines()
    assert [line.split()[1] for line in lines] == ["own/3.png:", "own/5.png:", "own/6.png:"]
    assert not (own / "save").exists()


def test_what_reading_changes_is_said_once_with_the_file(own):
    levels = np.arange(54 * 60, dtype=np.uint16).reshape(54, 60) % 4096
    for name in ("x", "y"):
        Image.fromarray(levels).save(own / f"own/{name}.png")
    write(own, epoch_max=1, **NO_VALIDATION)
    out = succeeds(own, "train_liif.py", *NEW)
    assert out.count("own/x.png (and 1 more): gray, read as RGB") == 1
    assert out.count("own/x.png (and 1 more): gray of more than 8 bits, rounded to 8") == 1
    assert out.count("needs 12 of 16 bits, so it reads as nearly black") == 1


def test_a_model_of_one_channel_is_trained_evaluated_and_rendered_in_16_bits(own):
    """A gray ramp of 16 bits: what is rendered has levels that 8 bits have not."""
    rows, cols = np.mgrid[0:54, 0:60]
    for file in (own / "own").iterdir():
        file.unlink()
    for number in range(3):
        ramp = 20000 + 100 * rows + (50 + number) * cols
        Image.fromarray(ramp.astype(np.uint16)).save(own / f"own/{number}.png")
    imnet = {**IMNET, "args": {**IMNET["args"], "out_dim": 1}}
    args = {**SPECS["liif"]["args"], "imnet_spec": imnet, "input_skip": "bicubic"}
    write(own, model={"name": "liif", "args": args}, epoch_max=2)
    out = succeeds(own, "train_liif.py", *NEW)
    assert "read as RGB" not in out
    assert "bits" not in out
    assert load(own / "save/r/epoch-last.pth")["epoch"] == 2
    wrapper = {"name": "sr-implicit-downsampled", "args": {"scale_min": 2}}
    section = {"dataset": {"name": "image-folder", "args": {"root_path": "own"}}}
    test = {"test_dataset": {**section, "wrapper": wrapper, "batch_size": 1}}
    (own / "t.yaml").write_text(yaml.safe_dump({**test, "eval_type": "benchmark-2"}))
    model = ["--model", "save/r/epoch-last.pth"]
    out = succeeds(own, "test.py", "--config", "t.yaml", *model, "--json", "t.json", "--save", "p")
    (result,) = json.loads((own / "t.json").read_text())["results"]
    assert f"result: {result['psnr']:.4f}" in out
    assert result["protocol"]["channels"] == "gray"
    (picture, *_) = sorted((own / "p").rglob("*.png"))
    assert Image.open(picture).mode == "L"
    succeeds(own, "demo.py", "--input", "own/0.png", *model, "--scale", "2", "--output", "o.png")
    rendered = np.asarray(Image.open(own / "o.png"))
    assert rendered.shape == (108, 120)
    assert rendered.max() > 255
    assert len(np.unique(rendered % 257)) > 100


def test_a_config_whose_model_gives_two_channels(own):
    imnet = {**IMNET, "args": {**IMNET["args"], "out_dim": 2}}
    write(own, model={"name": "liif", "args": {**SPECS["liif"]["args"], "imnet_spec": imnet}})
    assert "2 channels" in fails(own, "train_liif.py", *NEW)


def pairs(own, low_size, scale=2):
    """Three pairs of which one has a low-resolution image of another size."""
    (own / "low").mkdir()
    for number in range(3):
        high = Image.open(own / f"own/{number}.png")
        size = low_size if number == 1 else (high.width // scale, high.height // scale)
        high.resize(size).save(own / f"low/{number}.png")
    dataset = {"name": "paired-image-folders", "args": {"root_path_1": "low", "root_path_2": "own"}}
    return {"dataset": dataset, "wrapper": {"name": "sr-implicit-paired"}, "batch_size": 1}


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ((60, 54), "x1, where 2 of 3 pairs are x2"),
        ((15, 13), "x4, where 2 of 3 pairs are x2"),
        ((31, 27), "are no pair of one integer scale"),
        ((29, 27), "are no pair of one integer scale"),
    ],
)
def test_one_pair_that_does_not_fit_the_others_is_named(own, size, text):
    section = pairs(own, size)
    section["wrapper"] = {"name": "sr-implicit-paired", "args": {"inp_size": 8, "sample_q": 16}}
    write(own, **NO_VALIDATION)
    config = yaml.safe_load((own / "c.yaml").read_text())
    (own / "c.yaml").write_text(yaml.safe_dump({**config, "train_dataset": section}))
    (line,) = fails(own, "train_liif.py", *NEW).splitlines()
    assert "low/1.png" in line
    assert "own/1.png" in line
    assert text in line


def test_pairs_of_another_scale_than_the_row_or_eval_type(own):
    section = pairs(own, (30, 27))
    (own / "t.yaml").write_text(yaml.safe_dump({"test_dataset": section, "eval_type": "div2k-4"}))
    done = run(own, "test.py", "--config", "t.yaml", "--model", "bicubic")
    assert done.returncode == 1
    assert "x2, wanted x4" in done.stderr
    row = {"scales": [4], "test_dataset": section}
    (own / "t.yaml").write_text(yaml.safe_dump({"name": "Set", "tests": [row]}))
    assert "x2, wanted x4" in run(own, "test.py", "--config", "t.yaml").stderr
    config = write(own, eval_type="div2k-3")
    (own / "c.yaml").write_text(yaml.safe_dump({**config, "val_dataset": section}))
    assert "x2, wanted x3" in fails(own, "train_liif.py", *NEW)
