"""Models whose decoder has one colour: they take and give gray images."""

import pytest
import torch
from torch import nn

import models
from errors import UserError
from models.base import encoder_of
from models.channels import colour_channels
from models.literal import FORMULAS
from models.literal.places import bilinear
from tests.cases import GRAY_ARGS, SMALL_ARGS, SPECS, make, queries
from utils import make_cell, make_coord

SKIPPING = {"input_skip": "bilinear"}
CASES = [*GRAY_ARGS.items(), ("liif", GRAY_ARGS["liif"] | SKIPPING)]
CASES += [("lmliif", GRAY_ARGS["lmliif"] | SKIPPING)]


def literally(name, args, model, inp, coord, cell):
    """The encoder sees the channel three times, written out; the rest of the formula has one."""
    rgb = FORMULAS[name](model, inp, model.encoder(torch.cat([inp, inp, inp], dim=1)), coord, cell)
    return rgb + bilinear(inp, coord) if "input_skip" in args else rgb


@pytest.mark.parametrize(("name", "args"), CASES, ids=str)
def test_values_and_gradients(name, args):
    model = make(name, **args).double()
    inp = torch.randn(2, 1, 7, 9, dtype=torch.float64, requires_grad=True)
    coord, cell = queries(2, 60, torch.float64)
    used = [inp] + [p for p in model.parameters() if p.requires_grad]
    fast, literal = model(inp, coord, cell), literally(name, args, model, inp, coord, cell)
    assert fast.shape == (2, 60, 1)
    torch.testing.assert_close(fast, literal, rtol=1e-12, atol=1e-12)
    found, wanted = (
        torch.autograd.grad(x.square().sum(), used, materialize_grads=True) for x in (fast, literal)
    )
    for got, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, right, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("name", "args"), CASES, ids=str)
def test_fast_paths_of_inference(name, args, monkeypatch):
    monkeypatch.setattr("models.reading.amounts.CACHED_FLOATS", 9000)
    monkeypatch.setattr("models.reading.amounts.SMALLEST_BLOCK", 0)
    model = make(name, **args).double()
    inp = torch.randn(1, 1, 8, 9, dtype=torch.float64)
    coord = make_coord((40, 31)).double().unsqueeze(0)
    cell = make_cell((40, 31)).double().expand_as(coord)
    with torch.no_grad():
        wanted = literally(name, args, model, inp, coord, cell)
        torch.testing.assert_close(model(inp, coord, cell), wanted, rtol=1e-12, atol=1e-12)
        picture = model.query_rgb(coord.unflatten(1, (40, 31)), cell[:, 0])
    torch.testing.assert_close(picture.flatten(2).mT, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("input_skip", ["none", "bilinear"])
def test_scales_of_a_picture(input_skip):
    """As a model of three equal channels; the first scale is the input."""
    tables = {32.0: {1.0: 0.05, 4.0: 0.07, 32.0: 1.0}}
    args = {"cmsr_spec": {"s2m_tables": tables}, "input_skip": input_skip}
    one, three = make("lmliif", **GRAY_ARGS["lmliif"], **args), make("lmliif", **args)
    state = one.state_dict()
    for key in ("imnet.layers.6.weight", "imnet.layers.6.bias"):
        state[key] = torch.cat([state[key]] * 3)
    three.load_state_dict(state)
    inp = torch.randn(1, 1, 5, 6)
    coord, cell = make_coord((60, 72)).unsqueeze(0), make_cell((60, 72)).expand(1, 60 * 72, 2)
    with torch.no_grad():
        rgb = one(inp, coord, cell)
        wanted = three(inp.expand(1, 3, 5, 6), coord, cell)
        one.cmsr = None
        assert (one(inp, coord, cell) - rgb).abs().max() > 0.01
    assert rgb.shape == (1, 60 * 72, 1)
    torch.testing.assert_close(rgb.expand_as(wanted), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SPECS)
def test_channels_of_models_as_published(name):
    assert colour_channels(make(name)) == 3


@pytest.mark.parametrize(("name", "args"), CASES, ids=str)
def test_channels_of_gray_models(name, args):
    assert colour_channels(make(name, **args)) == 1


@pytest.mark.parametrize("skip", ["none", "bicubic"])
def test_other_channels_are_refused(skip):
    imnet = {"name": "mlp", "args": {"out_dim": 2, "hidden_list": []}}
    with pytest.raises(UserError, match=r"gives 2 channels; 1 \(gray\) and 3 \(RGB\) are what"):
        colour_channels(make("liif", imnet_spec=imnet, input_skip=skip))


def test_asking_for_the_channels_changes_nothing():
    swinir = {"name": "swinir", "args": SMALL_ARGS["swinir"]}
    model = make("liif", encoder_spec=swinir).train()
    model.encoder.norm.eval()
    coord, cell = queries(1, 5)
    model.gen_feat(torch.randn(1, 3, 8, 8))
    modes = [module.training for module in model.modules()]
    with torch.no_grad():
        before, random = model.query_rgb(coord, cell), torch.get_rng_state()
        assert colour_channels(model) == 3
        assert torch.equal(model.query_rgb(coord, cell), before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_of_other_code(channels):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Conv2d(channels, channels, 3)

        def gen_feat(self, inp):
            self.feat = self.encoder(inp)

        def query_rgb(self, coord, cell):
            return self.feat.mean((2, 3)).unsqueeze(1).expand(-1, coord.shape[1], -1)

    assert colour_channels(Other()) == channels


@pytest.mark.parametrize("name", ["lte", "lmlte", "sronet", "ciaosr", "lmciaosr", "clit"])
def test_a_gray_input_is_not_broadcast_to_colours(name):
    with pytest.raises(UserError, match="gives 3 channels where 1"):
        make(name)(torch.randn(1, 1, 4, 4), torch.zeros(1, 1, 2), torch.ones(1, 1, 2))


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"bicubic"}))
def test_the_encoder_of_a_model(name):
    model = make(name)
    encoder = encoder_of(model)
    keys = {key for key in model.state_dict() if key.startswith("encoder.")}
    assert {f"encoder.{key}" for key in encoder.state_dict()} == keys
    assert keys


def test_an_encoder_begins_with_one_that_was_trained_alone():
    trained = models.make({"name": "edsr-baseline", "args": SMALL_ARGS["edsr-baseline"]})
    model = make("liif")
    encoder_of(model).load_state_dict(trained.state_dict())  # its upsampler is left out
    inp = torch.randn(1, 3, 5, 6)
    torch.testing.assert_close(
        model.gen_feat(inp), trained.body(trained.head(inp)) + trained.head(inp)
    )


def test_a_model_without_an_encoder():
    with pytest.raises(UserError, match="Bicubic has no encoder"):
        encoder_of(make("bicubic"))
    with pytest.raises(UserError, match="Linear has no encoder"):
        encoder_of(nn.Linear(2, 2))
