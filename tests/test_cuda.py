"""What only a GPU can show, with ``-m cuda``: the numbers of the CPU, in its own memory."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

import models
import training.loop
from datasets.image_folder import ImageFolder
from datasets.loader import BatchLoader
from engine import PUBLISHED_NORM
from parallel import Group
from rendering.grid import output_grid
from rendering.picture import Picture
from rendering.tiles import Renderer
from tests.cases import CONTINUOUS, make, queries
from tests.datasets.test_workers import WRAPPERS
from tests.golden import rules
from tests.models.test_formulas import gradients
from tests.models.test_golden import FILES
from tests.programs import load, succeeds, train
from training.recipe import make_optimizer
from training.step import train_step

GPU = torch.device("cuda", 0)

pytestmark = pytest.mark.cuda


@pytest.fixture(autouse=True)
def gpu():
    assert torch.cuda.is_available(), "these tests need a GPU"


@pytest.fixture
def exact(monkeypatch):
    """Convolutions and matrix products in fp32, not TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name != "bicubic"])
def test_every_model_gives_the_values_and_gradients_of_the_cpu(name):
    inp, (coord, cell) = torch.rand(2, 3, 9, 7).double() * 2 - 1, queries(2, 50, torch.float64)
    found = []
    for device in ("cpu", GPU):
        model = make(name).double().to(device)
        rgb = model(inp.to(device), coord.to(device), cell.to(device))
        assert rgb.device.type == torch.device(device).type
        weights = [p for p in model.parameters() if p.requires_grad]
        found.append([x.cpu() for x in (rgb.detach(), *gradients(rgb, weights))])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["sampled", "whole", "fast", "paired-fast", "own draw"])
def test_batches_have_the_bits_of_the_cpu(name, tmp_path):
    pixels = np.arange(3 * 211 * 307, dtype=np.uint64) * 7919 % 256
    image = pixels.reshape(211, 307, 3).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "x.png")
    samples = WRAPPERS[name](ImageFolder(str(tmp_path), repeat=6))
    for workers in (0, 1):
        batches = [
            list(BatchLoader(samples, 2, num_workers=workers, group=Group(device=device)))
            for device in (torch.device("cpu"), GPU)
        ]
        for wanted, ours in zip(*batches, strict=True):
            for key, value in wanted.items():
                assert ours[key].device == GPU
                assert torch.equal(ours[key].cpu(), value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_model_agrees_with_published_output(path, exact):
    golden = np.load(path)
    case = json.loads(str(golden["case"]))
    model = models.make(case["spec"]).eval()
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    weights = {key: torch.from_numpy(rules.weight(key, s)) for key, s in shapes.items()}
    model.load_state_dict(weights)
    inp = torch.from_numpy((rules.batch(case) - 0.5) / 0.5).to(GPU)
    coord, cell = (
        torch.from_numpy(x).expand(len(inp), -1, -1).to(GPU) for x in rules.queries(case)
    )
    with torch.no_grad():
        rgb = model.to(GPU)(inp, coord, cell).cpu().numpy()
    assert np.abs(rgb - golden["rgb"]).max() <= 1e-5 * np.abs(golden["rgb"]).max()


@pytest.mark.parametrize("name", CONTINUOUS)
def test_pictures_are_those_of_the_cpu(name, exact):
    pixels = np.random.default_rng(0).random((40, 33, 3), dtype=np.float32)
    rows, cols = output_grid((40, 33), scale=(3.3, 2.7))
    pictures = []
    for device in ("cpu", GPU):
        renderer = Renderer(make(name).to(device))
        renderer.queries = 2000
        bands = list(renderer.render(Picture(pixels), rows, cols))
        assert {band.device.type for band in bands} == {"cpu"}
        pictures.append(torch.cat(bands, dim=2))
    torch.testing.assert_close(*pictures, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name != "bicubic"])
@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_half_precision_hits_the_same_codes(name, amp):
    """A query that hit another code would be off by its whole colour."""
    torch.manual_seed(0)
    model, inp = make(name).to(GPU), torch.rand(1, 3, 24, 24, device=GPU) * 2 - 1
    coord, cell = (x.to(GPU) for x in queries(1, 2304))
    with torch.no_grad():
        wanted = model(inp, coord, cell)
        with torch.autocast("cuda", {"bf16": torch.bfloat16, "fp16": torch.float16}[amp]):
            rgb = model(inp, coord, cell)
    assert (rgb - wanted).abs().max() <= 0.05 * wanted.abs().max()


