"""Decoders: networks applied to vectors, and their parts."""

from . import lmmlp, mlp, posenc  # noqa: F401
