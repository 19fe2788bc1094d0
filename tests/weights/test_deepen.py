import copy

import torch

import models
from models.checkpoint import load_model
from tests.cases import SMALL_ARGS, SPECS
from tests.programs import fails, succeeds

SCRIPT = "weights/recipe/deepen.py"


def test_a_deeper_model_computes_the_same_and_can_be_trained(tmp_path):
    out = succeeds(tmp_path, SCRIPT, "fast", "new/deep.pth", "--blocks", "2")
    fast, norm = load_model("fast")
    blocks = len(fast.encoder.body) - 1
    assert out == f"new/deep.pth: {blocks + 2} residual blocks\n"
    deep, deep_norm = load_model(tmp_path / "new/deep.pth")
    assert len(deep.encoder.body) == blocks + 3
    assert deep_norm == norm
    assert deep.guarded == fast.guarded
    torch.manual_seed(0)
    inp, coord = torch.rand(1, 3, 9, 11) * 2 - 1, torch.rand(1, 30, 2) * 2 - 1
    cell = torch.full_like(coord, 0.05)
    with torch.no_grad():
        assert torch.equal(deep(inp, coord, cell), fast(inp, coord, cell))
    deep(inp, coord, cell).sum().backward()
    assert all(block.body[-1].weight.grad.abs().max() > 0 for block in deep.encoder.body[-3:-1])


def test_mistakes(tmp_path):
    assert "1 or more" in fails(tmp_path, SCRIPT, "fast", "a.pth", "--blocks", "0")
    (tmp_path / "there.pth").write_bytes(b"mine")
    assert "there already" in fails(tmp_path, SCRIPT, "fast", "there.pth")
    assert (tmp_path / "there.pth").read_bytes() == b"mine"
    spec = copy.deepcopy(SPECS["liif"])
    spec["args"]["encoder_spec"] = {"name": "rdn", "args": {**SMALL_ARGS["rdn"]}}
    spec["args"]["encoder_spec"]["args"]["no_upsampling"] = True
    torch.save({"model": {**spec, "sd": models.make(spec).state_dict()}}, tmp_path / "other.pth")
    assert "not edsr" in fails(tmp_path, SCRIPT, "other.pth", "a.pth")
