r"""
A frozen teacher and a student of low rank
==========================================

A transformer is trained as a velocity field of digits. Then it is frozen, and a map of few steps is learned by changes
of low rank, with peft.
"""

# %%
# The teacher is a network of one time, :math:`b_s(x)`, trained by flow matching for some seconds.

import torch

from flowops import LearnedMap, interpolants
from flowops.data import open_dataset
from flowops.methods import get_method
from flowops.networks import DiT, load_diagonal

digits, I = open_dataset("digits"), interpolants.linear()
options = {"width": 32, "depth": 2, "heads": 4, "features": 32, "time_scale": 4.0}
source = torch.Generator().manual_seed(0)


def learn(X, method, steps, rate, **more):
    """A training loop; it returns the losses."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam([p for p in X.parameters() if p.requires_grad], rate)
    losses = []
    for step in range(steps):
        x1 = digits.batch(step, 32, seed=0).x1
        loss = method(X, I, torch.randn_like(x1), x1, seed=step, **more).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


field = DiT((1, 8, 8), one_time=True, **options, generator=source)
learn(LearnedMap(field), get_method("fm"), 350, 5e-3)
b = LearnedMap(field).velocity().requires_grad_(False)

# %%
# A network of two times takes its weights: :math:`v_{s,t}=b_s` for all :math:`t`, the Euler step of the field. Of this
# network most is frozen; every layer gets a change :math:`BA` of rank eight, and what tells :math:`t-s` learns whole,
# since the field knows nothing of it.

from flowops.adapters.peft import merge_lora, save_lora, with_lora

network = DiT((1, 8, 8), **options, generator=source)
load_diagonal(network, field.state_dict())
student = with_lora(network, rank=8, generator=source)
learning = sum(p.numel() for p in student.parameters() if p.requires_grad)
print(f"{learning:,} of {sum(p.numel() for p in student.parameters()):,} parameters learn")

# %%
# Lagrangian distillation: :math:`\partial_tX_{s,t}(x)=b_t(X_{s,t}(x))`, by a forward-mode derivative through the
# changed layers.

X = LearnedMap(student)
losses = learn(X, get_method("lmd"), 110, 5e-3, teacher=b)
print(f"loss of the first 25 steps {sum(losses[:25]) / 25:.3f}, of the last 25 {sum(losses[-25:]) / 25:.3f}")
print("frozen weights are as they were:", torch.equal(student.first.base_layer.weight, field.first.weight))

# %%
# From the same noise: one step of the frozen network, one and two steps of the student, the field solved.

import matplotlib.pyplot as plt

x0 = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(1))
with torch.no_grad():
    solved = b.flow_map(method="midpoint", steps=20)(0.0, 1.0, x0)
    rows = {
        "frozen, 1 step": LearnedMap(network)(0.0, 1.0, x0),
        "student, 1 step": X(0.0, 1.0, x0),
        "student, 2 steps": X.compose([0.0, 0.5, 1.0], x0),
        "field, 40 calls": solved,
    }
figure, axes = plt.subplots(4, 1, figsize=(8, 3.6), layout="constrained")
for axis, (name, x) in zip(axes, rows.items()):
    axis.imshow(torch.cat(list(x[:, 0]), 1), cmap="gray", vmin=-1, vmax=1)
    axis.set(yticks=[], xticks=[])
    axis.set_ylabel(name, rotation=0, ha="right", va="center")
    print(f"{name}: distance to the solved field {(x - solved).square().mean().sqrt().item():.3f}")
plt.show()

# %%
# What was learned is a small folder that peft reads; merged, the student is a plain ``DiT``.

import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    save_lora(student, folder)
    print({path.name: path.stat().st_size for path in sorted(Path(folder).iterdir())})
merged = LearnedMap(merge_lora(student))
print("merged, the map differs by", (merged(0.0, 1.0, x0) - X(0.0, 1.0, x0)).abs().max().item())
