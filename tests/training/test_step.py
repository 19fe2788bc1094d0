import pytest
import torch

from engine import IDENTITY_NORM
from tests.cases import make, queries
from training.recipe import LOSSES, make_optimizer
from training.step import train_step

HALF = {key: {"sub": [0.5], "div": [0.5]} for key in ("inp", "gt")}


def batches(count):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        coord, cell = queries(2, 30)
        yield {
            "inp": torch.rand(2, 3, 8, 8, generator=generator),
            "coord": coord,
            "cell": cell,
            "gt": torch.rand(2, 30, 3, generator=generator),
        }


@pytest.mark.parametrize("accumulate", [1, 2, 5])
@pytest.mark.parametrize("loss", LOSSES)
def test_train_step_is_adam_on_the_loss(loss, accumulate):
    """Against the loop written out, with the normalisation; in parts, too."""
    formula = {
        "l1": lambda d: d.abs().mean(),
        "mse": lambda d: (d**2).mean(),
        "smooth-l1": lambda d: torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5).mean(),
    }[loss]
    model, twin = make("liif"), make("liif")
    optimizer = make_optimizer({"name": "adam", "args": {"lr": 1e-3}}, model.parameters())
    other = torch.optim.Adam(twin.parameters(), lr=1e-3)
    for batch in batches(4):
        options = {"loss": LOSSES[loss], "accumulate": accumulate}
        got, finite = train_step(model, optimizer, batch, HALF, **options)
        pred = twin(batch["inp"] * 2 - 1, batch["coord"], batch["cell"])
        wanted = formula(pred - (batch["gt"] * 2 - 1))
        other.zero_grad()
        wanted.backward()
        other.step()
        assert finite
        assert got.item() == pytest.approx(wanted.item(), rel=1e-5)
    for one, two in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_grad_clip_bounds_the_step():
    def moved(clip):
        model = make("liif")
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        train_step(model, optimizer, next(batches(1)), IDENTITY_NORM, grad_clip=clip)
        after = model.parameters()
        return sum((a - b).square().sum() for a, b in zip(after, before, strict=True)).sqrt().item()

    assert moved(None) > 0.02
    assert moved(0.01) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_amp_changes_little(amp):
    """Products of 8 or 11 bits: the loss is off by less than a percent, the weights stay fp32."""
    losses = {}
    for kind in (None, amp):
        model = make("liif").train()
        optimizer = make_optimizer({"name": "sgd", "args": {"lr": 0.1}}, model.parameters())
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=kind == "fp16")
        losses[kind] = [
            train_step(model, optimizer, batch, HALF, amp=kind, scaler=scaler)[0].item()
            for batch in batches(8)
        ]
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert losses[amp] != losses[None]
    assert losses[amp] == pytest.approx(losses[None], rel=0.01)


def test_amp_sees_exact_coordinates(monkeypatch):
    seen = []
    model = make("liif")
    decode = model.decode

    def look(latent, queries):
        rgb = decode(latent, queries)
        seen.append((latent.feat.dtype, queries.coord.dtype, queries.cell.dtype, rgb.dtype))
        return rgb

    monkeypatch.setattr(model, "decode", look)
    optimizer = make_optimizer({"name": "sgd", "args": {"lr": 0.1}}, model.parameters())
    loss, _ = train_step(model, optimizer, next(batches(1)), HALF, amp="bf16")
    assert seen == [(torch.bfloat16, torch.float32, torch.float32, torch.float32)]
    assert loss.dtype == torch.float32


def test_fp16_skips_a_step_whose_gradients_overflow():
    model = make("liif").train()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer = make_optimizer({"name": "adam", "args": {"lr": 0.1}}, model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    train_step(model, optimizer, next(batches(1)), HALF, amp="fp16", scaler=scaler)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert scaler.get_scale() == 2.0**59


def test_a_step_that_is_not_finite_is_told_and_can_be_left_out():
    batch = next(batches(1))
    batch["gt"][0, 3] = torch.nan
    for skip in (False, True):
        model = make("liif")
        before = [p.detach().clone() for p in model.parameters()]
        optimizer = make_optimizer({"name": "adam", "args": {"lr": 0.1}}, model.parameters())
        loss, finite = train_step(model, optimizer, batch, HALF, skip_bad=skip)
        assert loss.isnan()
        assert not finite
        same = [torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)]
        assert all(same) == skip
