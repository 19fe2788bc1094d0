"""The Muon optimizer, for networks of convolutions and linear layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
FEWEST_ROWS = 16  # a layer with fewer outputs does not count as hidden


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonal updates for the weights of hidden layers, and Adam for the rest.

    The weights of hidden layers are treated as matrices (outputs, inputs x kernel). Biases, other
    vectors, and layers with fewer than 16 outputs, such as the last one, use Adam. Both use the
    same learning rate, since orthogonal updates are scaled to the size of Adam's.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        momentum: Momentum of the orthogonal updates, in Nesterov's form.
        betas, eps: Parameters of Adam.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the
    scale 0.2 sqrt(max(rows, columns)) from Liu et al., "Muon is scalable for LLM training", 2025.
    ``torch.optim.Muon`` supports only matrices.
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
        # With fused, a saved step count is loaded to where Adam's fused kernel needs it.
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "fused": True}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step; see `torch.optim.Optimizer.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            alike: dict[Any, list[Tensor]] = defaultdict(list)
            others: list[Tensor] = []
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if parameter.ndim in (2, 4) and len(parameter) >= FEWEST_ROWS:
                    alike[parameter.shape, parameter.dtype, parameter.device].append(parameter)
                else:
                    others.append(parameter)
            for parameters in alike.values():
                self._orthogonal_step(parameters, group)
            if others:
                self._adam_step(others, group)
        return loss

    def _orthogonal_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update parameters of one shape, all in the same few calls."""
        gradients = _gradients(parameters)
        buffers = self._states(parameters, "momentum_buffer")
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, buffers, group["momentum"])
        updates = orthogonalised(torch.stack([x.flatten(1) for x in ahead]))
        scale = 0.2 * max(updates.shape[1:]) ** 0.5
        steps = [x.view(p.shape) for p, x in zip(parameters, updates, strict=True)]
        torch._foreach_add_(parameters, steps, alpha=-group["lr"] * scale)

    def _adam_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        first, second = group["betas"]
        adam(
            parameters,
            _gradients(parameters),
            self._states(parameters, "exp_avg"),
            self._states(parameters, "exp_avg_sq"),
            [],
            [self._step_count(parameter) for parameter in parameters],
            fused=True,
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=group["lr"],
            weight_decay=0.0,
            eps=group["eps"],
            maximize=False,
        )

    def _states(self, parameters: list[Tensor], key: str) -> list[Tensor]:
        for parameter in parameters:
            state = self.state[parameter]
            if key not in state:
                state[key] = torch.zeros_like(parameter)
            state[key] = _laid_as(parameter, state[key])
        return [self.state[parameter][key] for parameter in parameters]

    def _step_count(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        return state["step"]


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [_laid_as(p, p.grad) for p in parameters if p.grad is not None]


def _laid_as(parameter: Tensor, values: Tensor) -> Tensor:
    """Give values the strides of a parameter, as the fused kernel reads both in memory order."""
    if values.stride() == parameter.stride():
        return values
    return torch.empty_like(parameter).copy_(values)


def orthogonalised(matrices: Tensor) -> Tensor:
    """Move the singular values of matrices (N, m, n) near 1 (0.7 to 1.2), keeping the vectors.

    It takes five steps of Newton and Schulz's iteration with the coefficients of Jordan et al.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
