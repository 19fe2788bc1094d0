"""Encoders, decoders and continuous models, by name.

A new file in this folder needs one line at the end of this one; see CONTRIBUTING.md.
"""

from configs.spec import Registry

registry = Registry("model")
register = registry.register
make = registry.make

from . import (  # noqa: E402, F401
    bicubic,
    ciaosr,
    clit,
    edsr,
    liif,
    lmciaosr,
    lmf,
    lmmlp,
    lte,
    metasr,
    mlp,
    posenc,
    rcan,
    rdn,
    span,
    sronet,
    swinir,
)
