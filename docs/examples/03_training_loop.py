r"""
A training loop of twelve lines
===============================

A method is a function of a map, an interpolant and two samples. The loop around it is yours: no engine, no
configuration.
"""

# %%
# The data are two interlocking half circles; the map is a perceptron of two times and a point.

import torch

from flowops import LearnedMap, interpolants
from flowops.data import open_dataset
from flowops.methods import get_method
from flowops.networks import MLP

moons, I = open_dataset("moons"), interpolants.linear()

# %%
# These are the twelve lines. ``get_method("meanflow")``, or any other row of the table, changes the paper.

torch.manual_seed(0)
X = LearnedMap(MLP(2, width=128, depth=3))
method = get_method("lsd", eta=0.75)
optimizer = torch.optim.Adam(X.parameters(), 2e-3)
for step in range(2_000):
    x1 = moons.batch(step, 512, seed=0).x1
    result = method(X, I, torch.randn_like(x1), x1, seed=step)
    optimizer.zero_grad()
    result.loss.backward()
    optimizer.step()
    if step % 500 == 0:
        print(step, f"{result.loss.item():.3f}", {name: f"{value.item():.3f}" for name, value in result.terms.items()})

# %%
# One map, any number of steps, from the same noise.

import matplotlib.pyplot as plt

X.eval().requires_grad_(False)
x0 = torch.randn(2_000, 2, generator=torch.Generator().manual_seed(1))
panels = {f"{k} step{'s' * (k > 1)}": X.compose(torch.linspace(0, 1, k + 1), x0) for k in (1, 2, 4)}
panels["data"] = moons.reference(2_000).x1
figure, rows = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained", sharex=True, sharey=True)
for axes, (name, x) in zip(rows, panels.items()):
    axes.scatter(*x.T, s=1.5, color="#34558b", alpha=0.5, linewidths=0)
    axes.set(title=name, aspect="equal", xlim=(-1.3, 1.3), ylim=(-1.0, 1.0))
plt.show()

# %%
# How far the map is from the flow of its own field, without any data:

from flowops import residuals

t = torch.rand(2_000, generator=torch.Generator().manual_seed(2))
lagrangian = residuals.lagrangian(X, X.velocity(), 0.0, t, x0)
print("Lagrangian residual, root mean square:", lagrangian.square().mean().sqrt().item())

# %%
# What the engine adds is not the mathematics: exact resume, several processes, compilation, averages of the weights,
# telemetry. ``flowops.train(flowops.TrainConfig("moons"))`` has all of that.
