r"""
A row of your own
=================

A training method is data: a few terms, each with a residual, a source of the velocity, a law of the times, and a
switch for the stop-gradient. Here is one that is in no paper: Lagrangian distillation of the map *from data to noise*.
"""

# %%
# The residual is a function of a point, which has the map, the velocity, the times and the state. Derivatives are those
# of `flowops.residuals`; none is written here.

import torch

from flowops import LearnedMap, interpolants, problems, residuals
from flowops.methods import METHODS, TEACHER, Difference, Term, get_method, row
from flowops.networks import MLP
from flowops.times import UpperTriangle


def backward_lagrangian(k):
    r"""$\partial_sX_{t,s}(x)$ against $b_s(X_{t,s}(x))$."""
    left, right = residuals.lagrangian(k.X, k.b, k.t, k.s, k.x, parts=True)
    return {"lagrangian": Difference(left, right)}


backward_lmd = row(
    "backward-lmd",
    Term(
        residual=backward_lagrangian,
        velocity=TEACHER,
        stop_gradient=True,
        constant="b_s(X_ts)",
        law=UpperTriangle(),
    ),
    teacher="field",
    source="this page",
    summary="Lagrangian distillation of the map from data to noise.",
)

# %%
# It is called like every other one, and has the options that all rows share. An unknown option says what exists.

I = interpolants.linear()
target = problems.gaussian(torch.tensor([1.0, 0.0]), 0.3, I)
X = LearnedMap(MLP(2, generator=torch.Generator().manual_seed(0)))
x0, x1 = (draw(512, generator=torch.Generator().manual_seed(1)) for draw in (target.sample_base, target.sample_data))

method = get_method(backward_lmd, norm="pseudo-huber")
result = method(X, I, x0, x1, teacher=target.b, seed=0)
print("loss", result.loss.item(), "of the terms", list(result.terms))
try:
    get_method(backward_lmd, eta=0.5)
except TypeError as error:
    print(error)

# %%
# What every theory check asks of a row: its loss vanishes on the exact map, and not on a wrong one.

exact = get_method(backward_lmd)(target.X, I, x0.double(), x1.double(), teacher=target.b, seed=0)
print("on the exact map:", exact.loss.item())

# %%
# To the engine it is a name: with this file in the current folder as ``own_row.py``, the command
# ``flowops train checkerboard --method own_row:backward_lmd --teacher problem:checkerboard`` trains by it.
#
# A row that is another one under other settings takes the terms of that row, replaces what differs, and says so. That
# it is nothing but these settings can then be executed.

from flowops.methods import preset, replaced
from flowops.times import LogitNormal

early = UpperTriangle(LogitNormal(-0.4, 1.0))
early_lmd = preset(
    "early-lmd",
    METHODS["lmd"],
    f"law={early}",
    replaced(METHODS["lmd"], form="map", law=early),
    source="this page",
    summary="Lagrangian distillation with most of its times near the noise.",
)
one = early_lmd(X, I, x0, x1, teacher=target.b, seed=0).loss
other = get_method("lmd", law=early)(X, I, x0, x1, teacher=target.b, seed=0).loss
print("the preset and its base under the settings:", one.item(), other.item())
