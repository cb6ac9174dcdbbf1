"""The products in the compiled graphs of a loss, counted where inductor takes them over: after its joint passes."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch._functorch._aot_autograd.utils import make_boxed_func
from torch._inductor.compile_fx import compile_fx
from torch.fx import GraphModule, Interpreter
from torch.testing import assert_close

from flowops import LearnedMap, interpolants
from flowops.methods import get_method
from flowops.networks import MLP, UNet
from tests.examples import normal

aten = torch.ops.aten
KINDS = {  # the name to count an operator under, and where its factors stand
    aten.convolution.default: ("convolutions", (0, 1)),
    aten.convolution_backward.default: ("backward", (0, 1, 2)),
    aten.mm.default: ("matrices", (0, 1)),
    aten.bmm.default: ("matrices", (0, 1)),
    aten.addmm.default: ("matrices", (1, 2)),
    aten.baddbmm.default: ("matrices", (1, 2)),
}


class Watched(Interpreter):
    """Runs a graph and counts its products, under "zero" those with a factor that has no other entry."""

    def __init__(self, module: GraphModule, found: Counter[str]) -> None:
        super().__init__(module)
        self.found = found

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """One operator."""
        if target in KINDS:
            name, places = KINDS[target]
            self.found[name] += 1
            self.found["zero"] += any(not args[place].any() for place in places)
        return super().call_function(target, args, kwargs)


def networks() -> dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]]:
    """Small networks and the shapes of their events."""

    def images(**options: Any) -> UNet:
        return UNet((1, 4, 4), channels=4, multipliers=(1,), blocks=1, attention=(), **options)

    return {
        "perceptron": (lambda: MLP(2, width=8, depth=2), (2,)),
        "plain": (images, (1, 4, 4)),
        "preserving": (lambda: images(magnitude_preserving=True), (1, 4, 4)),
    }


def counted(row: str, kind: str) -> Counter[str]:
    """The products of a compiled step; its loss and gradients must be those of the uncompiled one."""
    make, event = networks()[kind]
    generator, method, I = torch.Generator().manual_seed(0), get_method(row), interpolants.linear()
    X = LearnedMap(make().double())
    for p in X.parameters():  # what is zero at initialization is no zero of the graph
        p.data += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    given = copy.deepcopy(X).requires_grad_(False).velocity()
    teacher = given if method.row.teacher.removeprefix("optional ") else None
    draw = method.draw(X, I, normal(4, *event), normal(4, *event, seed=1), teacher=teacher, seed=0)
    found: Counter[str] = Counter(zero=0)

    def keep(module: GraphModule, *_: Any, **__: Any) -> Any:
        return make_boxed_func(Watched(module, found).run)

    def backend(module: GraphModule, inputs: Any, options: Any) -> Any:
        return compile_fx(module, inputs, inner_compile=keep, config_patches=options)

    torch._dynamo.reset()
    results = []
    for evaluate in (method.evaluate, method.compiled(backend=backend, fullgraph=True)):
        loss = evaluate(X, I, draw, teacher=teacher).loss
        results.append((loss.detach(), torch.autograd.grad(loss, list(X.parameters()))))
    assert_close(results[1], results[0], rtol=1e-9, atol=1e-12)
    return found
