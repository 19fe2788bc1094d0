"""Degraded samples: what they share with plain ones, and when what is done to them."""

import copy
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import datasets
from benchmarks import bench_data
from configs.load import check_train
from configs.yaml_file import read_yaml
from datasets.check import check_sizes
from datasets.image_folder import ImageFolder
from datasets.loader import BatchLoader
from errors import UserError
from tests.configs.test_load import REGISTRIES

ROOT = Path(__file__).parents[2]
PHOTO_YAML = ROOT / "configs/train-degraded/train_photo-liif.yaml"
BOX = Image.Resampling.BOX
TRAINING = {"inp_size": 12, "scale_min": 1, "scale_max": 4, "augment": True, "sample_q": 100}
HIGH = [
    {"name": "blur", "args": {"sigma": [0.5, 2], "anisotropic": 0.5}},
    {"name": "resize", "args": {"factor": [0.5, 1.2], "kernels": ["box", "lanczos"]}},
]
LOW = [
    {"name": "noise", "args": {"sigma": [1, 30], "gray": 0.4}},
    {"name": "jpeg", "args": {"quality": [20, 90], "grid_offset": True}},
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three photographs of 100 x 120 pixels, gray ones of 16 bits beside them."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("colour", "deep"):
        (folder / name).mkdir()
    deep = np.random.default_rng(0).integers(0, 65536, (3, 100, 120), dtype=np.uint16)
    for i, image in enumerate((data.astronaut(), data.chelsea(), data.coffee())):
        Image.fromarray(image[100:200, 150:270]).save(folder / "colour" / f"{i}.png")
        Image.fromarray(deep[i]).save(folder / "deep" / f"{i}.png")
    return folder


@pytest.fixture
def photos(root):
    return ImageFolder(str(root / "colour"), cache="in_memory")


def wrapped(images, name="sr-implicit-degraded", **args):
    return datasets.make({"name": name, "args": args}, args={"dataset": images})


def plain(images, **args):
    return wrapped(images, "sr-implicit-downsampled", **args)


def image(values, size=None):
    """Levels (H, W, C) of a sample's input, or of its colours."""
    picture = values if size is None else values.T.unflatten(1, size)
    return (picture * 255).round().byte().permute(1, 2, 0).numpy()


def shot(pixels, size, method=Image.Resampling.BICUBIC):
    return np.array(Image.fromarray(pixels).resize(size[::-1], method))


@pytest.mark.parametrize("sampling", [TRAINING, {"scale_min": 2.7}], ids=["crops", "whole"])
@pytest.mark.parametrize(("folder", "channels"), [("colour", 3), ("colour", 1), ("deep", 1)])
def test_clean_samples_are_the_plain_ones(root, folder, channels, sampling):
    images = ImageFolder(str(root / folder), channels=channels)
    clean = wrapped(images, **sampling, high=HIGH, low=LOW, p_clean=1)
    dirty = wrapped(images, **sampling, high=HIGH, low=LOW)
    for key in range(9):  # three epochs
        wanted = plain(images, **sampling)[key]
        for name, value in clean[key].items():
            assert torch.equal(value, wanted[name]), name
        for name, value in dirty[key].items():
            assert (name == "inp") != torch.equal(value, wanted[name]), name
        assert dirty[key]["inp"].shape == wanted["inp"].shape


def test_at_scale_1_the_input_is_the_target(photos):
    samples = wrapped(photos, inp_size=12, scale_min=1, scale_max=4, augment=True, p_scale_min=1)
    seen = set()
    for key in range(30):
        sample = samples[key]
        assert sample["inp"].shape == (3, 12, 12)
        assert torch.equal(sample["gt"].T.unflatten(1, (12, 12)), sample["inp"])
        seen.add(sample["inp"].numpy().tobytes())
    assert len(seen) == 30
    whole = wrapped(photos, scale_min=1)[0]
    assert torch.equal(whole["gt"].T.unflatten(1, (100, 120)), whole["inp"])


def test_how_often_samples_are_clean_and_of_the_least_scale(photos):
    samples = wrapped(
        photos,
        inp_size=4,
        scale_min=2,
        scale_max=16,
        low=[{"name": "gray"}],
        p_clean=0.3,
        p_scale_min=0.4,
    )
    clean, least = [], []
    for key in range(600):
        sample = samples.compact(key)
        clean.append(not torch.equal(sample.inp[0], sample.inp[1]))
        least.append(sample.size == (8, 8))
    assert abs(np.mean(clean) - 0.3) < 4 * (0.3 * 0.7 / 600) ** 0.5
    assert abs(np.mean(least) - 0.4) < 4 * (0.4 * 0.6 / 600) ** 0.5 + 1 / 56
    assert abs(np.corrcoef(clean, least)[0, 1]) < 0.15


def test_high_then_the_size_then_low_on_the_flipped_target(photos):
    """Literally, with degradations that draw nothing; a JPEG, so that flips matter."""

    def saved(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=15)
        return np.array(Image.open(file))

    jpeg = {"name": "jpeg", "args": {"quality": 15}}
    half = {"name": "resize", "args": {"factor": 0.5, "kernels": ["box"]}}
    for sampling, size in (({"inp_size": 11, "scale_min": 3}, (33, 33)), ({"scale_min": 2}, None)):
        samples = wrapped(
            photos, **sampling, augment=True, high=[half, jpeg], low=[jpeg], kernels=["lanczos"]
        )
        orders = set()
        for key in range(12):
            sample = samples[key]
            h, w = sample["inp"].shape[1:]
            orders.add((h, w))
            target = image(sample["gt"], size or (2 * h, 2 * w))
            smaller = shot(target, tuple(round(n / 2) for n in target.shape[:2]), BOX)
            wanted = saved(shot(saved(smaller), (h, w), Image.Resampling.LANCZOS))
            assert np.array_equal(image(sample["inp"]), wanted)
        assert orders == ({(11, 11)} if size else {(50, 60), (60, 50)})


def test_the_input_has_its_size_again_after_low(photos):
    half = {"name": "resize", "args": {"factor": 0.5}}
    sample = wrapped(photos, inp_size=12, scale_min=2, low=[half])[0]
    target = image(sample["gt"], (24, 24))
    wanted = shot(shot(shot(target, (12, 12)), (6, 6)), (12, 12))
    assert np.array_equal(image(sample["inp"]), wanted)


def test_the_filter_of_the_size_is_drawn(photos):
    samples = wrapped(photos, inp_size=12, scale_min=2, kernels=["nearest", "box"])
    seen = set()
    for key in range(20):
        sample = samples[key]
        target = image(sample["gt"], (24, 24))
        for method in (Image.Resampling.NEAREST, BOX):
            if np.array_equal(image(sample["inp"]), shot(target, (12, 12), method)):
                seen.add(method)
                break
        else:
            pytest.fail("neither")
    assert len(seen) == 2


def test_sixteen_bits_stay_and_noise_may_leave_the_range(root):
    images = ImageFolder(str(root / "deep"), channels=1)
    box = [{"name": "blur", "args": {"sigma": 0.8}}]
    sample = wrapped(images, scale_min=2, high=box)[0]
    assert sample["inp"].shape == (1, 50, 60)
    levels = sample["inp"] * 255
    assert (levels - levels.round()).abs().max() > 0.1  # not of 8 bits
    assert 0 <= sample["inp"].min() < sample["inp"].max() <= 1
    loud = [{"name": "noise", "args": {"sigma": 50, "clip": False}}]
    for given in (images, ImageFolder(str(root / "colour"))):
        noisy = wrapped(given, scale_min=1, low=loud)[0]
        noise = noisy["inp"].flatten(1).T - noisy["gt"]
        assert noise.std() == pytest.approx(50 / 255, rel=0.05)
        assert noisy["inp"].min() < 0
        assert noisy["inp"].max() > 1
        assert 0 <= noisy["gt"].min() < noisy["gt"].max() <= 1


def test_datasets_of_floats_have_the_same_targets(photos):
    class Floats:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return photos[index]

    args = {**TRAINING, "high": HIGH[:1], "low": LOW[:1]}
    for key in range(4):
        ours, floats = wrapped(photos, **args)[key], wrapped(Floats(), **args)[key]
        assert torch.equal(ours["gt"], floats["gt"])
        assert (ours["inp"] - floats["inp"]).abs().max() < 3 / 255


def batches(loader, epoch, start=0):
    loader.set_epoch(epoch, start)
    return [dict(batch) for batch in loader]


def test_samples_do_not_depend_on_workers_or_resuming(root):
    """8 bits, and floats of noise beyond black and white, in one batch."""
    loud = {"name": "noise", "args": {"sigma": [0, 50], "clip": False, "p": 0.5}}
    images = ImageFolder(str(root / "colour"), repeat=4)
    samples = wrapped(images, **TRAINING, high=HIGH, low=[*LOW, loud], p_clean=0.2, p_scale_min=0.3)
    options = {"shuffle": True, "seed": 3}
    none = BatchLoader(samples, 3, num_workers=0, **options)
    two = BatchLoader(samples, 3, num_workers=2, **options)
    for epoch, start in ((0, 0), (1, 0), (1, 2)):
        wanted, got = batches(none, epoch)[start:], batches(two, epoch, start)
        assert len(wanted) == len(got) == 4 - start
        for one, other in zip(wanted, got, strict=True):
            for key, value in one.items():
                assert torch.equal(value, other[key]), key
    two.close()


def test_sizes_are_checked_before_a_run(photos):
    with pytest.raises(UserError, match="100x120 pixels are too few for a crop of 104x104"):
        check_sizes(wrapped(photos, inp_size=26, scale_max=4, low=LOW))
    check_sizes(wrapped(photos, inp_size=25, scale_max=4, low=LOW))


def mistakes(change):
    raw = copy.deepcopy(read_yaml(PHOTO_YAML))
    change(raw["train_dataset"]["wrapper"]["args"])
    raw["val_dataset"] = None
    raw["epoch_val"] = None
    return check_train(raw, **REGISTRIES)[1]


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda args: None, None),
        (
            lambda args: args["low"][0].update(name="nois"),
            "low.0.name: unknown degradation 'nois'; did you mean 'noise'?",
        ),
        (
            lambda args: args["high"][0]["args"].update(sigma=[1.5, 0.2]),
            "high.0.args.sigma: a range begins with its lower end, got [1.5, 0.2]",
        ),
        (
            lambda args: args["low"][2]["args"].update(p=60),
            "low.2.args.p: input should be less than or equal to 1, got 60",
        ),
        (
            lambda args: args["low"][1]["args"].update(scal=1),
            "low.1.args: 'poisson' takes no argument 'scal'; did you mean 'scale'?",
        ),
        (
            lambda args: args.update(kernels=["area"]),
            "kernels.0: input should be 'bicubic', 'bilinear', 'box', 'lanczos' or 'nearest', "
            "got 'area'",
        ),
        (lambda args: args.update(kernels=[]), "kernels: value should have at least 1 item"),
        (lambda args: args.update(p_clean=-0.1), "p_clean: input should be greater than or equal"),
        (lambda args: args.update(high={"name": "gray"}), "high: input should be a valid "),
        (lambda args: args.update(low=[["gray"]]), "low.0.0: expected a mapping with 'name' and"),
    ],
    ids=map(str, range(10)),
)
def test_mistakes_in_a_yaml_are_told_with_their_place(change, wanted):
    found = mistakes(change)
    assert len(found) == (wanted is not None)
    for line in found:
        assert line.startswith("train_dataset.wrapper.args")
        assert wanted in line


