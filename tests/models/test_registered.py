"""What holds for every registered name; a new model is tested the moment it exists."""

import copy

import pytest
import torch

import models
from engine import batched_predict, clip_cell
from models.checkpoint import load_model, save_checkpoint
from tests.cases import (
    CONTINUOUS,
    DECODERS,
    ENCODERS,
    SMALL_ARGS,
    SPECS,
    UPSAMPLING,
    make,
    queries,
)


def test_every_name_is_in_the_cases():
    assert sorted([*ENCODERS, *DECODERS, *CONTINUOUS]) == models.registry.names()
    assert sorted(CONTINUOUS) == sorted(SPECS)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("size", [(7, 10), (1, 1), (8, 3)], ids=str)
def test_encoder_keeps_the_size_and_has_out_dim_channels(name, size):
    encoder = models.make({"name": name, "args": SMALL_ARGS[name]}, args={"no_upsampling": True})
    assert encoder(torch.randn(2, 3, *size)).shape == (2, encoder.out_dim, *size)


@pytest.mark.parametrize("name", UPSAMPLING)
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_encoder_with_upsampler_returns_an_image(name, scale):
    encoder = models.make({"name": name, "args": SMALL_ARGS[name]}, args={"scale": scale})
    assert encoder.out_dim == 3
    assert encoder(torch.randn(1, 3, 5, 6)).shape == (1, 3, 5 * scale, 6 * scale)


@pytest.mark.parametrize("name", UPSAMPLING)
def test_encoder_refuses_other_scales(name):
    with pytest.raises(ValueError, match="7"):
        models.make({"name": name, "args": SMALL_ARGS[name]}, args={"scale": 7})


@pytest.mark.parametrize("name", ENCODERS)
def test_an_upsampler_in_the_file_is_left_out_and_nothing_else(name):
    full = models.make({"name": name, "args": SMALL_ARGS[name]})
    bare = models.make({"name": name, "args": SMALL_ARGS[name]}, args={"no_upsampling": True})
    bare.load_state_dict(full.state_dict())
    for key, value in bare.state_dict().items():
        assert torch.equal(value, full.state_dict()[key])
    with pytest.raises(RuntimeError, match="stranger"):
        bare.load_state_dict({**full.state_dict(), "stranger": torch.zeros(1)})


@pytest.mark.parametrize("name", ["edsr-baseline", "edsr", "rcan"])
def test_the_unused_mean_shift_may_be_missing_from_a_file(name):
    encoder = models.make({"name": name, "args": SMALL_ARGS[name]})
    state = {k: v for k, v in encoder.state_dict().items() if "_mean." not in k}
    encoder.load_state_dict(state)
    state.pop("head.0.weight")
    with pytest.raises(RuntimeError, match=r"head\.0\.weight"):
        encoder.load_state_dict(state)


