"""The order of parameters in the published code: states of optimizers are kept by number.

The lists were written by reading the constructors of the published repositories; that they are
complete, the keys of the published state dicts say.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import models

GOLDEN = Path(__file__).parents[1] / "golden"
BUFFERS = ("escape_NaN", "relative_position_index", "attn_mask")
BUFFERS += ("eval_conv.weight", "eval_conv.bias")  # not trained: computed from the others
ALONE = (".weight", ".bias", "_table")  # names of parameters; others have a weight and a bias


def within(prefix: str, names: list[str]) -> list[str]:
    return [f"{prefix}.{name}" for name in names]


def layers(*numbers: int) -> list[str]:
    return [f"layers.{number}" for number in numbers]


def blocks(count: int) -> list[str]:
    return [f"body.{i}.body.{j}" for i in range(count) for j in (0, 2)] + [f"body.{count}"]


MEANS_AND_HEAD = ["sub_mean", "add_mean", "head.0"]
EDSR = [*MEANS_AND_HEAD, *blocks(2)]
EDSR_OF_ONE = [*MEANS_AND_HEAD, *blocks(1)]
GATED = ["body.0", "body.2", "body.3.conv_du.0", "body.3.conv_du.2"]
RCAN = [
    *MEANS_AND_HEAD,
    *within("body.0.body.0", GATED),
    *within("body.0.body.1", GATED),
    "body.0.body.2",
    *within("body.1.body.0", GATED),
    *within("body.1.body.1", GATED),
    "body.1.body.2",
    "body.2",
]
RDN = [
    "SFENet1",
    "SFENet2",
    *[
        f"RDBs.{i}.{x}"
        for i in range(16)
        for x in [*[f"convs.{j}.conv.0" for j in range(8)], "LFF"]
    ],
    "GFF.0",
    "GFF.1",
]
SWIN_BLOCK = [
    "norm1",
    "attn.relative_position_bias_table",
    "attn.qkv",
    "attn.proj",
    "norm2",
    "mlp.fc1",
    "mlp.fc2",
]
SWIN_STAGE = [name for b in range(6) for name in within(f"residual_group.blocks.{b}", SWIN_BLOCK)]
SWINIR = [
    "conv_first",
    "patch_embed.norm",
    *[name for i in range(6) for name in within(f"layers.{i}", [*SWIN_STAGE, "conv"])],
    "norm",
    "conv_after_body",
    "conv_before_upsample.0",
]
EXPANDED = ["sk", "conv.0", "conv.1", "conv.2"]
SPAN_BLOCK = [name for conv in ("c1_r", "c2_r", "c3_r") for name in within(conv, EXPANDED)]
SPAN = [
    *within("conv_1", EXPANDED),
    *[name for i in range(1, 7) for name in within(f"block_{i}", SPAN_BLOCK)],
    "conv_cat",
    *within("conv_2", EXPANDED),
]
MATCHES = [
    "conv_match_1.0",
    "conv_match_1.1.weight",
    "conv_match_2.0",
    "conv_match_2.1.weight",
    "conv_assembly.0",
    "conv_assembly.1.weight",
]
CIAOSR = [
    *within("encoder", EDSR),
    *within("imnet_q", layers(0, 2)),
    *within("imnet_k", layers(0, 2)),
    *within("imnet_v", layers(0, 2)),
]
GALERKIN = ["qkv_proj", "o_proj1", "o_proj2", "kln", "vln"]

# By a golden file of the model.
ORDER = {
    "model_00": [*within("encoder", EDSR), *within("imnet", layers(0, 2, 4))],
    "model_11": [*within("encoder", RDN), *within("imnet", layers(0, 2, 4, 6, 8))],
    "model_13": [*within("encoder", RCAN), *within("imnet", layers(0, 2, 4))],
    "model_14": within("encoder", [*MEANS_AND_HEAD, *blocks(3)]) + within("imnet", layers(0, 2, 4)),
    "model_16": [*within("encoder", EDSR), *within("imnet", layers(0, 2))],
    "model_17": within("encoder", [*MEANS_AND_HEAD, *blocks(16), "tail.0.0", "tail.1"]),
    "model_19": within("encoder", [*RDN, "UPNet.0", "UPNet.2", "UPNet.4"]),
    "family/swinir_07": SWINIR,
    "span/span_07": [*within("encoder", SPAN), *within("imnet", layers(0, 2, 4))],
    "family/lte_00": [
        *within("encoder", EDSR),
        *["coef", "freq", "phase.weight"],
        *within("imnet", layers(0, 2, 4)),
    ],
    "family/ltefast_00": [
        *within("encoder", EDSR),
        *["coef", "freq", "phase.weight"],
        *layers(0, 2, 4),
    ],
    "family/lmliif_00": [
        *within("encoder", EDSR),
        *within("hypernet", layers(0, 2)),
        *within("imnet", layers(0, 2, 4, 6)),
    ],
    "family/lmlte_00": [
        *within("encoder", EDSR),
        *["coef", "freq", "phase.weight"],
        *within("hypernet", layers(0, 2)),
        "imphase.weight",
        *within("imnet", layers(0, 2, 4, 6)),
    ],
    "family/lmlte_01": [
        *within("encoder", EDSR),
        *["coef", "freq", "phase.weight"],
        *within("hypernet", layers(0, 2)),
        *within("imnet", layers(0, 2, 4)),
    ],
    "family/srno_00": [
        *within("encoder", EDSR_OF_ONE),
        "conv00",
        *within("conv0", GALERKIN),
        *within("conv1", GALERKIN),
        "fc1",
        "fc2",
    ],
    "family/ciaosr_00": [*CIAOSR, *within("cs_attn", [*MATCHES, "down"])],
    "family/ciaosr_03": [*CIAOSR, *within("cs_attn", [*MATCHES, "downx3", "downx4", "down"])],
    "family/ciaosr_04": CIAOSR,
    "family/lmciaosr_00": [
        *within("encoder", EDSR_OF_ONE),
        *within("cs_attn", [*MATCHES, "down"]),
        *within("imnet_k", layers(0, 2)),
        *within("imnet_v", layers(0, 2)),
        *within("hypernet_q", layers(0, 2)),
        *within("prenet_q", layers(0, 2)),
        *within("imnet_q", layers(0, 2, 4)),
    ],
    "family/clit_00": [
        *within("encoder", EDSR),
        "conv_ch",
        *["conv_vs.0", "conv_vs.1", "conv_qs.0", "conv_qs.1", "conv_ks.0", "conv_ks.1"],
        "pb_encoder.proj",
        *within("imnets.0", layers(0, 2)),
        *within("imnets.1", layers(0, 2)),
    ],
    "family/clit_03": [
        *within("encoder", EDSR),
        "conv_ch",
        *["conv_vs.0", "conv_vs.1", "conv_vs.2"],
        *within("imnets.0", layers(0, 2)),
        *within("imnets.1", layers(0, 2)),
        *within("imnets.2", layers(0, 2)),
    ],
}


def parameters(names: list[str]) -> list[str]:
    found = []
    for name in names:
        found += [name] if name.endswith(ALONE) else [f"{name}.weight", f"{name}.bias"]
    return found


@pytest.mark.parametrize("golden", ORDER)
def test_parameters_are_in_the_published_order(golden):
    published = np.load(GOLDEN / f"{golden}.npz")
    spec = json.loads(str(published["case"]))["spec"]
    order = parameters(ORDER[golden])
    keys = [key.split(" ")[0] for key in published["keys"].tolist()]
    assert sorted(order) == sorted(key for key in keys if not key.endswith(BUFFERS))
    assert [name for name, _ in models.make(spec).named_parameters()] == order


def test_every_published_model_has_its_order_checked():
    files = {str(path.relative_to(GOLDEN).with_suffix("")): path for path in GOLDEN.rglob("*.npz")}
    names = {golden: names_in(json.loads(str(np.load(files[golden])["case"]))) for golden in files}
    assert set().union(*names.values()) == set().union(*(names[golden] for golden in ORDER))


def names_in(case: dict) -> set[str]:
    """Of the model and its encoder."""
    args = case["spec"]["args"]
    parts = [case["spec"], args.get("encoder_spec"), args.get("encoder")]
    return {part["name"] for part in parts if part}


def test_clit_without_attention_has_no_encoding_of_positions():
    """The published one makes it with the attention only."""
    path = GOLDEN / "family" / "clit_00.npz"
    spec = json.loads(str(np.load(path)["case"]))["spec"]
    model = models.make(spec, args={"local_attn": False})
    assert not [name for name, _ in model.named_parameters() if name.startswith("pb_encoder")]
