"""Outputs, keys and sizes of the published models that followed LIIF."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import models
from errors import UserError
from models.literal.places import unfold
from models.reading.neighbourhood import group
from queries import Queries
from tests.cases import IMNET, LMMLP, SPECS, make
from tests.golden import rules
from tests.programs import succeeds, write_tests
from utils import make_cell, make_coord, sample_bilinear

GOLDEN = Path(__file__).parents[1] / "golden" / "family"
FILES = sorted(GOLDEN.glob("*.npz"))
COUNTS = {
    "swinir": 7,
    "lte": 6,
    "ltefast": 3,
    "lmliif": 9,
    "lmlte": 7,
    "srno": 5,
    "ciaosr": 8,
    "lmciaosr": 3,
    "clit": 5,
}


def test_all_cases_are_there():
    found = [path.stem.split("_")[0] for path in FILES]
    assert {name: found.count(name) for name in found} == COUNTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_model_agrees_with_published_output(path):
    golden = np.load(path)
    case = json.loads(str(golden["case"]))
    if cmsr := case["spec"]["args"].get("cmsr_spec"):  # JSON has no numbers as keys
        cmsr["s2m_tables"] = {key: dict(table) for key, table in cmsr["s2m_tables"]}
    model = models.make(case["spec"]).eval()
    keys = [f"{key} {tuple(value.shape)}" for key, value in model.state_dict().items()]
    assert sorted(keys) == golden["keys"].tolist()
    assert sum(parameter.numel() for parameter in model.parameters()) == case["params"]
    fill(model, case)
    with torch.no_grad():
        outputs = CALLS[case.get("call", "flat")](model, case)
    for name, output in outputs.items():
        tolerance = max(1e-5, 5 * case["noise"])
        np.testing.assert_allclose(output.numpy(), golden[name], atol=tolerance, rtol=0)


def test_codes_of_lmciaosr_are_independent(monkeypatch):
    model, inp = make("lmciaosr"), torch.randn(2, 3, 9, 7)
    case = {"coord": "grid", "lr": [9, 7], "hr": [11, 8]}
    coord, cell = (x.expand(2, -1, -1) for x in queries(case))
    with torch.no_grad():
        wanted = model(inp, coord, cell)
        monkeypatch.setattr("models.reading.amounts.LMCIAOSR_CODES", 5)
        torch.testing.assert_close(model(inp, coord, cell), wanted)


def fill(model: nn.Module, case: dict) -> None:
    """Parameters by rule; buffers stay as they were built."""
    for key, parameter in model.named_parameters():
        value = rules.weight(key, tuple(parameter.shape))
        *_, module, last = ["", *key.split(".")]
        if last == "weight" and parameter.ndim == 1 and module.startswith("norm"):
            value += case.get("norm_add", 0)
        for part, factor in case.get("gain", {}).items():
            value = value * np.float32(factor) if part in key else value
        parameter.data = torch.from_numpy(value)


def image(case: dict) -> Tensor:
    return torch.from_numpy((rules.batch(case) - 0.5) / 0.5)


def queries(case: dict) -> tuple[Tensor, Tensor]:
    coord, cell = (torch.from_numpy(x)[: case.get("queries")] for x in rules.queries(case))
    return coord, cell * case.get("cell_scale", 1)


def call_flat(model: nn.Module, case: dict) -> dict[str, Tensor]:
    inp = image(case)
    coord, cell = (x.expand(len(inp), -1, -1) for x in queries(case))
    return {"rgb": model(inp, coord, cell)}


def call_grid(model: nn.Module, case: dict) -> dict[str, Tensor]:
    """Coordinates (B, H, W, 2), a cell per image, colours (B, 3, H, W)."""
    inp = image(case)
    coord, cell = queries(case)
    one = torch.tensor(case["cell"]) if "cell" in case else cell[0]
    grid = coord.unflatten(0, tuple(case["hr"]) if "hr" in case else (1, -1))
    grid, one = grid.expand(len(inp), -1, -1, -1), one.expand(len(inp), -1)
    model.gen_feat(inp)
    rows = grid.split(case.get("bsize", grid.shape[1]), dim=1)
    return {"rgb": torch.cat([model.query_rgb(part, one) for part in rows], dim=2)}


def call_feat(model: nn.Module, case: dict) -> dict[str, Tensor]:
    channels, rows, cols = case.get("stride", [1, 1, 1])
    return {"feat": model(image(case))[:, ::channels, ::rows, ::cols]}


def call_window(model: nn.Module, case: dict) -> dict[str, Tensor]:
    """The published test of window encoders: the image is mirrored to more windows, then cut."""
    scale, window, (h, w) = case["scale"], case["window"], case["lr"]
    inp = image(case)
    for axis, n in ((2, h), (3, w)):
        more = (n // window + 1) * window - n
        inp = torch.cat([inp, inp.flip(axis)], axis).narrow(axis, 0, n + more)
    big = [scale * n for n in inp.shape[-2:]]
    coord, cell = queries({"lr": case["lr"], "coord": "grid", "hr": big})
    rgb = model(inp, coord.unsqueeze(0), cell.unsqueeze(0) * max(scale / 4, 1))
    return {"rgb": rgb.unflatten(1, big)[:, : scale * h, : scale * w].flatten(1, 2)}


def call_clit(model: nn.Module, case: dict) -> dict[str, Tensor]:
    """The grids behind all stages are given; the last is that of the target.

    At a few pixels of it the last bit of a coordinate decides which code is the nearest.
    """
    inp = image(case)
    *finer, target = case["coords"]
    coord = make_coord(target) if case["coord"] == "grid" else queries(case)[0]
    coord = coord.expand(len(inp), -1, -1)
    cell = make_cell(target).expand_as(coord)
    stages = model.stages(model.encode(inp), finer, Queries(coord, cell))
    return {"rgb": stages[-1], "stages": torch.stack(stages)}


CALLS = {
    "flat": call_flat,
    "grid": call_grid,
    "feat": call_feat,
    "window": call_window,
    "clit": call_clit,
}


SWINIR = {"name": "swinir", "args": {"dim": 12, "n_stages": 2, "n_blocks": 2, "n_heads": 2}}


@pytest.mark.parametrize("size", [(13, 10), (16, 21), (5, 8), (3, 1)], ids=str)
def test_swinir_pads_by_reflection_and_cuts_it_off(size):
    torch.manual_seed(0)
    encoder, inp = models.make(SWINIR).eval(), torch.randn(2, 3, *size)
    more = [-n % 8 for n in size]
    padded = np.pad(inp.numpy(), ((0, 0), (0, 0), (0, more[0]), (0, more[1])), mode="reflect")
    with torch.no_grad():
        feat, wanted = encoder(inp), encoder(torch.from_numpy(padded))
    torch.testing.assert_close(feat, wanted[..., : size[0], : size[1]])


@pytest.mark.parametrize("scale", [2, 2.5, 3.3])
def test_swinir_has_the_right_geometry_at_any_size_and_scale(scale):
    """A decoder fitted to read the colour out of a feature shows a picture where it belongs."""
    torch.manual_seed(0)
    imnet = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": []}}
    spec = {"name": "liif", "args": {"encoder_spec": SWINIR, "imnet_spec": imnet}}
    model = models.make(spec).eval()
    fitted = [torch.from_numpy(rules.image(seed, 32, 40)).unsqueeze(0) for seed in range(8)]
    with torch.no_grad():
        x = torch.cat([unfold(model.encoder(image)).flatten(2)[0].T for image in fitted])
        y = torch.cat([image.flatten(2)[0].T for image in fitted])
        layer = model.imnet.linears[0]
        layer.weight.zero_()
        solution = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y).solution
        layer.weight[:, :576] = solution[:-1].T
        layer.bias[:] = solution[-1]
        inp = torch.from_numpy(rules.image(9, 21, 13)).unsqueeze(0)
        size = (round(21 * scale), round(13 * scale))
        coord, cell = make_coord(size).unsqueeze(0), make_cell(size).expand(1, size[0] * size[1], 2)
        right = sample_bilinear(inp, coord)
        stretched = sample_bilinear(torch.nn.functional.pad(inp, (0, 3, 0, 3), "reflect"), coord)
        found = model(inp, coord, cell)
    assert psnr(found, right) > psnr(found, stretched) + 5
    assert psnr(found, right) > 24


def psnr(one: Tensor, two: Tensor) -> float:
    return -10 * torch.log10((one - two).square().mean()).item()


@pytest.mark.parametrize("name", sorted(set(SPECS) - {"bicubic"}))
def test_a_published_checkpoint_is_evaluated_and_rendered(name, tmp_path):
    """At integer and other scales, on a size that is no multiple of SwinIR's windows."""
    spec = copy.deepcopy(SPECS[name])
    spec["args"]["encoder" if "encoder" in spec["args"] else "encoder_spec"] = SWINIR
    model = models.make(spec).eval()
    fill(model, {"norm_add": 1.0})
    checkpoint = {"model": {**spec, "sd": model.state_dict()}, "epoch": 1000}
    torch.save(
        {**checkpoint, "optimizer": {"name": "adam", "args": {"lr": 1e-4}}}, tmp_path / "m.pth"
    )
    image = (rules.image(1, 99, 66) * 255).round().astype("uint8")
    (tmp_path / "hr").mkdir()
    Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / "hr" / "1.png")
    write_tests(tmp_path, root="hr", scales=[2, 2.5, 3.3])
    args = ["--model", "m.pth", "--config", "suite.yaml", "--json", "table.json", "--save", "saved"]
    succeeds(tmp_path, "test.py", *args)
    rows = json.loads((tmp_path / "table.json").read_text())["results"]
    assert [row["scale"] for row in rows] == [2, 2.5, 3.3]
    for row in rows:
        small = Image.open(tmp_path / "hr" / "1.png")
        h, w = (int(n / row["scale"] + 1e-9) for n in (99, 66))
        size = (round(w * row["scale"]), round(h * row["scale"]))
        small.crop((0, 0, *size)).resize((w, h), Image.Resampling.BICUBIC).save(tmp_path / "lr.png")
        render = ["--input", "lr.png", "--resolution", f"{size[1]},{size[0]}", "--output", "o.png"]
        tile = 0 if model.margin is None else 24
        args = ["--model", "m.pth", *render, "--tile", tile, "--overwrite"]
        succeeds(tmp_path, "demo.py", *args)
        evaluated = np.asarray(
            Image.open(tmp_path / "saved" / "Photos" / f"x{row['scale']:g}" / "1.png")
        )
        rendered = np.asarray(Image.open(tmp_path / "o.png"))
        assert (np.abs(rendered.astype(int) - evaluated) <= 1).all()
        assert (rendered != evaluated).mean() < 2e-3


