r"""Averages of the weights along training, exponential and power-function; `posthoc` makes others after it.

After step $n$ every average becomes $\beta_n\hat\theta+(1-\beta_n)\theta_n$. They differ in $\beta_n$ only.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from flowops._arguments import number
from flowops.runs.power import exponent

TARGET = "target"
"""The name of the average whose decay a method gives."""


class Averages(nn.Module):
    r"""Running averages of the parameters of a module; its buffers are taken over as they are.

    A decay $d$ has $\beta_n=\min(d,(1+n)/(10+n))$, so that the first weights are soon forgotten. A relative width
    $\sigma_{rel}$ has the $\beta_n=(1-1/n)^{\gamma+1}$ of the profile of that width, which forgets them at the first
    step and grows with training; see `posthoc`. A method may ask for one more, `"target"`, with a decay of its own at
    every step and from the first weights on, $\beta_n=\mu(n-1)$. Averages have no gradient, lie on the device that the
    module has when it is given, and are kept in float32, or in float64 if the module is.

    Args:
        module: without wrappers of a compiler or of several processes.
        decays: decays of exponential averages, at least 0 and below 1; named like "0.999".
        power: relative widths of power-function averages, above 0 and at most 0.2887; named like "power-0.05".
        target: the decay of the average that a method looks at, by the steps done before; None for none.

    Raises:
        ValueError: for a decay or a width out of range, and for two averages of one name.

    Cost: a copy of the module for each average. Source: 2312.02696 eq. (127) for power functions.
    """

    def __init__(
        self,
        module: nn.Module,
        decays: Sequence[float],
        power: Sequence[float] = (),
        target: Callable[[int], float] | None = None,
    ) -> None:
        super().__init__()
        for decay in decays:
            if not 0 <= number(decay, "decays") < 1:
                raise ValueError(f"`decays` must be at least 0 and below 1, got {decay}; pass 0.999, say.")
        self._decays, self._exponents = tuple(decays), tuple(exponent(number(width, "power")) for width in power)
        self._target = target
        self.names: tuple[str, ...] = (*(f"{decay:g}" for decay in decays), *(f"power-{width:g}" for width in power))
        self.names += () if target is None else (TARGET,)
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"`decays` and `power` must differ in six digits, got {', '.join(self.names)}; drop one.")
        self._copies = nn.ModuleList(_frozen_copy(module) for _ in self.names)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int, finite: Tensor | bool = True) -> None:
        """Take in the parameters after optimizer step number `step`, counted from 1.

        Args:
            module: as it was given, after the step.
            step: number of the step.
            finite: false for a step that was skipped, from which nothing is taken in; or a 0-d boolean on the device.

        Cost: one fused pass over the parameters for each average; the host does not wait for the device.

        Raises:
            ValueError: for a step below 1.
        """
        if step < 1:
            raise ValueError(f"`step` must count from 1, got {step}; pass the number of steps done.")
        parameters = [parameter.detach() for parameter in module.parameters()]
        buffers = list(module.buffers())
        if finite is False:
            return
        for average, beta in zip(self._copies, self._betas(step), strict=True):
            averaged: list[Tensor] = list(average.parameters())
            like = [p if p.dtype == a.dtype else p.to(a.dtype) for p, a in zip(parameters, averaged, strict=True)]
            if averaged and finite is True:
                torch._foreach_lerp_(averaged, like, 1 - beta)
            elif averaged:
                change = torch._foreach_sub(like, averaged)
                torch._foreach_mul_(change, (1 - beta) * finite)
                torch._foreach_add_(averaged, change)
            for mine, theirs in zip(average.buffers(), buffers, strict=True):
                mine.copy_(theirs)

    def state(self, name: str) -> dict[str, Tensor]:
        """The state dict of the module with averaged parameters; the next update changes these tensors.

        Raises:
            ValueError: if there is no average of that name.
        """
        return dict(self._copy(name).state_dict())

    def load(self, name: str, state: Mapping[str, Tensor]) -> None:
        """Go on from an average that was saved.

        Raises:
            ValueError: if there is no average of that name.
            RuntimeError: if the state is not one of such a module.
        """
        self._copy(name).load_state_dict(state)

    @torch.no_grad()
    def copy_to(self, name: str, module: nn.Module) -> None:
        """Give a module of the same kind the averaged parameters, and the buffers.

        Raises:
            ValueError: if there is no average of that name.
        """
        average, targets = self._copy(name), [parameter.detach() for parameter in module.parameters()]
        if targets:
            torch._foreach_copy_(targets, list(average.parameters()))
        for theirs, mine in zip(module.buffers(), average.buffers(), strict=True):
            theirs.copy_(mine)

    def _betas(self, step: int) -> list[float]:
        exponential = [min(decay, (1 + step) / (10 + step)) for decay in self._decays]
        powers = [(1 - 1 / step) ** (gamma + 1) for gamma in self._exponents]
        return exponential + powers + ([] if self._target is None else [self._target(step - 1)])

    def _copy(self, name: str) -> nn.Module:
        if name not in self.names:
            raise ValueError(f"`name` must be one of {', '.join(self.names) or '(no average)'}, got {name!r}.")
        return self._copies[self.names.index(name)]


def _frozen_copy(module: nn.Module) -> nn.Module:
    """A copy without gradients, its floating parameters at least float32."""
    copied = copy.deepcopy(module).requires_grad_(False)
    for parameter in copied.parameters():
        parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))
        parameter.grad = None
    return copied
