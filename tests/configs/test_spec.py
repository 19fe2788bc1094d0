import importlib
from typing import Annotated, Any, Literal

import pytest
import torch
from torch import nn

import models
from configs.spec import Registry, SpecOf
from errors import UserError
from training.recipe import optimizers


@pytest.fixture
def registry() -> Registry:
    registry = Registry("thing")

    @registry.register("part")
    class Part:
        def __init__(self, width: int, kind: Literal["A", "B"] = "A") -> None:
            self.width, self.kind = width, kind

    @registry.register("whole")
    class Whole:
        def __init__(
            self, part: Annotated[dict[str, Any], SpecOf("width")], sizes: list[int] | None = None
        ) -> None:
            self.part = registry.make(part, args={"width": 3})
            self.sizes = sizes

    @registry.register("plain")
    def make_plain(n_feats=64, part_spec=None, **more):
        return n_feats, part_spec, more

    return registry


def test_make_merges_args_over_the_spec(registry):
    spec = {"name": "part", "args": {"width": 1, "kind": "B"}}
    part = registry.make(spec, args={"width": 2})
    assert (part.width, part.kind) == (2, "B")
    assert spec == {"name": "part", "args": {"width": 1, "kind": "B"}}


def test_made_things_cannot_change_the_spec(registry):
    spec = {"name": "whole", "args": {"part": {"name": "part"}, "sizes": [1]}}
    registry.make(spec).sizes.append(2)
    assert spec["args"]["sizes"] == [1]


def test_args_may_be_missing_or_null(registry):
    assert registry.make({"name": "plain"}) == (64, None, {})
    assert registry.make({"name": "plain", "args": None}) == (64, None, {})


def test_load_sd_is_strict():
    spec = {"name": "mlp", "args": {"in_dim": 2, "out_dim": 1, "hidden_list": []}}
    sd = models.make(spec).state_dict()
    again = models.make({**spec, "sd": sd}, load_sd=True)
    assert torch.equal(again.layers[0].weight, sd["layers.0.weight"])
    for broken in (
        {},
        {**sd, "extra": sd["layers.0.bias"]},
        {**sd, "layers.0.bias": torch.ones(9)},
    ):
        with pytest.raises(UserError, match=r"layers\.0\.bias|extra") as error:
            models.make({**spec, "sd": broken}, load_sd=True)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no state dict"):
        models.make(spec, load_sd=True)


def test_a_second_thing_of_the_same_name_is_an_error(registry):
    before = registry.names()
    with pytest.raises(ValueError, match="'part' is registered twice"):

        @registry.register("part")
        class Other:
            pass

    assert registry.names() == before
    assert registry.make({"name": "part", "args": {"width": 1}}).width == 1


@pytest.mark.parametrize(
    ("spec", "problems"),
    [
        ({"name": "part", "args": {"width": 1}}, []),
        ({"name": "whole", "args": {"part": {"name": "part"}}}, []),
        ({"name": "plain", "args": {"anything": 1}}, []),
        ("part", ["x: expected a mapping with 'name' and 'args', got 'part'"]),
        ({"args": {}}, ["x: expected a mapping with 'name' and 'args', got {'args': {}}"]),
        ({"name": "prat"}, ["x.name: unknown thing 'prat'; did you mean 'part'?"]),
        ({"name": 3}, ["x.name: unknown thing 3; known: part, plain, whole"]),
        ({"name": "part"}, ["x.args: 'part' needs the argument 'width'"]),
        (
            {"name": "part", "args": {"width": 1, "knd": "A"}},
            ["x.args: 'part' takes no argument 'knd'; did you mean 'kind'?"],
        ),
        (
            {"name": "part", "args": {"width": "1e3"}},
            [
                "x.args.width: input should be a valid integer, got '1e3'; "
                "YAML reads '1e3' as text, write 1000"
            ],
        ),
        (
            {"name": "part", "args": {"width": True, "kind": "C"}},
            [
                "x.args.width: input should be a valid integer, got True",
                "x.args.kind: input should be 'A' or 'B', got 'C'",
            ],
        ),
        (
            {"name": "whole", "args": {"part": {"name": "parts"}, "sizes": [1, "b"]}, "arg": 1},
            [
                "x.arg: unknown key; did you mean 'args'?",
                "x.args.part.name: unknown thing 'parts'; did you mean 'part'?",
                "x.args.sizes.1: input should be a valid integer, got 'b'",
            ],
        ),
        (
            {"name": "plain", "args": {"part_spec": {"name": "part", "args": {"widht": 1}}}},
            ["x.args.part_spec.args: 'part' takes no argument 'widht'; did you mean 'width'?"],
        ),
    ],
    ids=str,
)
def test_check_finds_every_mistake(registry, spec, problems):
    assert registry.check(spec, "x") == problems


def test_make_raises_what_check_finds(registry):
    with pytest.raises(UserError, match="did you mean 'part'"):
        registry.make({"name": "prat"})


def test_an_owner_cannot_give_what_is_not_taken(registry):
    assert registry.check({"name": "part", "args": {"width": 1}}, "x", ["dataset"]) == [
        "x.args: 'part' cannot stand here: it takes no argument 'dataset'"
    ]


def test_a_value_that_the_factory_refuses_is_a_user_error():
    with pytest.raises(UserError, match=r"'edsr-baseline': scale must be 3 or a power of two"):
        models.make({"name": "edsr-baseline", "args": {"scale": 5}})


def test_optimizers_take_the_arguments_of_torch():
    weights = [nn.Parameter(torch.zeros(1))]
    spec = {"name": "adam", "args": {"lr": 1e-4, "betas": [0.9, 0.99], "weight_decay": 0}}
    adam = optimizers.make(spec, args={"params": weights})
    assert isinstance(adam, torch.optim.Adam)
    assert adam.defaults["lr"] == 1e-4
    assert optimizers.check({"name": "sgd", "args": {"momentun": 0.9}}, "o", ["params"]) == [
        "o.args: 'sgd' takes no argument 'momentun'; did you mean 'momentum'?"
    ]
    assert len(optimizers.check({"name": "sgd", "args": {"lr": "1e-4"}}, "o", ["params"])) == 1


def test_a_model_file_in_the_published_style_drops_in(tmp_path, monkeypatch):
    (tmp_path / "dropped.py").write_text(
        "import torch.nn as nn\n"
        "import models\n"
        "from models import register\n"
        "from utils import make_coord\n"
        "@register('dropped')\n"
        "class Dropped(nn.Module):\n"
        "    def __init__(self, encoder_spec, imnet_spec=None, act=None):\n"
        "        super().__init__()\n"
        "        self.encoder = models.make(encoder_spec)\n"
        "        self.imnet = models.make(imnet_spec, args={'in_dim': self.encoder.out_dim + 2})\n"
    )
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setattr(models.registry, "_entries", dict(models.registry._entries))
    importlib.import_module("models.dropped")

    encoder = {"name": "edsr-baseline", "args": {"no_upsampling": True, "n_resblocks": 1}}
    imnet = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [8]}}
    args = {"encoder_spec": encoder, "imnet_spec": imnet, "act": {"name": "relu"}}
    spec = {"name": "dropped", "args": args}
    assert models.make(spec).imnet.layers[0].in_features == 66
    spec["args"]["encoder_spec"] = {"name": "edsr_baseline"}
    assert "did you mean 'edsr-baseline'" in models.registry.check(spec, "model")[0]