BAD = [
    ("lmlte", {"mod_input": False, "imnet_spec": SPECS["liif"]["args"]["imnet_spec"]}, "'lmmlp'"),
    ("lte", {"imnet_spec": SPECS["lmliif"]["args"]["imnet_spec"]}, "needs a modulation"),
    ("lte", {"hidden_dim": 7}, "even"),
    ("ciaosr", {"multi_scale": []}, "multi_scale"),
    ("ciaosr", {"multi_scale": [5]}, "multi_scale"),
    ("sronet", {"width": 4, "blocks": 4}, "two or more channels"),
    ("sronet", {"width": 10}, "two or more channels"),
    ("clit", {"base_dim": 10}, "heads"),
    ("clit", {"imnet_num": 2}, "conv_num"),
    ("clit", {"pb_spec": IMNET}, "pb_spec.*head"),
    ("clit", {"pb_spec": {"name": "posenc"}}, "posenc_type"),
    ("clit", {"imnet_spec": LMMLP}, "'mlp'"),
    ("lmciaosr", {"encoder": SWINIR | {"name": "edsr"}}, "edsr"),
]


@pytest.mark.parametrize(("name", "args", "message"), BAD, ids=str)
def test_mistakes_in_specs(name, args, message):
    spec = {"name": name, "args": SPECS[name]["args"] | args}
    with pytest.raises(UserError, match=message):
        models.make(spec)


