"""The map of a run in another precision, or compiled."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from flowops._types import State, Times
from flowops.maps import LearnedMap

Precision: TypeAlias = Literal["32", "bf16"]


class ComputedMap(LearnedMap):
    """A learned map, its network in another precision or compiled; it shares the parameters and has no derivatives.

    In bfloat16 the network computes under autocast, and its output comes back to the dtype of the state before it is
    multiplied by times. Compilation is of the network alone, as one graph, at its first call and once more where the
    number of samples changes.

    Args:
        X: the map.
        precision: "32", or "bf16".
        compiled: whether the network is compiled.
    """

    def __init__(self, X: LearnedMap, precision: Precision, compiled: bool) -> None:
        network = X.network
        if compiled:
            network = copy.copy(network)  # the call is compiled, not the module: that of the run stays as it is
            network.compile(fullgraph=True)
        super().__init__(network, X.parameterization)
        self.precision, self.compiled = precision, compiled

    def _average_velocity(self, s: Times, t: Times, x: State, conditions: Mapping[str, Any]) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            try:
                return super()._average_velocity(s, t, x, conditions)
            except torch._dynamo.exc.TorchDynamoException as error:
                said = next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)
                raise ValueError(
                    f"`compile` must be left out for this network, which does not compile as one graph "
                    f"({said[:200].rstrip('.')}); drop it, or mend its forward."
                ) from error
