"""The encoder span: published outputs, its training form, and its fused kernels."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from benchmarks.count_model import multiply_adds
from errors import UserError
from models.checkpoint import begin_with
from rendering.tile_size import find_reach
from tests.cases import IMNET, SMALL_ARGS
from tests.golden import rules
from tests.models.test_family import fill, queries
from training.recipe import make_average

GOLDEN = Path(__file__).parents[1] / "golden" / "span"
FILES = sorted(GOLDEN.glob("*.npz"))
PLAIN = {"img_range": 1, "rgb_mean": [0, 0, 0]}
SMALL = {"name": "span", "args": {**SMALL_ARGS["span"], "no_upsampling": True}}
NORM = {name: {"sub": [0.5], "div": [0.5]} for name in ("inp", "gt")}


def test_all_cases_are_there():
    assert len(FILES) == 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_agrees_with_published_output(path):
    golden = np.load(path)
    case = json.loads(str(golden["case"]))
    call = case.get("call")
    args = {} if call is None else {"no_upsampling": False}  # the file's keys have an upsampler
    whole = models.make(case["spec"], args=args).eval()
    keys = [f"{key} {tuple(value.shape)}" for key, value in whole.state_dict().items()]
    assert sorted(keys) == golden["keys"].tolist()
    fill(whole, case)
    unit = torch.from_numpy(rules.batch(case))
    inp = unit if case.get("input") == "unit" else 2 * unit - 1
    with torch.no_grad():
        if call == "feat":
            model = models.make(case["spec"]).eval()
            model.load_state_dict(whole.state_dict())
            found, wanted = model(inp), golden["feat"]
        elif call == "sr":
            found, wanted = whole(inp), golden["rgb"]
        else:
            found = whole(inp, *(x.expand(len(inp), -1, -1) for x in queries(case)))
            wanted = golden["rgb"]
    tolerance = max(1e-5, 5 * case["noise"])
    np.testing.assert_allclose(found.numpy(), wanted, atol=tolerance, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (9, 7)], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_agrees_with_the_training_form_in_values_and_gradients(size, training):
    """Borders included: small images are nothing else."""
    encoder = small().double().train(training)
    inp, weight = torch.randn(2, 3, *size).double(), torch.randn(2, 8, *size).double()
    parameters = dict(encoder.named_parameters())
    feat, wanted = encoder(inp), literal(parameters, inp)
    torch.testing.assert_close(feat, wanted)
    for key, found, value in zip(
        parameters,
        torch.autograd.grad((feat * weight).sum(), list(parameters.values())),
        torch.autograd.grad((wanted * weight).sum(), list(parameters.values())),
        strict=True,
    ):
        torch.testing.assert_close(found, value, msg=lambda text, key=key: f"{key}: {text}")
        assert value.abs().max() > 0, key


def test_kernels_in_a_file_are_neither_read_nor_needed():
    encoder, inp = small(), torch.randn(1, 3, 6, 5)
    state = encoder.state_dict()
    fused = [key for key in state if ".eval_conv." in key]
    assert len(fused) == 2 * 20
    wanted = encoder(inp)
    for changed in (
        {**state, **{key: torch.full_like(state[key], 9) for key in fused}},
        {key: value for key, value in state.items() if key not in fused},
    ):
        other = models.make(SMALL)
        assert not torch.equal(other(inp), wanted)
        other.load_state_dict(changed)
        assert torch.equal(other(inp), wanted)
        assert all(torch.equal(other.state_dict()[key], state[key]) for key in fused)
    with pytest.raises(RuntimeError, match=r"block_3\.c2_r\.sk\.bias"):
        other.load_state_dict({k: v for k, v in state.items() if k != "block_3.c2_r.sk.bias"})


def test_a_saved_kernel_is_what_the_layer_does():
    layer = small().block_2.c1_r
    layer.load_state_dict({k: torch.randn_like(v) for k, v in layer.state_dict().items()})
    state, x = layer.state_dict(), torch.randn(1, 8, 5, 4)
    found = F.conv2d(x, state["eval_conv.weight"], state["eval_conv.bias"], padding=1)
    torch.testing.assert_close(found, expanded(state, "", x), atol=2e-3, rtol=1e-4)
    assert not any(value.requires_grad for value in state.values())


def test_evaluation_follows_the_weights():
    """Of the trained model, of its average and of a copy, each with its own."""
    encoder, inp = small().eval(), torch.randn(1, 3, 6, 5)
    average = make_average(encoder, decay=0.5)
    with torch.no_grad():
        before = encoder(inp)
        copied = copy.deepcopy(encoder)
        for parameter in encoder.parameters():
            parameter.mul_(1.5)
        average.update_parameters(encoder)
        for parameter in encoder.parameters():
            parameter.mul_(0.5)
        average.update_parameters(encoder)
        for model in (encoder, average.module):
            wanted = literal(dict(model.named_parameters()), inp)
            torch.testing.assert_close(model(inp), wanted, atol=1e-5, rtol=1e-5)
            assert (wanted - before).abs().max() > 0.01
        assert torch.equal(copied(inp), before)


def test_published_weights_are_begun_with_and_see_the_image_as_published(tmp_path):
    published = models.make({"name": "span", "args": {"feature_channels": 8}}).eval()
    torch.save({"params": published.state_dict()}, tmp_path / "spanx4.pth")
    args = {"img_range": 127.5, "rgb_mean": [-0.1024, -0.1258, -0.192]}
    encoder = models.make(SMALL, args=args).eval()
    assert begin_with(encoder, tmp_path / "spanx4.pth", NORM) == []
    unit = torch.rand(1, 3, 9, 8)
    with torch.no_grad():
        wanted = published(unit)
        found = published.upsampler(encoder(2 * unit - 1))
    torch.testing.assert_close(found, wanted, atol=1e-3 * wanted.std().item(), rtol=0)


def test_size_and_cost():
    """Of the published width: what the paper's 426 k are without the upsampler's 20,784."""
    spec = {"name": "span", "args": {"no_upsampling": True, **PLAIN}}
    model = models.make({"name": "liif", "args": {"encoder_spec": spec, "imnet_spec": IMNET}})
    encoder = model.encoder
    sizes = {key: value.numel() for key, value in encoder.state_dict().items()}
    assert sum(value.numel() for value in encoder.parameters()) == 1_819_704
    fused = sum(n for key, n in sizes.items() if ".eval_conv." in key or "conv_cat" in key)
    assert fused == 405_504
    assert multiply_adds(model)[0] == 404_496 + 9 * 48 * 16  # and the decoder's first layer


def test_features_see_twenty_pixels_around_theirs():
    model = models.make({"name": "liif", "args": {"encoder_spec": SMALL, "imnet_spec": IMNET}})
    assert find_reach(model.eval()) == 20
    inp = torch.randn(1, 3, 50, 47)
    with torch.no_grad():
        whole, part = model.encoder(inp), model.encoder(inp[..., 3:44, 5:])
    torch.testing.assert_close(whole[..., 23, 25], part[..., 20, 20], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mean", [[0, 0], [0, 0, 0, 0], 0.5], ids=str)
def test_a_mean_has_three_channels(mean):
    with pytest.raises(UserError, match=r"args\.rgb_mean"):
        models.make({"name": "span", "args": {"rgb_mean": mean}})


def small() -> nn.Module:
    torch.manual_seed(0)
    return models.make(SMALL)


def expanded(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """The convolutions of a layer as they are trained, one after the other."""

    def conv(key: str, value: Tensor) -> Tensor:
        return F.conv2d(value, state[f"{name}{key}.weight"], state[f"{name}{key}.bias"])

    padded = F.pad(x, (1, 1, 1, 1))
    return conv("conv.2", conv("conv.1", conv("conv.0", padded))) + conv("sk", x)


def literal(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The features of an image, written out."""
    y = first = shallow = expanded(state, "conv_1.", x)
    outputs = []
    for number in range(1, 7):
        block = f"block_{number}."
        first = expanded(state, f"{block}c1_r.", y)
        first = first * torch.sigmoid(first)
        second = expanded(state, f"{block}c2_r.", first)
        third = expanded(state, f"{block}c3_r.", second * torch.sigmoid(second))
        y = (third + y) * (torch.sigmoid(third) - 0.5)
        outputs.append(y)
    last = expanded(state, "conv_2.", outputs[-1])
    together = torch.cat([shallow, last, outputs[0], first], dim=1)
    return F.conv2d(together, state["conv_cat.weight"], state["conv_cat.bias"])