def test_specs_are_equal_with_their_defaults():
    def spec(*low):
        return {"name": "sr-implicit-degraded", "args": {"low": list(low)}}

    short = spec({"name": "one-of", "args": {"choices": [[{"name": "sinc"}], []]}})
    sinc = {"name": "sinc", "args": {"size": [7, 21], "cutoff": [0.33, 1], "p": 1}}
    long = spec({"name": "one-of", "args": {"p": 1, "choices": [[sinc], []], "weights": None}})
    other = spec({"name": "one-of", "args": {"choices": [[{"name": "gray"}], []]}})
    texts = [json.dumps(datasets.registry.completed(s), sort_keys=True) for s in (short, long)]
    assert texts[0] == texts[1] != json.dumps(datasets.registry.completed(other), sort_keys=True)


@pytest.mark.parametrize("name", ["photo-liif", "real-esrgan-liif"])
def test_shipped_degradations_run(root, name):
    raw = read_yaml(ROOT / f"configs/train-degraded/train_{name}.yaml")
    images = ImageFolder(str(root / "colour"))
    args = {**raw["train_dataset"]["wrapper"]["args"], "inp_size": 24, "sample_q": 576}
    samples = wrapped(images, **args)
    for key in range(24):
        sample = samples[key]
        assert sample["inp"].shape == (3, 24, 24)
        assert 0 <= sample["inp"].min() < sample["inp"].max() <= 1
        assert (sample["inp"].mean() - sample["gt"].mean()).abs() < 0.1


def test_degraded_samples_are_timed_beside_plain_ones(capsys, monkeypatch):
    args = ["--size", 220, 200, "--samples", 2, "--rounds", 1, "--workers", "--cache", "bin"]
    monkeypatch.setattr(sys, "argv", ["bench", *map(str, args), "--degraded", str(PHOTO_YAML)])
    bench_data.main()
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    assert [row["pipeline"] for row in rows] == ["ours", "degraded"]
    assert all(row["samples/s"] > 0 for row in rows)


def test_an_image_too_large_for_jpeg_is_named(tmp_path):
    Image.fromarray(np.zeros((1, 65501, 3), np.uint8)).save(tmp_path / "wide.png")
    low = [{"name": "jpeg", "args": {"quality": 50}}]
    samples = wrapped(ImageFolder(str(tmp_path)), low=low)
    wanted = r"wide\.png: 1x65501 pixels are too many for JPEG, which has at most 65500 a side"
    with pytest.raises(UserError, match=wanted):
        samples[0]
