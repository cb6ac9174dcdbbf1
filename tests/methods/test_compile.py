"""Whole losses inside `torch.compile`, in a process without the run-time checks of shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.programs import run

PROGRAM = """
import warnings
warnings.simplefilter("ignore")
import torch
from flowops import interpolants
from flowops.maps import LearnedJointMap
from flowops.methods import InverseSpeed, get_method
from flowops.networks import MLP

generator = torch.Generator().manual_seed(0)
X = LearnedJointMap(MLP(2, width=16, depth=2, labels=2, log_det=True, generator=generator))
I = interpolants.cosine()
x0, x1 = torch.randn(2, 32, 2, generator=generator)
methods = {
    "lsd": get_method("lsd", eta=0.5, label_dropout=0.1, null_label=2),
    "meanflow": get_method("meanflow", eta=0.5, p=1.0, guidance=1.5, null_label=2),
    "imf": get_method("imf", eta=0.5, tangent=0.5, inverse=0.1),
    "esd": get_method("esd", eta=0.5, derivatives="central"),
    "trapezoid": get_method("trapezoid", eta=0.5),
    "ct": get_method("ct", norm="pseudo-huber", weight=InverseSpeed()),
    "f2d2": get_method("f2d2", label_dropout=0.1, null_label=2),
}
for name, method in methods.items():
    compiled = method.compiled(fullgraph=True)
    for seed in range(2):
        labels = torch.randint(2, (32,), generator=generator)
        draw = method.draw(X, I, x0, x1, labels=labels, seed=seed)
        losses = [f(X, I, draw).loss for f in (method.evaluate, compiled)]
        gradients = [torch.autograd.grad(loss, list(X.parameters()), allow_unused=True) for loss in losses]
        torch.testing.assert_close(*losses)
        for one, other in zip(*gradients, strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    print("compiled", name)
"""


@pytest.mark.slow
def test_labelled_weighted_and_guided_losses_compile_into_one_graph(tmp_path: Path) -> None:
    names = ["lsd", "meanflow", "imf", "esd", "trapezoid", "ct", "f2d2"]
    assert run(tmp_path, PROGRAM).split() == [word for name in names for word in ("compiled", name)]


MANY = """
import warnings
warnings.simplefilter("ignore")
import torch
from flowops import LearnedMap, interpolants
from flowops.methods import get_method
from flowops.networks import MLP

X, teacher, trained = (
    LearnedMap(MLP(2, width=4, depth=1, generator=torch.Generator().manual_seed(k))) for k in (0, 1, 3)
)
b = teacher.requires_grad_(False).velocity()
I = interpolants.linear()
x0, x1 = torch.randn(2, 8, 2, generator=torch.Generator().manual_seed(2))
torch._dynamo.config.recompile_limit = 2
for name in ("regression", "fm", "lsd", "meanflow", "psd-m", "ctm", "lmd"):
    graphs = []
    method = get_method(name)
    given = trained.velocity() if name == "lmd" else b if name in ("regression", "ctm") else None
    if name == "lmd":  # on states of one's own, along a teacher whose weights have gradients
        I, draw = None, method.draw(X, None, states=x0, teacher=given, seed=0)
    else:
        draw = method.draw(X, I, x0, x1, teacher=given, seed=0)
    compiled = method.compiled(backend=lambda module, inputs, options: graphs.append(module) or module)
    for _ in range(2):
        compiled(X, I, draw, teacher=given).loss.backward()
    print(name, "one" if len(graphs) == 1 else "several")
"""


@pytest.mark.slow
def test_losses_compile_whole_after_others_and_after_one_that_does_not(tmp_path: Path) -> None:
    said = dict(line.split() for line in run(tmp_path, MANY).splitlines())
    assert said == {"regression": "several", **dict.fromkeys(["fm", "lsd", "meanflow", "psd-m", "ctm", "lmd"], "one")}
