"""Decoders: networks of vectors, and their parts."""

from . import lmmlp, mlp, posenc  # noqa: F401
