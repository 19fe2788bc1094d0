"""test.py on degraded images: the shipped tests, on images of one's own."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import datasets
from configs.load import load_test
from datasets.loader import make_loader
from engine import super_resolve
from models.checkpoint import load_model
from tests.programs import NORM, ROOT, fails, pillow_bicubic, succeeds, write_photos

SIGMAS = (15, 25, 50)


@pytest.fixture(scope="module")
def benchmark(photos, tmp_path_factory):
    """Photographs where the shipped tests look: of LIVE1 in gray, of B100 and Set14 in RGB."""
    root = tmp_path_factory.mktemp("restoration")
    (root / "m.pth").symlink_to(photos / "m.pth")
    for name in ("LIVE1", "Set14"):
        (root / f"load/benchmark/{name}/HR").mkdir(parents=True)
    write_photos(root / "load/benchmark/B100/HR", 90, 100)
    for file in sorted((root / "load/benchmark/B100/HR").iterdir()):
        image = Image.open(file).crop((0, 0, 97, 83))
        image.save(root / "load/benchmark/Set14/HR" / file.name)
        image.convert("L").save(root / "load/benchmark/LIVE1/HR" / file.name)
    (root / "configs/test").mkdir(parents=True)
    (root / "configs/test/cbsd68.json").write_text(json.dumps({"test": ["0.png", "2.png"]}))
    return root


def evaluated(root, test, *options):
    """The results by their titles; each is {psnr, per_image, ..}."""
    config = ROOT / f"configs/test/{test}.yaml"
    succeeds(root, "test.py", "--config", config, "--json", "t.json", *options)
    rows = json.loads((root / "t.json").read_text())["results"]
    return {f"{row['set']} x{row['scale']:g}": row for row in rows}


def images(root, name, *chosen):
    files = sorted((root / f"load/benchmark/{name}/HR").iterdir())
    return [np.asarray(Image.open(file)) for file in files if not chosen or file.stem in chosen]


def saved_as_jpeg(pixels, quality):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def noise(index, shape):
    """Standard normal: of seed 0, epoch 0 and the image alone."""
    (own,) = np.random.default_rng((0, 0, index)).spawn(1)
    own.random(2)  # is it clean, is it of the least scale
    own.random(3)  # whether there is noise, its sigma, whether it is gray
    return own.standard_normal(shape, np.float32)


@pytest.mark.parametrize("workers", [0, 2])
def test_jpeg_is_that_of_pillow(benchmark, workers):
    rows = evaluated(benchmark, "live1", "--model", "bicubic", "--workers", workers)
    assert list(rows) == [f"LIVE1 q{quality} x1" for quality in (10, 20, 30, 40)]
    for quality in (10, 20, 30, 40):
        row = rows[f"LIVE1 q{quality} x1"]
        wanted = [
            peak_signal_noise_ratio(pixels, saved_as_jpeg(pixels, quality), data_range=255)
            for pixels in images(benchmark, "LIVE1")
        ]
        assert [image["psnr"] for image in row["per_image"]] == pytest.approx(wanted, abs=1e-3)
        assert row["psnr"] == pytest.approx(np.mean(wanted), abs=1e-3)
        protocol = row["protocol"]
        assert (protocol["channels"], protocol["shave"], protocol["eval_type"]) == (
            "gray",
            0,
            "gray",
        )
        assert protocol["lr"] == "degraded here"
        assert protocol["wrapper"]["args"]["low"] == [
            {"name": "jpeg", "args": {"quality": quality}}
        ]


def test_noise_is_that_of_a_seed_and_the_image(benchmark):
    rows = evaluated(benchmark, "cbsd68", "--model", "bicubic", "--workers", "0")
    for sigma in SIGMAS:
        wanted = []
        for i, pixels in enumerate(images(benchmark, "B100", "0", "2")):
            truth = pixels / 255
            found = (truth + noise(i, pixels.shape) * sigma / 255).clip(0, 1)
            wanted.append(peak_signal_noise_ratio(truth, found, data_range=1))
        row = rows[f"CBSD68 s{sigma} x1"]
        assert [image["psnr"] for image in row["per_image"]] == pytest.approx(wanted, abs=1e-3)
        assert row["protocol"]["channels"] == "RGB"
    other = evaluated(benchmark, "cbsd68", "--model", "bicubic", "--workers", "2")
    assert [row["per_image"] for row in other.values()] == [
        row["per_image"] for row in rows.values()
    ]


def test_noise_beyond_black_and_white_reaches_the_model(benchmark, monkeypatch):
    monkeypatch.chdir(benchmark)
    last = load_test(ROOT / "configs/test/cbsd68.yaml", datasets=datasets.registry)[-1]
    found = [batch["inp"][0] for batch in make_loader(last.config.test_dataset, num_workers=0)]
    for i, pixels in enumerate(images(benchmark, "B100", "0", "2")):
        wanted = pixels / 255 + noise(i, pixels.shape) * 50 / 255
        assert wanted.min() < -0.1
        assert wanted.max() > 1.1
        assert found[i].permute(1, 2, 0).numpy() == pytest.approx(wanted, abs=1e-6)


def test_a_model_is_asked_at_the_size_of_its_input(benchmark):
    options = ["--model", "m.pth", "--workers", "0", "--save", "out"]
    row = evaluated(benchmark, "cbsd68", *options)["CBSD68 s25 x1"]
    model, norm = load_model(str(benchmark / "m.pth"))
    assert norm == NORM
    for i, (pixels, image) in enumerate(
        zip(images(benchmark, "B100", "0", "2"), row["per_image"], strict=True)
    ):
        truth = pixels / 255
        noisy = torch.from_numpy(truth + noise(i, pixels.shape) * 25 / 255).float()
        with torch.no_grad():
            wanted = super_resolve(model.eval(), noisy.permute(2, 0, 1), pixels.shape[:2], norm)
        file = benchmark / f"out/CBSD68 s25/x1/{Path(image['file']).stem}.png"
        found = torch.from_numpy(np.asarray(Image.open(file)) / 255).permute(2, 0, 1)
        assert (found - wanted).abs().max() < 0.6 / 255
        assert (wanted - noisy.permute(2, 0, 1).clamp(0, 1)).abs().mean() > 1 / 255
        psnr = peak_signal_noise_ratio(truth, wanted.permute(1, 2, 0).double().numpy())
        assert image["psnr"] == pytest.approx(psnr, abs=1e-3)


def test_shrunk_then_noise_then_jpeg(benchmark):
    options = ["--model", "bicubic", "--workers", "0", "--scale", "1", "2", "3.5"]
    rows = evaluated(benchmark, "set14-degraded", *options)
    titles = [f"Set14 degraded q{quality} x{scale:g}" for quality in (30, 75) for scale in (1, 2)]
    assert list(rows) == [*titles, "Set14 degraded q30 x3.5", "Set14 degraded q75 x3.5"]
    for title, row in rows.items():
        quality, scale = (float(part[1:]) for part in title.split()[-2:])
        assert row["protocol"]["eval_type"] == f"benchmark-{scale:g}"
        shave = int(np.ceil(scale))
        for i, (pixels, image) in enumerate(
            zip(images(benchmark, "Set14"), row["per_image"], strict=True)
        ):
            height, width = (int(n / scale) for n in pixels.shape[:2])
            size = (round(width * scale), round(height * scale))
            hr = Image.fromarray(pixels).crop((0, 0, *size))
            small = np.asarray(hr.resize((width, height), Image.Resampling.BICUBIC))
            noisy = np.rint(small + noise(i, small.shape) * 5).clip(0, 255).astype(np.uint8)
            sr = pillow_bicubic(saved_as_jpeg(noisy, int(quality)), size)
            luma = (sr - np.asarray(hr)) / 255 @ np.array([65.738, 129.057, 25.064]) / 256
            inner = luma[shave:-shave, shave:-shave]
            assert image["psnr"] == pytest.approx(-10 * np.log10((inner**2).mean()), abs=0.02)


def test_a_missing_set_is_one_line(tmp_path):
    config = ROOT / "configs/test/live1.yaml"
    error = fails(tmp_path, "test.py", "--config", config, "--model", "bicubic")
    assert len(error.splitlines()) == 1
    assert "load/benchmark/LIVE1/HR: cannot read the image folder" in error
