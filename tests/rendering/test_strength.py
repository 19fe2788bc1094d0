"""Blends of a model and the one that it was fine-tuned from."""

import copy
import hashlib
import io
import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

import models
import models.checkpoint as module
from errors import UserError
from models.checkpoint import load_checkpoint, load_model, save_checkpoint, split_name
from rendering.record import identity
from rendering.upscaler import load
from tests.cases import SPECS, make, queries
from tests.programs import NORM, fails, run, succeeds, write_tests

STRENGTHS = (0, 0.25, 0.5, 0.75, 1)
LAST = "imnet.layers.4."  # the decoder's last layer, in whose weights the output is linear


def save(path, state, **changes):
    spec = {**SPECS["liif"], "sd": state}
    save_checkpoint(path, {"model": spec, "data_norm": NORM, **changes})


def changed(state, keys="", seed=1):
    """The floats of a state dict with other numbers, where keys begin so."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: value + torch.randn(value.shape, generator=generator)
        if key.startswith(keys) and value.is_floating_point()
        else value
        for key, value in state.items()
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Weights of a model ``plain``, ``tuned`` from it, and ``last``, which differs at its end."""
    weights = tmp_path / "weights"
    weights.mkdir()
    monkeypatch.setattr(module, "WEIGHTS", weights)
    state = make("liif").state_dict()
    save(weights / "plain.pth", state)
    save(weights / "tuned.pth", changed(state), base="plain", guard=False)
    save(weights / "last.pth", changed(state, LAST), base="plain.pth")
    return weights


def state_of(name, strength=None):
    return load_model(name, strength)[0].state_dict()


def bits(state):
    buffer = io.BytesIO()
    for value in state.values():
        buffer.write(value.numpy().tobytes())
    return buffer.getvalue()


@pytest.mark.parametrize("strength", [*STRENGTHS, 1e-9, 0.1, 1 / 3])
def test_weights_are_the_literal_blend(folder, strength):
    base, tuned = (
        {key: value.numpy() for key, value in load_checkpoint(name)["model"]["sd"].items()}
        for name in ("plain", "tuned")
    )
    found = state_of("tuned", strength)
    assert found.keys() == tuned.keys()
    for key, value in found.items():
        wanted = (1 - strength) * base[key].astype(float) + strength * tuned[key].astype(float)
        assert value.dtype == torch.float32
        assert np.array_equal(value.numpy(), wanted.astype(np.float32))


def test_the_ends_are_the_models_bit_for_bit(folder):
    """Also where a product with 0 is none: infinity, and zero with a sign."""
    base, tuned = (load_checkpoint(name)["model"]["sd"] for name in ("plain", "tuned"))
    for state, value in ((base, torch.inf), (tuned, -0.0)):
        state[f"{LAST}bias"][0] = value
    save(folder / "plain.pth", base)
    save(folder / "tuned.pth", tuned, base="plain")
    assert bits(state_of("tuned", 0)) == bits(state_of("plain"))
    assert bits(state_of("tuned", 1)) == bits(state_of("tuned"))
    assert bits(state_of("tuned")) != bits(state_of("plain"))


def test_what_both_have_alike_stays(folder):
    plain, last = state_of("plain"), state_of("last", 0.3)
    for key, value in plain.items():
        assert torch.equal(value, last[key]) != key.startswith(LAST)


def test_pictures_move_from_one_model_to_the_other(folder):
    image = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    coord, cell = queries(1, 200)
    rendered = []
    for strength in STRENGTHS:
        model, _ = load_model("last", strength)
        with torch.no_grad():
            model.gen_feat(image)
            rendered.append(model.query_rgb(coord, cell))
    steps = [b - a for a, b in itertools.pairwise(rendered)]
    whole = rendered[-1] - rendered[0]
    assert whole.abs().median() > 0.1
    for strength, picture in zip(STRENGTHS, rendered, strict=True):
        literal = (1 - strength) * rendered[0] + strength * rendered[-1]
        assert torch.allclose(picture, literal, rtol=0, atol=1e-5)
    moving = whole.abs() > 1e-3
    assert all((step * whole)[moving].min() > 0 for step in steps)


def deeper(folder):
    """A model ``deep`` of three blocks, tuned from ``shallow`` of one; the file of neither."""
    specs = []
    for blocks in (1, 3):
        spec = copy.deepcopy(SPECS["liif"])
        args = {"no_upsampling": True, "n_resblocks": blocks, "n_feats": 8}
        spec["args"]["encoder_spec"] = {"name": "edsr-baseline", "args": args}
        specs.append(spec)
    torch.manual_seed(3)
    for spec, name, more in zip(specs, ("shallow", "deep"), ({}, {"base": "shallow"}), strict=True):
        spec = {**spec, "sd": models.make(spec).state_dict()}
        save_checkpoint(folder / f"{name}.pth", {"model": spec, "data_norm": NORM, **more})


