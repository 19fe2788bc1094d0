"""The Muon optimizer for networks of convolutions and linear layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
FEWEST_ROWS = 16  # a layer with fewer outputs is no hidden one


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a weight is made orthogonal; Adam for what is no hidden weight.

    The weights of hidden layers are taken as matrices (outputs, inputs x kernel). Biases, other
    vectors, and layers of fewer than 16 outputs, such as the last one, follow Adam. Both parts take
    the same learning rate, since an orthogonal update is scaled to the size that Adam's has.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Of the orthogonal updates, in Nesterov's form.
        betas, eps: Of Adam.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the
    scale 0.2 sqrt(max(rows, columns)) from Liu et al., "Muon is scalable for LLM training", 2025.
    ``torch.optim.Muon`` knows matrices only.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 2e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
    ) -> None:
        if lr < 0 or eps < 0 or not all(0 <= beta < 1 for beta in (momentum, *betas)):
            raise ValueError(f"muon: lr {lr}, momentum {momentum}, betas {betas} or eps {eps}")
        super().__init__(params, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """See `torch.optim.Optimizer.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim in (2, 4) and len(parameter) >= FEWEST_ROWS:
                    self._orthogonal_step(parameter, group)
                else:
                    self._adam_step(parameter, group)
        return loss

    def _orthogonal_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        buffer = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        update = orthogonalised(gradient.lerp(buffer, group["momentum"]).flatten(1))
        scale = 0.2 * max(update.shape) ** 0.5
        parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * scale)

    def _adam_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float64)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        first, second = group["betas"]
        state["step"] += 1
        step = state["step"].item()
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        spread = (state["exp_avg_sq"] / (1 - second**step)).sqrt_().add_(group["eps"])
        parameter.addcdiv_(state["exp_avg"] / (1 - first**step), spread, value=-group["lr"])


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix with the same singular vectors, and singular values near 1 (0.7 to 1.2).

    Five steps of Newton and Schulz's iteration with the coefficients of Jordan et al.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / matrix.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