def test_nothing_to_modulate_is_a_mistake():
    spec = copy.deepcopy(SPECS["lmliif"])
    spec["args"]["imnet_spec"]["args"] |= {"mod_scale": False, "mod_shift": False}
    with pytest.raises(UserError, match="nothing is modulated"):
        models.make(spec)


@pytest.mark.parametrize("colours", [1, 4])
def test_colours_that_the_input_cannot_be_added_to(colours):
    model = make("lte-fast", out_dim=colours)
    with pytest.raises(UserError, match="out_dim"):
        model(torch.randn(1, 3, 4, 4), torch.zeros(1, 1, 2), torch.ones(1, 1, 2))


def test_stages_of_clit():
    """One up to x4 in float32 at any size, then one for each factor of 4, as far as they go."""
    model = make("clit", imnet_num=3, conv_num=3)
    for n in range(1, 200):
        assert model.finer_grids((n, n + 7), make_cell((4 * n, 4 * n + 28))) == []
        assert len(model.finer_grids((n, n), make_cell((16 * n, 16 * n)))) == 1
    assert model.finer_grids((5, 7), make_cell((21, 7))) == [(20, 28)]
    assert model.finer_grids((5, 7), make_cell((500, 700))) == [(20, 28), (80, 112)]
    assert make("clit").finer_grids((5, 7), make_cell((500, 700))) == []


def test_queries_crowded_at_one_code():
    """They are split into rows, which are filled up no further than the longest one."""
    model, inp = make("clit"), torch.randn(1, 3, 9, 9)
    crowd = torch.rand(1, 3000, 2) * 0.01
    coord = torch.cat([torch.rand(1, 50, 2) * 2 - 1, crowd], dim=1)
    cell = torch.full_like(coord, 0.05)
    together = model(inp, coord, cell).detach()
    with torch.no_grad():
        torch.testing.assert_close(model(inp, coord, cell), together, atol=1e-5, rtol=1e-5)
    keys = torch.tensor([3] * 200 + [1, 2, 2])
    parts = group(keys, 2)
    assert max(members.numel() for _, members, _ in parts) <= 2 * 64
    found = torch.cat([members[meant] for _, members, meant in parts])
    assert found.sort().values.tolist() == list(range(203))
    for key, members, meant in parts:
        assert (keys[members] == key.unsqueeze(1))[meant].all()


def test_a_zoom_does_not_pile_up_modulations():
    model = make("lmliif")
    with torch.no_grad():
        latent = model.encode(torch.randn(1, 3, 6, 7))
        for side in range(1, 9):
            model.query_rgb(torch.zeros(1, 1, 2), torch.full((1, 1, 2), 1 / side), latent)
    assert latent.memo.known is not None


@pytest.mark.parametrize("name", sorted(SPECS))
def test_copies_after_a_forward_with_gradients(name):
    model, inp = make(name), torch.randn(1, 3, 4, 5)
    args = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    wanted = model(inp, *args)
    torch.testing.assert_close(copy.deepcopy(model)(inp, *args), wanted)