@pytest.mark.parametrize("name", CONTINUOUS)
class TestContinuous:
    @pytest.mark.parametrize("size", [(7, 9), (1, 5), (4, 1), (1, 1)], ids=str)
    def test_shape_of_any_size(self, name, size):
        rgb = make(name)(torch.randn(2, 3, *size), *queries(2, 33))
        assert rgb.shape == (2, 33, 3)
        assert torch.isfinite(rgb).all()

    def test_items_of_a_batch_do_not_meet(self, name):
        model, inp = make(name), torch.randn(3, 3, 6, 7)
        coord, cell = queries(3, 40)
        with torch.no_grad():
            together = model(inp, coord, cell)
            alone = [model(inp[i : i + 1], coord[i : i + 1], cell[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("bsize", [1, 7, 39, 40, 1000])
    def test_chunks_change_nothing(self, name, bsize):
        model, inp = make(name), torch.randn(2, 3, 6, 7)
        coord, cell = queries(2, 40)
        if model.one_cell:
            cell = cell[:, :1].expand_as(cell)
        with torch.no_grad():
            whole = model(inp, coord, clip_cell(model, cell, (6, 7)))
        chunked = batched_predict(model, inp, coord, cell, bsize)
        torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-5)

    def test_encode_once_query_twice(self, name):
        model, inp = make(name), torch.randn(1, 3, 6, 7)
        coord, cell = queries(1, 10)
        with torch.no_grad():
            feat = model.gen_feat(inp)
            assert feat.shape[-2:] == inp.shape[-2:]
            first = model.query_rgb(coord, cell)
            latent = model.encode(inp)
            model.gen_feat(torch.zeros_like(inp))
            assert torch.equal(model.query_rgb(coord, cell, latent), first)
            assert torch.equal(model.query_rgb(coord, cell, model.gen_feat(inp)), first)
        with pytest.raises(ValueError, match="what encode"):
            model.query_rgb(coord, cell, feat.clone())

    def test_query_before_encoding_is_an_error(self, name):
        with pytest.raises(ValueError, match="gen_feat"):
            make(name).query_rgb(*queries(1, 3))

    def test_coordinates_of_few_bits_are_refused(self, name):
        coord, cell = queries(1, 3)
        with pytest.raises(ValueError, match="float32"):
            make(name)(torch.randn(1, 3, 4, 4), coord.bfloat16(), cell)

    def test_coordinates_of_many_bits(self, name):
        model, inp = make(name), torch.randn(1, 3, 6, 7)
        coord, cell = queries(1, 50)
        with torch.no_grad():
            wanted = model(inp, coord, cell)
            got = model(inp, coord.double(), cell.double())
        torch.testing.assert_close(got.float(), wanted, atol=1e-5, rtol=1e-5)

    def test_autocast_keeps_coordinates_exact(self, name):
        """bf16 arithmetic is off by percents; a wrong neighbour would be off by far more."""
        model, inp = make(name), torch.randn(1, 3, 64, 48)
        coord, cell = queries(1, 2000)
        with torch.no_grad():
            exact = model(inp, coord, cell)
            with torch.autocast("cpu", torch.bfloat16):
                rough = model(inp, coord, cell)
        error = (rough - exact).abs()
        assert error.max() < 0.1 * exact.abs().max()
        assert error.mean() < 0.02 * exact.abs().mean()

    def test_every_trained_parameter_gets_a_gradient(self, name):
        model = make(name).train()
        inp = torch.randn(1, 3, 6, 7, requires_grad=True)
        model(inp, *queries(1, 50)).square().sum().backward()
        assert inp.grad is not None
        assert inp.grad.abs().sum() > 0
        for key, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, key
                assert parameter.grad.abs().sum() > 0, key

    def test_training_works_and_repeats(self, name):
        def train() -> list[torch.Tensor]:
            model = make(name).train()
            parameters = [p for p in model.parameters() if p.requires_grad]
            if not parameters:
                return []
            optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
            torch.manual_seed(1)
            inp, gt = torch.randn(2, 3, 6, 7), torch.rand(2, 20, 3)
            coord, cell = queries(2, 20)
            losses = []
            for _ in range(30):
                loss = (model(inp, coord, cell) - gt).abs().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            assert losses[-1] < 0.8 * losses[0]
            return [p.detach().clone() for p in parameters]

        assert all(torch.equal(a, b) for a, b in zip(train(), train(), strict=True))

    def test_checkpoint_round_trip(self, name, tmp_path):
        model, inp = make(name), torch.randn(1, 3, 5, 6)
        spec = copy.deepcopy(SPECS[name])
        path = tmp_path / "m.pth"
        save_checkpoint(path, {"model": {**spec, "sd": model.state_dict()}, "epoch": 3})
        loaded, norm = load_model(path)
        assert norm is None
        with torch.no_grad():
            assert torch.equal(loaded(inp, *queries(1, 9)), model(inp, *queries(1, 9)))

    def test_exports_with_any_number_of_queries(self, name):
        model, inp = make(name), torch.randn(1, 3, 6, 7)
        count = torch.export.Dim("count", min=2)
        sizes = ({}, {1: count}, {1: count})
        with torch.no_grad():
            program = torch.export.export(model, (inp, *queries(1, 20)), dynamic_shapes=sizes)
            exported = program.module()(inp, *queries(1, 33))
            torch.testing.assert_close(exported, model(inp, *queries(1, 33)))

    def test_meta_device_follows_the_tensors(self, name):
        """Nothing below the programs names a device: all of it runs where the tensors are."""
        model = make(name).to("meta")
        coord, cell = (x.to("meta") for x in queries(1, 9))
        rgb = model(torch.zeros(1, 3, 5, 6, device="meta"), coord, cell)
        assert rgb.device.type == "meta"
        assert rgb.shape == (1, 9, 3)
