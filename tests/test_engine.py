import math

import pytest
import torch
from skimage.metrics import structural_similarity

from engine import batched_predict, self_ensemble, super_resolve
from errors import UserError
from scoring import Measure, eval_psnr, evaluate, score
from tests.cases import make, queries
from training.step import train_step
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
    results = list(evaluate([batch], model, Measure(), HALF))
    wanted = (predict(model, batch) - batch["gt"]).square().mean((1, 2))
    assert [r.psnr for r in results] == pytest.approx((-10 * wanted.log10()).tolist(), abs=1e-4)
    assert [r.number for r in results] == [0, 1]
    assert results[0].picture is None
    with pytest.raises(UserError, match="whole images"):
        list(evaluate([batch], model, Measure("benchmark-2"), HALF))
    with pytest.raises(UserError, match="eval_type gray needs whole images"):
        list(evaluate([batch], model, Measure("gray"), HALF))


def test_an_eval_type_says_protocol_and_scale():
    found = [
        (measure.protocol, measure.scale, measure.shave)
        for measure in map(Measure, (None, "gray", "benchmark-2.5", "div2k-3"))
    ]
    assert found == [(None, None, 0), ("gray", None, 0), ("benchmark", 2.5, 3), ("div2k", 3, 9)]
    for wrong in ("gray-2", "benchmark", "set5-2", ""):
        with pytest.raises(UserError, match="expected benchmark-S, div2k-S or gray"):
            Measure(wrong)


def test_an_image_reproduced_exactly_does_not_spoil_the_mean():
    model = make("bicubic")
    rough = sample((20, 21), seed=1)
    exact = sample((8, 10))
    exact["gt"] = batched_predict(model, exact["inp"], exact["coord"], exact["cell"], None)
    with pytest.warns(UserWarning, match="1 images are reproduced exactly"):
        assert eval_psnr([rough, exact], model) == eval_psnr([rough], model)
    with pytest.warns(UserWarning, match="exactly"):
        assert math.isinf(eval_psnr([exact], model))


def test_scores_tell_each_image(recwarn):
    model = make("bicubic")
    exact, rough = sample((8, 10)), sample((20, 21), seed=1)
    exact["gt"] = batched_predict(model, exact["inp"], exact["coord"], exact["cell"], None)
    kept = []
    scores = score([exact, rough], model, Measure(), on_image=kept.append)
    assert [(image.number, image.size) for image in scores.images] == [(0, (8, 10)), (1, (20, 21))]
    assert [image.picture is None for image in scores.images] == [True, True]
    assert kept[1].picture.shape == (3, 20, 21)
    assert scores.exact == 1
    assert scores.psnr == scores.images[1].psnr == kept[1].psnr


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
    with pytest.raises(UserError, match=f"gives {channels} channels where 3"):
        train_step(model, torch.optim.SGD(model.parameters()), sample((20, 25)), HALF)


GRAY_MODEL = {"imnet_spec": {"name": "mlp", "args": {"out_dim": 1, "hidden_list": [16]}}}


@pytest.mark.parametrize("ensemble", [False, True])
@pytest.mark.parametrize(
    ("eval_type", "border"), [(None, 0), ("gray", 0), ("benchmark-2", 2), ("div2k-2", 8)]
)
def test_gray_images_are_evaluated_without_luma_weights(eval_type, border, ensemble):
    model, batch = make("liif", **GRAY_MODEL, input_skip="bilinear"), sample((28, 33))
    batch = {**batch, "inp": batch["inp"][:, :1], "gt": batch["gt"][..., :1]}
    measure = Measure(eval_type, 77, ensemble, ("psnr", "ssim"))
    (got,) = evaluate([batch], model, measure, HALF)
    assert got.picture.shape == (1, 28, 33)
    if not ensemble:
        rendered = super_resolve(model, batch["inp"][0], (28, 33), HALF)
        torch.testing.assert_close(got.picture, rendered, rtol=0, atol=1e-5)
    inner = slice(border, -border or None)
    sr, hr = (x.view(28, 33)[inner, inner] for x in (got.picture, batch["gt"]))
    assert got.psnr == pytest.approx(-10 * (sr - hr).square().mean().log10().item(), abs=1e-4)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    ssim = structural_similarity(sr.double().numpy(), hr.double().numpy(), data_range=1, **options)
    assert got.values["ssim"] == pytest.approx(ssim, abs=1e-6)
    train_step(model, torch.optim.SGD(model.parameters()), batch, HALF)