def test_a_base_with_fewer_blocks_fades_the_others_in(folder):
    deeper(folder)
    image = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    coord, cell = queries(1, 50)
    with torch.no_grad():
        wanted = {name: load_model(name)[0](image, coord, cell) for name in ("shallow", "deep")}
        found = {s: load_model("deep", s)[0](image, coord, cell) for s in STRENGTHS}
    assert torch.equal(found[0], wanted["shallow"])
    assert torch.equal(found[1], wanted["deep"])
    half, (shallow, deep) = state_of("deep", 0.5), (state_of(name) for name in ("shallow", "deep"))
    assert len(half) == len(deep) > len(shallow)
    for block in (1, 2):
        for kind in ("weight", "bias"):
            first, second = (f"encoder.body.{block}.body.{i}.{kind}" for i in (0, 2))
            assert torch.equal(half[first], deep[first])
            assert torch.equal(half[second], deep[second] / 2)
        last = "encoder.body.{}.weight".format
        torch.testing.assert_close(half[last(3)], (shallow[last(1)] + deep[last(3)]) / 2)


def test_a_base_with_more_blocks_is_another_architecture(folder):
    deeper(folder)
    checkpoint = load_checkpoint("shallow")
    save_checkpoint(folder / "shallow.pth", {**checkpoint, "base": "deep"})
    with pytest.raises(UserError, match=r"they differ in encoder_spec$"):
        load_model("shallow", 0.5)


def test_whole_numbers_are_the_models(folder):
    from models.strength import blend

    base = {"a": torch.tensor([1, 2]), "b": torch.tensor([1.0], dtype=torch.float16)}
    tuned = {"a": torch.tensor([3, 5]), "b": torch.tensor([2.0], dtype=torch.float16)}
    found = blend(base, tuned, 0.5)
    assert torch.equal(found["a"], tuned["a"])
    assert found["b"].dtype == torch.float16
    assert found["b"].item() == 1.5


def test_the_guard_is_that_of_the_model(folder):
    assert load_model("plain")[0].guarded
    assert load_model("last", 0.5)[0].guarded
    assert not load_model("tuned", 0)[0].guarded


@pytest.mark.parametrize(
    "name", ["tuned@0.25", "tuned@.25", "tuned@25e-2", "weights/tuned.pth@0.25"]
)
def test_a_name_may_say_the_strength(folder, monkeypatch, name):
    monkeypatch.chdir(folder.parent)
    assert bits(state_of(name)) == bits(state_of("tuned", 0.25)) != bits(state_of("tuned"))


def test_a_file_with_an_at_in_its_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    save("me@home.pth", state_of("last"), base="plain")
    save("odd@0.5", state_of("last"))
    save("tuned@0.5.pth", state_of("last"))
    for name in ("me@home.pth", "odd@0.5", "tuned@0.5"):  # the last one by its name in weights/
        assert bits(state_of(name)) == bits(state_of("last"))
    assert bits(state_of("me@home.pth@0.5")) == bits(state_of("last", 0.5))
    assert bits(state_of("tuned", 0.5)) not in (bits(state_of("last")), bits(state_of("tuned")))


@pytest.mark.parametrize(
    ("name", "strength", "message"),
    [
        ("tuned", 1.01, "strength: expected a number from 0 to 1, got 1.01"),
        ("tuned", float("nan"), "strength: expected a number from 0 to 1, got nan"),
        ("tuned", "half", "strength: expected a number from 0 to 1, got 'half'"),
        ("tuned@-1", None, "tuned@-1: the strength after the @: expected a number .*, got '-1'"),
        ("tuned@nan", None, "tuned@nan: the strength after the @: expected .*, got 'nan'"),
        ("tuned@", None, "tuned@: the strength after the @: expected a number .*, got ''"),
        ("tuned@half", None, "tuned@half: the strength after the @: expected .*, got 'half'"),
        ("bicubic@2", None, "bicubic@2: the strength after the @: expected a number"),
        ("tuned@0.5", 0.5, "tuned@0.5: the strength is given twice"),
        ("tuned@0.5@0.5", None, "tuned@0.5@0.5: the strength is given twice"),
        ("plain", 1, "plain: has no strength, .*; those in weights/ that have one: last, tuned"),
        ("plain@0.5", None, "plain: has no strength, .*: last, tuned"),
        ("bicubic", 0.5, "bicubic: has no strength, .*: last, tuned"),
        ("none@0.5", None, "none: cannot read the checkpoint: No such file"),
        ("none@home.pth", None, "none@home.pth: cannot read the checkpoint: No such file"),
    ],
)
def test_mistakes_are_one_line(folder, name, strength, message):
    (folder / "damaged.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match=f"^{message}") as error:
        load_model(name, strength)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "gone"}, "its strength needs gone, which is not beside it or in weights/"),
        ({"base": 3}, "base: expected the name of a file, got 3"),
        ({"base": "../plain"}, "base: expected the name of a file, got '../plain'"),
        ({"data_norm": None}, "it has data_norm None, and the other {'inp'"),
        ({"name": "metasr"}, "it is a 'metasr', and the other a 'liif'"),
        ({"args": {"feat_unfold": False}}, "they differ in feat_unfold$"),
        ({"sd": None}, "one of them holds no weights"),
        ({"without": f"{LAST}bias"}, f"only one of them has {LAST}bias"),
        ({"cut": f"{LAST}bias"}, rf"{LAST}bias is of \(2,\), and the other's of \(3,\)"),
    ],
    ids=str,
)
def test_an_unlike_base_is_one_line(folder, changes, message):
    checkpoint = load_checkpoint("tuned")
    spec = checkpoint["model"]
    for key, value in changes.items():
        if key in ("base", "data_norm"):
            checkpoint[key] = value
        elif key == "args":
            spec["args"] = {**spec["args"], **value}
        elif key == "without":
            del spec["sd"][value]
        elif key == "cut":
            spec["sd"][value] = spec["sd"][value][:2]
        else:
            spec[key] = value
    save_checkpoint(folder / "tuned.pth", checkpoint)
    with pytest.raises(UserError, match=message) as error:
        load_model("tuned", 0.5)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("tuned: ")


