"""The names of encoders, decoders and continuous models."""

from __future__ import annotations

from configs.spec import Registry

registry = Registry("model")
register = registry.register
make = registry.make
