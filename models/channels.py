"""Find out how many colour channels a model outputs."""

from __future__ import annotations

from typing import Any

import torch

from errors import ChannelsError, UserError
from models.base import ContinuousModel
from models.published import as_continuous


@torch.no_grad()
def colour_channels(model: Any) -> int:
    """Find out how many channels a model takes and outputs: 1 (gray) or 3 (RGB).

    It queries one pixel, which leaves the model unchanged; but a model from other code, which may
    also accept only one channel, forgets the image it has encoded.

    Args:
        model: A model with ``gen_feat`` and ``query_rgb``.

    Raises:
        UserError: If it outputs another number of channels.
    """
    model = as_continuous(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        given = _output_channels(model)
    finally:
        for module, mode in modes:
            module.training = mode
    if given not in (1, 3):
        raise UserError(f"gives {given} channels; 1 (gray) and 3 (RGB) are what images have")
    return given


def _output_channels(model: ContinuousModel) -> int:
    parameter = next(model.parameters(), torch.zeros(()))
    coord = torch.zeros(1, 1, 2, device=parameter.device)
    cell = torch.full_like(coord, 0.25)

    def output_for(channels: int) -> int:
        inp = parameter.new_zeros(1, channels, 8, 8)
        try:
            return model.query_rgb(coord, cell, model.encode(inp)).shape[-1]
        except ChannelsError as error:
            return error.given

    try:
        return output_for(3)
    except RuntimeError:
        return output_for(1)
