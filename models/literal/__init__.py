"""The papers' formulas, written out literally; every faster form is compared with them.

A formula takes a model for its weights, the input (B, C, h, w), the feature map (B, D, h, w), and
coord and cell (B, Q, 2), and returns colours (B, Q, 3). It computes every number where the paper
does, and finds codes with ``grid_sample``. Read these files to understand a method, and those in
``models/continuous`` to see how it is trained and rendered. `input_skip`, which no paper has, is
left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from models.literal.ciaosr import ciaosr
from models.literal.clit import clit
from models.literal.liif import liif, metasr
from models.literal.lmf import lmciaosr, lmliif, lmlte
from models.literal.lte import lte, lte_fast
from models.literal.sronet import sronet

Formula = Callable[[Any, Tensor, Tensor, Tensor, Tensor], Tensor]

FORMULAS: dict[str, Formula] = {
    "liif": liif,
    "metasr": metasr,
    "lte": lte,
    "lte-fast": lte_fast,
    "lmliif": lmliif,
    "lmlte": lmlte,
    "sronet": sronet,
    "ciaosr": ciaosr,
    "lmciaosr": lmciaosr,
    "clit": clit,
}
