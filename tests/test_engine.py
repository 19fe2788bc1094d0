import math

import pytest
import torch

from configs.spec import UserError
from engine import (
    IDENTITY_NORM,
    batched_predict,
    eval_psnr,
    evaluate,
    super_resolve,
    train_step,
)
from tests.cases import make, queries
from training.recipe import LOSSES, make_optimizer
from utils import calc_psnr, make_cell, make_coord

HALF = {key: {"sub": [0.5], "div": [0.5]} for key in ("inp", "gt")}


def sample(size, target=None, seed=0):
    """A batch of one whole image, 8 x 10 pixels of input."""
    generator = torch.Generator().manual_seed(seed)
    coord = make_coord(size).unsqueeze(0)
    gt = torch.rand(1, len(coord[0]), 3, generator=generator) if target is None else target
    inp = torch.rand(1, 3, 8, 10, generator=generator)
    return {"inp": inp, "coord": coord, "cell": make_cell(size).expand_as(coord), "gt": gt}


def predict(model, batch, norm=HALF):
    with torch.no_grad():
        inp = (batch["inp"] - norm["inp"]["sub"][0]) / norm["inp"]["div"][0]
        pred = model(inp, batch["coord"], batch["cell"])
    return (pred * norm["gt"]["div"][0] + norm["gt"]["sub"][0]).clamp(0, 1)


@pytest.mark.parametrize("eval_type", [None, "benchmark-2", "div2k-3", "benchmark-2.5"])
def test_eval_psnr_is_the_mean_of_the_images_own(eval_type):
    model = make("liif")
    batches = [sample((28, 33), seed=1), sample((40, 31), seed=2), sample((33, 33), seed=3)]
    wanted = []
    for batch, (h, w) in zip(batches, [(28, 33), (40, 31), (33, 33)], strict=True):
        sr, hr = (x[0].T.view(3, h, w) for x in (predict(model, batch), batch["gt"]))
        dataset, _, scale = (eval_type or "-1").partition("-")
        wanted.append(calc_psnr(sr, hr, dataset or None, float(scale)).item())
    got = eval_psnr(batches, model, HALF, eval_type, eval_bsize=77)
    assert got == pytest.approx(sum(wanted) / 3, abs=1e-4)


def test_images_of_a_batch_count_one_each():
    model = make("liif")
    one, two = sample((20, 21), seed=1), sample((20, 21), seed=2)
    both = {key: torch.cat([one[key], two[key]]) for key in one}
    assert eval_psnr([both], model) == pytest.approx(eval_psnr([one, two], model), abs=1e-4)


def test_points_without_an_image_are_compared_as_they_are():
    model = make("liif")
    coord, cell = queries(2, 50)
    batch = {
        "inp": torch.rand(2, 3, 8, 8),
        "coord": coord,
        "cell": cell,
        "gt": torch.rand(2, 50, 3),
    }
    results = list(evaluate([batch], model, HALF))
    wanted = (predict(model, batch) - batch["gt"]).square().mean((1, 2))
    assert [r.psnr for r in results] == pytest.approx((-10 * wanted.log10()).tolist(), abs=1e-4)
    assert [r.number for r in results] == [0, 1]
    assert results[0].picture is None
    with pytest.raises(UserError, match="whole images"):
        list(evaluate([batch], model, HALF, "benchmark-2"))


def test_an_image_reproduced_exactly_does_not_spoil_the_mean():
    model = make("bicubic")
    rough = sample((20, 21), seed=1)
    exact = sample((8, 10))
    exact["gt"] = batched_predict(model, exact["inp"], exact["coord"], exact["cell"], None)
    with pytest.warns(UserWarning, match="1 images are reproduced exactly"):
        assert eval_psnr([rough, exact], model) == eval_psnr([rough], model)
    with pytest.warns(UserWarning, match="exactly"):
        assert math.isinf(eval_psnr([exact], model))


def test_wrong_eval_type():
    with pytest.raises(UserError, match="set5-2"):
        eval_psnr([], make("bicubic"), eval_type="set5-2")


def test_an_image_too_small_for_the_protocol():
    with pytest.raises(UserError, match="image 1 of the set: nothing of 20x25 pixels is left"):
        eval_psnr([sample((20, 25))], make("bicubic"), eval_type="div2k-4")


def test_on_image_gets_the_picture():
    model, batch = make("liif"), sample((20, 25))
    seen = []
    eval_psnr([batch], model, HALF, on_image=seen.append)
    assert seen[0].picture.shape == (3, 20, 25)
    torch.testing.assert_close(seen[0].picture, predict(model, batch)[0].T.view(3, 20, 25))


def test_no_queries_give_no_colours():
    empty = torch.zeros(1, 0, 2)
    assert batched_predict(make("liif"), torch.rand(1, 3, 8, 8), empty, empty, 9).shape == (1, 0, 3)


@pytest.mark.parametrize("size", [(20, 25), (3, 4), (1, 1), (8, 31)], ids=str)
def test_super_resolve(size):
    model, image = make("liif"), torch.rand(3, 8, 10)
    picture = super_resolve(model, image, size, bsize=100)
    batch = {**sample(size), "inp": image.unsqueeze(0)}
    wanted = predict(model, batch)[0].T.view(3, *size)
    torch.testing.assert_close(picture, wanted, atol=1e-5, rtol=0)


def test_super_resolve_at_scale_one_with_bicubic_is_the_image():
    image = torch.rand(3, 8, 10)
    torch.testing.assert_close(super_resolve(make("bicubic"), image, (8, 10)), image)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_model_of_other_channels_is_refused(channels):
    imnet = {"name": "mlp", "args": {"out_dim": channels, "hidden_list": [8]}}
    model = make("liif", imnet_spec=imnet)
    with pytest.raises(UserError, match=f"gives {channels} channels where 3"):
        eval_psnr([sample((20, 25))], model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UserError, match=f"gives {channels} channels where 3"):
        train_step(model, optimizer, next(batches(1)), HALF)


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


def test_all_pixels_in_another_order_are_no_picture():
    batch = sample((20, 25))
    order = torch.randperm(500)
    mixed = {k: v if k == "inp" else v[:, order] for k, v in batch.items()}
    (straight,), (shuffled,) = (evaluate([b], make("liif"), HALF) for b in (batch, mixed))
    assert straight.picture is not None
    assert shuffled.picture is None
    assert shuffled.psnr == pytest.approx(straight.psnr, abs=1e-4)


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

    def look(latent, coord, cell):
        rgb = decode(latent, coord, cell)
        seen.append((latent.feat.dtype, coord.dtype, cell.dtype, rgb.dtype))
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
