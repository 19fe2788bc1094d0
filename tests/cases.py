"""Small instances of every registered name, and inputs for them.

A new name needs a line here: how to make it small. A test fails until it has one.
"""

from __future__ import annotations

import torch

import models

SMALL_ARGS = {
    "edsr-baseline": {"n_resblocks": 2, "n_feats": 8},
    "edsr": {"n_resblocks": 2, "n_feats": 8},
    "rdn": {"RDNconfig": "A", "G0": 8},
    "swinir": {"dim": 12, "n_stages": 2, "n_blocks": 2, "n_heads": 2},
    "rcan": {"n_resgroups": 2, "n_resblocks": 2, "n_feats": 16},
    "span": {"feature_channels": 8, "img_range": 1, "rgb_mean": [0, 0, 0]},
}
DECODERS = ["galerkin", "lmmlp", "mlp", "posenc"]  # and other parts
WITHOUT_SCALE = ["span", "swinir"]  # no upsampler, or one of an `upscale`
ENCODERS = [name for name in models.registry.names() if name in SMALL_ARGS]
UPSAMPLING = [name for name in ENCODERS if name not in WITHOUT_SCALE]
CONTINUOUS = [n for n in models.registry.names() if n not in ENCODERS and n not in DECODERS]

ENCODER = {"name": "edsr-baseline", "args": {"no_upsampling": True, "n_resblocks": 2, "n_feats": 8}}
IMNET = {"name": "mlp", "args": {"out_dim": 3, "hidden_list": [16, 16]}}
LMMLP = {"name": "lmmlp", "args": {"out_dim": 3, "hidden_dim": 8, "hidden_depth": 3}}
POSENC = {
    "name": "posenc",
    "args": {"posenc_type": "sinusoid", "posenc_scale": 3, "enc_dims": 16},
}
HYPERNET = {"name": "mlp", "args": {"hidden_list": [20]}}
SPECS = {
    "liif": {"name": "liif", "args": {"encoder_spec": ENCODER, "imnet_spec": IMNET}},
    "lmciaosr": {
        "name": "lmciaosr",
        "args": {
            "encoder": {"name": "edsr-baseline", "args": {"n_resblocks": 1}},
            "prenet_q": HYPERNET,
            "hypernet_q": HYPERNET,
            "imnet_q": LMMLP,
            "imnet_k": HYPERNET,
            "imnet_v": HYPERNET,
            "mod_input": True,
        },
    },
    "lmliif": {
        "name": "lmliif",
        "args": {
            "encoder_spec": ENCODER,
            "imnet_spec": LMMLP,
            "hypernet_spec": HYPERNET,
            "mod_input": True,
        },
    },
    "lmlte": {
        "name": "lmlte",
        "args": {
            "encoder_spec": ENCODER,
            "imnet_spec": LMMLP,
            "hypernet_spec": HYPERNET,
            "hidden_dim": 12,
            "mod_input": True,
        },
    },
    "lte": {
        "name": "lte",
        "args": {"encoder_spec": ENCODER, "imnet_spec": IMNET, "hidden_dim": 16},
    },
    "lte-fast": {
        "name": "lte-fast",
        "args": {"encoder_spec": ENCODER, "num_layer": 2, "hidden_dim": 16},
    },
    "metasr": {"name": "metasr", "args": {"encoder_spec": ENCODER}},
    "ciaosr": {
        "name": "ciaosr",
        "args": {
            "encoder": ENCODER,
            "imnet_q": IMNET,
            "imnet_k": HYPERNET,
            "imnet_v": HYPERNET,
        },
    },
    "clit": {
        "name": "clit",
        "args": {
            "encoder_spec": ENCODER,
            "imnet_spec": {"name": "mlp", "args": {**IMNET["args"], "act": "gelu"}},
            "pb_spec": POSENC,
            "base_dim": 12,
            "head": 3,
            "r": 2,
        },
    },
    "sronet": {"name": "sronet", "args": {"encoder_spec": ENCODER, "width": 16, "blocks": 4}},
    "bicubic": {"name": "bicubic", "args": {}},
}

# What makes those gray that can be.
GRAY_IMNET = {"name": "mlp", "args": {"out_dim": 1, "hidden_list": [16, 16]}}
GRAY_LMMLP = {"name": "lmmlp", "args": {**LMMLP["args"], "out_dim": 1}}
GRAY_ARGS: dict[str, dict[str, object]] = {
    "liif": {"imnet_spec": GRAY_IMNET},
    "lte": {"imnet_spec": GRAY_IMNET},
    "lte-fast": {"out_dim": 1},
    "lmliif": {"imnet_spec": GRAY_LMMLP},
    "lmlte": {"imnet_spec": GRAY_LMMLP},
    "lmciaosr": {"imnet_q": GRAY_LMMLP},
    "ciaosr": {"imnet_q": GRAY_IMNET},
    "clit": {"imnet_spec": GRAY_IMNET},
}


def make(name: str, **args: object) -> torch.nn.Module:
    """A small continuous model with fixed random weights, in evaluation mode."""
    torch.manual_seed(0)
    return models.make(SPECS[name], args=args).eval()


def queries(
    batch: int, count: int, dtype: torch.dtype = torch.float32, seed: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates in [-1, 1] in no order, and cells of different sizes."""
    generator = torch.Generator().manual_seed(seed)
    coord = torch.rand(batch, count, 2, generator=generator, dtype=dtype) * 2 - 1
    cell = torch.rand(batch, count, 2, generator=generator, dtype=dtype) * 0.3 + 0.01
    return coord, cell
