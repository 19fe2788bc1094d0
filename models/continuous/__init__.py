"""Continuous models: the method of one paper in one file."""

from . import bicubic, ciaosr, clit, liif, lmciaosr, lmf, lte, metasr, sronet  # noqa: F401