def test_images_for_another_kind_of_model():
    gray, three = make("liif", **GRAY_MODEL), torch.rand(3, 8, 10)
    norm = {key: {"sub": [0.4, 0.5, 0.6], "div": [0.5]} for key in ("inp", "gt")}
    with pytest.raises(UserError, match=r"inp\.sub has 3 numbers for 1 channels"):
        super_resolve(gray, three[:1], (9, 9), norm)
    batch = sample((20, 25))
    batch = {**batch, "inp": batch["inp"][:, :1], "gt": batch["gt"][..., :1]}
    with pytest.raises(UserError, match=r"inp\.sub has 3 numbers for 1 channels"):
        eval_psnr([batch], gray, norm)
    for model, image in ((gray, three), (make("liif"), three[:1])):
        with pytest.raises(UserError, match="out_dim of its decoder and channels of the dataset"):
            super_resolve(model, image, (9, 9))


def test_all_pixels_in_another_order_are_no_picture():
    batch = sample((20, 25))
    order = torch.randperm(500)
    mixed = {k: v if k == "inp" else v[:, order] for k, v in batch.items()}
    (straight,), (shuffled,) = (
        evaluate([b], make("liif"), Measure(), HALF) for b in (batch, mixed)
    )
    assert straight.picture is not None
    assert shuffled.picture is None
    assert shuffled.psnr == pytest.approx(straight.psnr, abs=1e-4)


def test_self_ensemble_is_the_mean_over_turned_pictures():
    model, image = make("liif"), torch.rand(1, 3, 8, 10)
    size = (20, 33)
    coord, cell = make_coord(size).unsqueeze(0), make_cell(size)
    total = 0
    for quarter in range(4):
        for mirrored in (False, True):
            turned = torch.rot90(image.flip(-1) if mirrored else image, quarter, (-2, -1))
            shape = size if quarter % 2 == 0 else size[::-1]
            batch = sample(shape)
            with torch.no_grad():
                pred = model(turned, batch["coord"], batch["cell"])
            picture = torch.rot90(pred.mT.unflatten(2, shape), -quarter, (-2, -1))
            total = total + (picture.flip(-1) if mirrored else picture)
    got = self_ensemble(model, image, coord, cell.expand_as(coord), 100)
    torch.testing.assert_close(got.mT.unflatten(2, size), total / 8, atol=1e-5, rtol=0)


def test_queries_as_a_grid_are_the_same_queries():
    model, batch = make("lte"), sample((28, 33), seed=1)
    grid = {
        "inp": batch["inp"],
        "coord": batch["coord"].unflatten(1, (28, 33)),
        "cell": batch["cell"][:, 0],
        "gt": batch["gt"].mT.unflatten(2, (28, 33)),
    }
    for options in ({}, {"ensemble": True}, {"eval_bsize": 100}):
        (one,) = evaluate([grid], model, Measure("benchmark-3", **options), HALF)
        (other,) = evaluate([batch], model, Measure("benchmark-3", **options), HALF)
        assert one.psnr == pytest.approx(other.psnr, abs=1e-4)
        torch.testing.assert_close(one.picture, other.picture)
    optimizer = torch.optim.SGD(model.parameters(), lr=0)
    losses = [train_step(model, optimizer, given, HALF)[0] for given in (grid, batch)]
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize(("scale", "factor"), [(3, 1), (4, 1), (6, 1.5), (12, 3)])
def test_cells_are_not_smaller_than_those_the_model_was_trained_with(scale, factor):
    """As the published test of LTE: the cell times max(scale / 4, 1)."""
    size = (8 * scale, 10 * scale)
    model, batch = make("lte"), sample(size)
    got = super_resolve(model, batch["inp"][0], size)
    wanted = predict(model, {**batch, "cell": batch["cell"] * factor})[0].T.unflatten(1, size)
    torch.testing.assert_close(got, wanted)
    (evaluated,) = evaluate([batch], model, Measure(), HALF)
    torch.testing.assert_close(evaluated.picture, wanted)


def test_queries_that_see_each_other_are_asked_together():
    """SRNO's colours are those of the picture as one call, whatever eval_bsize."""
    model, batch = make("sronet"), sample((28, 33))
    scores = [eval_psnr([batch], model, HALF, None, eval_bsize=n) for n in (None, 10, 500)]
    assert scores[0] == scores[1] == scores[2]
    with torch.no_grad():
        inp = batch["inp"] * 2 - 1
        one = model(inp, batch["coord"], batch["cell"])
        few = model(inp, batch["coord"][:, :100], batch["cell"][:, :100])
    assert (one[:, :100] - few).abs().max() > 1e-4