def test_from_python(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    rendered = [
        load(name, "cpu", strength=strength).upscale(pixels, scale=2).tobytes()
        for name, strength in (
            ("tuned", 0.5),
            ("tuned@0.5", None),
            ("tuned", None),
            ("plain", None),
        )
    ]
    assert rendered[0] == rendered[1]
    assert len(set(rendered)) == 3
    with pytest.raises(UserError, match="strength: expected a number from 0 to 1, got 'x'"):
        load("tuned", "cpu", strength="x")


def test_a_record_knows_the_strength_and_both_files(folder):
    own, base = (
        hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("tuned.pth", "plain.pth")
    )
    assert identity("tuned") == identity("tuned", 1) == identity("tuned@1") == own
    assert identity("tuned", 0.5) == identity("tuned@.5") == f"0.5 of {own} on {base}"
    save(folder / "plain.pth", state_of("last"))
    assert identity("tuned", 0.5) != f"0.5 of {own} on {base}"
    assert identity("tuned") == own


def test_the_command(folder, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(pixels).save(tmp_path / "in/a.png")
    save(tmp_path / "plain.pth", state_of("plain"))
    save(tmp_path / "m.pth", state_of("last"), base="plain.pth")
    args = ["--input", "in", "--output", "out/", "--scale", "2", "--model", "m.pth"]
    for strength, done in (("0.5", 1), ("0.5", 0), ("0.25", 1)):
        told = succeeds(tmp_path, "demo.py", *args, "--strength", strength)
        assert told.startswith(f"{done} rendered")
    wanted = load(tmp_path / "m.pth", "cpu", strength=0.25).upscale(pixels, scale=2)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out/a.png")), wanted)
    args[1:4] = ["in/a.png", "--compare", "c.png"]
    told = succeeds(tmp_path, "demo.py", *args, "--strength", "0.5")
    assert told == "c.png: input, bicubic and m@0.5 in details of in/a.png\n"


def test_the_command_says_what_cannot_be(tmp_path):
    args = ["--input", "none.png", "--scale", "2", "--strength"]
    error = fails(tmp_path, "demo.py", *args, "0.5", "--model", "bicubic")
    assert error.startswith("error: bicubic: has no strength")  # before the image is looked for
    done = run(tmp_path, "demo.py", *args, "nan")
    assert done.stderr.endswith("--strength: expected a number from 0 to 1, got 'nan'\n")


def test_an_evaluation_of_strengths(photos, tmp_path):
    write_tests(photos)
    trained = load_checkpoint(photos / "m.pth")
    save_checkpoint(tmp_path / "plain.pth", trained)
    sd = {key: value + 0.01 * value.abs().amax() for key, value in trained["model"]["sd"].items()}
    model = {**trained["model"], "sd": sd}
    save_checkpoint(tmp_path / "m.pth", {**trained, "model": model, "base": "plain.pth"})
    names = [f"{tmp_path}/m.pth@0.25", f"{tmp_path}/m.pth@0", f"{tmp_path}/plain.pth", "bicubic@1"]
    args = ["--config", "suite.yaml", "--scale", "2", "--json", tmp_path / "t.json", "--save"]
    done = run(photos, "test.py", *args, tmp_path / "p", "--model", *names)
    assert done.returncode != 0
    assert "error: bicubic: has no strength" in done.stderr
    table = json.loads((tmp_path / "t.json").read_text())
    rows = {row["model"]: row.get("psnr") for row in table["results"]}
    assert list(rows) == names
    assert rows[names[1]] == rows[names[2]] != rows[names[0]]
    told = {model["name"]: model for model in table["models"]}
    assert told[names[0]]["strength"] == 0.25
    assert told[names[0]]["base"] == f"{tmp_path}/plain.pth"
    assert told[names[0]]["base_sha256"] == told[names[2]]["sha256"]
    assert "strength" not in told[names[2]]
    assert {path.name for path in (tmp_path / "p").iterdir()} >= {"m@0.25", "m@0.0", "plain"}
    twice = run(photos, "test.py", *args[:4], "--model", "fast", "fast", "m.pth@x")
    assert "m.pth@x: the strength after the @: expected a number from 0 to 1" in twice.stderr


def test_names_of_one_model():
    assert split_name("fast") == ("fast", None)
    assert split_name("fast", 0.5) == ("fast", 0.5)