@pytest.mark.parametrize("name", [name for name in CONTINUOUS if name != "bicubic"])
@pytest.mark.parametrize("amp", [None, "bf16", "fp16"])
def test_every_model_learns(name, amp):
    model = make(name).train().to(GPU)
    optimizer = make_optimizer({"name": "adam", "args": {"lr": 1e-3}}, model.parameters())
    scaler = torch.amp.GradScaler("cuda", enabled=amp == "fp16")
    coord, cell = queries(2, 256)
    batch = {"inp": torch.rand(2, 3, 12, 12), "coord": coord, "cell": cell[:, :1].expand_as(cell)}
    batch["gt"] = (batch["coord"].sum(-1, keepdim=True) * torch.tensor([1.0, 0.5, -1])).sigmoid()
    batch = {key: value.to(GPU) for key, value in batch.items()}
    losses = []
    for _ in range(40):
        loss, finite = train_step(
            model, optimizer, batch, PUBLISHED_NORM, amp=amp, scaler=scaler, grad_clip=1.0
        )
        assert finite
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"amp": "bf16", "ema": 0.9},
        {"amp": "fp16"},
        {"compile": True},
        {"compile": "reduce-overhead", "amp": "bf16"},
    ],
)
def test_a_run_that_was_stopped_goes_on(folder, changes):
    out = train(folder, "--name", "whole", **changes)
    assert "on cuda:0" in out
    logs = [json.loads(line) for line in (folder / "save/whole/log.jsonl").read_text().splitlines()]
    assert all(line["gpu_mib"] > 0 for line in logs)
    train(folder, "--name", "parts", epoch_max=2, **changes)
    out = train(folder, "--name", "parts", "--resume", "--force", **changes)
    assert "after epoch 2" in out
    ends = [load(folder / "save" / name / "epoch-last.pth") for name in ("whole", "parts")]
    assert ends[0]["epoch"] == ends[1]["epoch"] == 4
    assert ends[0]["record"]["loss"] == pytest.approx(ends[1]["record"]["loss"], rel=0.02)
    assert ends[0]["record"]["psnr"] == pytest.approx(ends[1]["record"]["psnr"], abs=0.1)
    picture = folder / "o.png"
    Image.fromarray(data.chelsea()[:60, :80]).save(folder / "i.png")
    model = folder / "save/parts/epoch-best.pth"
    args = ["--input", folder / "i.png", "--model", model, "--scale", 2.5, "--overwrite"]
    succeeds(folder, "demo.py", *args, "--output", picture)
    succeeds(folder, "demo.py", *args, "--gpu", "cpu", "--output", folder / "cpu.png")
    ours, wanted = (
        np.asarray(Image.open(path)).astype(int) for path in (picture, folder / "cpu.png")
    )
    assert np.abs(ours - wanted).max() <= 1


def test_a_signal_ends_a_run_after_its_step(folder, monkeypatch):
    real, steps = training.loop.train_step, []

    def step(*args, **options):
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    monkeypatch.setattr(training.loop, "train_step", step)
    with pytest.raises(AssertionError):
        train(folder, "--name", "stopped")
    assert len(steps) == 5
    state = load(folder / "save/stopped/epoch-last.pth")
    assert 3 * state["epoch"] + state["step"] == 5


def test_a_full_gpu_gets_smaller_tiles(capsys, exact):
    encoder = {"name": "edsr-baseline", "args": {"no_upsampling": True}}
    imnet = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [256] * 4}}
    torch.manual_seed(0)
    model = models.make({"name": "liif", "args": {"encoder_spec": encoder, "imnet_spec": imnet}})
    renderer = Renderer(model.eval().to(GPU))
    pixels = np.random.default_rng(0).random((700, 700, 3), dtype=np.float32)
    rows, cols = output_grid((700, 700), scale=(2, 2))
    wanted = torch.cat(list(renderer.render(Picture(pixels), rows, cols)), dim=2)
    assert "out of memory" not in capsys.readouterr().err
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(600 * 2**20 / total, GPU)
    try:
        found = torch.cat(list(renderer.render(Picture(pixels), rows, cols)), dim=2)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert "out of memory: going on with tiles" in capsys.readouterr().err
    assert (found - wanted).abs().max() <= 1e-4
