"""Encoders: networks that map an image (B, 3, h, w) to a feature map."""

from . import edsr, rcan, rdn, span, swinir  # noqa: F401
