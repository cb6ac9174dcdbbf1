r"""
A model of flow_matching becomes a flow map
===========================================

A velocity field that was trained with another library's loop is an operator here: it is solved, differentiated, and
distilled into a map of one step.
"""

# %%
# First there must be a model. This one is trained as the examples of ``flow_matching`` do it: its path, its loss, a
# network that is called with the state before the time.

import torch
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CosineScheduler
from flow_matching.solver import ODESolver
from flow_matching.utils import ModelWrapper
from torch import nn

from flowops.data import open_dataset


class Velocity(nn.Module):
    def __init__(self, width=128):
        super().__init__()
        hidden = [layer for _ in range(2) for layer in (nn.SiLU(), nn.Linear(width, width))]
        self.layers = nn.Sequential(nn.Linear(3, width), *hidden, nn.SiLU(), nn.Linear(width, 2))

    def forward(self, x, t):
        return self.layers(6 * torch.cat([x, t.reshape(-1, 1).expand(len(x), 1)], 1))


torch.manual_seed(0)
model, path, data = ModelWrapper(Velocity()), AffineProbPath(CosineScheduler()), open_dataset("moons")
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
for step in range(1000):
    x1, t = data.batch(step, 256, seed=0).x1, torch.rand(256)
    sample = path.sample(x_0=torch.randn_like(x1), x_1=x1, t=t)
    loss = (model(sample.x_t, sample.t) - sample.dx_t).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    rate.step()
print(f"loss of the last step: {loss.item():.2f}")

# %%
# Its path is an interpolant, its model a field. The clocks are the same, the letters are not: their
# :math:`(\alpha_t,\sigma_t)` is our :math:`(\beta_t,\alpha_t)`.

from flowops.adapters.flow_matching import as_model, interpolant, velocity_field

I, b = interpolant(path), velocity_field(model).requires_grad_(False)
print(I)

x0 = torch.randn(1000, 2, generator=torch.Generator().manual_seed(1))
theirs = ODESolver(model).sample(x0, step_size=None, method="dopri5", atol=1e-6, rtol=1e-6)
exact = b.flow_map(rtol=1e-6, atol=1e-6)(0.0, 1.0, x0)
print(f"largest difference of the two solvers: {(exact - theirs).abs().max().item():.1e}")

# %%
# What the model had not: a step size per sample, the divergence, the likelihood, other quantities in its place, another
# schedule.

from flowops import interpolants, reschedule

score = I.convert(0.5, x0, b(0.5, x0), "velocity", "score")
print("score, root mean square:      ", f"{score.square().mean().sqrt().item():.2f}")
print("divergence at four points:    ", [f"{value:.2f}" for value in b.divergence(0.5, x0)[:4].tolist()])
print("log-likelihood of its samples:", f"{b.log_prob(exact[:100], t=1.0).mean().item():.2f}")
linear = reschedule(b, I, interpolants.linear())
same = linear.flow_map(rtol=1e-6, atol=1e-6)(0.0, 1.0, x0[:100])
print(f"the same flow on the linear schedule: {(same - exact[:100]).abs().max().item():.1e}")

# %%
# A map of it, with a network of its own, distilled by ``lmd`` with the model as the teacher.

from flowops import LearnedMap
from flowops.methods import get_method
from flowops.networks import MLP

X, method = LearnedMap(MLP(2, width=128, octaves=2, generator=torch.Generator().manual_seed(0))), get_method("lmd")
optimizer = torch.optim.Adam(X.parameters(), 3e-3)
rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
for step in range(400):
    x1 = data.batch(step, 256, seed=1).x1
    result = method(X, I, torch.randn_like(x1), x1, teacher=b, seed=step)
    optimizer.zero_grad()
    result.loss.backward()
    optimizer.step()
    rate.step()
X = X.eval().requires_grad_(False)

# %%
# And back: any field or map of flowops is a model for their solvers. Here two of their Euler steps of the field stand
# beside as many calls of the map.

import matplotlib.pyplot as plt

panels = {
    "field, 1 Euler step": x0 + b(0.0, x0),
    "field, 2 Euler steps of theirs": ODESolver(as_model(b)).sample(x0, step_size=0.5, method="euler"),
    "map, 1 step": X(0.0, 1.0, x0),
    "map, 2 steps": X.compose([0.0, 0.5, 1.0], x0),
    "flow": exact,
}
figure, axes = plt.subplots(1, len(panels), figsize=(12, 2.8), sharex=True, sharey=True, layout="constrained")
for panel, (name, points) in zip(axes, panels.items()):
    panel.scatter(*points.T, s=1)
    panel.set_title(name, fontsize=9)
    panel.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
    print(f"{name}: distance to the flow, root mean square {(points - exact).square().mean().sqrt().item():.3f}")
plt.show()
