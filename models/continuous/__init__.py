"""Continuous models: one file for the method of each paper."""

from . import bicubic, ciaosr, clit, liif, lmciaosr, lmf, lte, metasr, sronet  # noqa: F401
