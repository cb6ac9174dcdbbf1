r"""
A pretrained model of diffusers becomes a flow map
==================================================

A ``UNet2DModel`` that was trained with diffusers is a velocity field here, with derivatives; it teaches a map, and the
map begins as the model itself.
"""

# %%
# First there must be a model. This one is trained on 8×8 digits for a few seconds, as any script of diffusers does it:
# noise level :math:`\sigma`, state :math:`(1-\sigma)x_1+\sigma x_0`, target :math:`x_0-x_1`.

import tempfile

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DModel

from flowops.data import open_dataset

torch.manual_seed(0)
digits = open_dataset("digits")
model = UNet2DModel(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=4,
    num_class_embeds=10,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
)
scheduler = FlowMatchEulerDiscreteScheduler(shift=2.0)
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for step in range(200):
    batch = digits.batch(step, 32, seed=0)
    x1, x0, sigma = batch.x1, torch.randn_like(batch.x1), torch.rand(32)
    level = sigma[:, None, None, None]
    predicted = model((1 - level) * x1 + level * x0, 1000 * sigma, class_labels=batch.labels).sample
    loss = (predicted - (x0 - x1)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

folder = tempfile.mkdtemp()
model.save_pretrained(f"{folder}/unet")
scheduler.save_pretrained(f"{folder}/scheduler")
print(f"loss of the last step: {loss.item():.3f}")

# %%
# The folder is a field. Its Euler steps on the grid of the scheduler, with its shift, are those of the scheduler:

from flowops.adapters.diffusers import times, two_time_network, velocity_field
from flowops.sampling import solve

labels = torch.arange(10)
noise = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(1))
b = velocity_field(folder).requires_grad_(False)
taught = b.given(label=labels)

model.eval()
scheduler.set_timesteps(8)
x = noise
with torch.no_grad():
    for timestep in scheduler.timesteps:
        output = model(x, timestep.expand(10), class_labels=labels).sample
        x = scheduler.step(output, timestep, x).prev_sample
ours = solve(taught, noise, "euler", grid=times(scheduler, 8)).x
print(f"largest difference of a pixel: {(ours - x).abs().max().item():.1e}")

# %%
# And it has what the model had not: the derivative in time and the divergence, by forward mode.

print("root mean square of b: ", f"{taught(0.5, noise).square().mean().sqrt().item():.2f}")
print("of its derivative in t:", f"{taught.dt(0.5, noise).square().mean().sqrt().item():.0f}")
print("divergence:            ", [f"{value:.0f}" for value in taught.divergence(0.5, noise)[:4].tolist()])

# %%
# The network of two times around it is sound for every method, and starts as one Euler step of the field, exactly.

from flowops import LearnedMap
from flowops.networks import audit

network = two_time_network(folder, generator=torch.Generator().manual_seed(0))
print(audit(network, noise, label=labels))
X = LearnedMap(network)
with torch.no_grad():
    print(
        "the same:", torch.allclose(X.given(label=labels)(0.2, 0.9, noise), noise + 0.7 * taught(0.2, noise), atol=1e-5)
    )

# %%
# Distilled by ``lmd``, which takes the derivative in :math:`t` alone: the new features of :math:`t-s` are slow, while
# those of the timestep have a thousand times the frequency.

from flowops import interpolants
from flowops.methods import get_method

I, method = interpolants.linear(), get_method("lmd")
optimizer = torch.optim.Adam(X.parameters(), 2e-3)
for step in range(50):
    batch = digits.batch(step, 32, seed=1)
    x0 = torch.randn_like(batch.x1)
    result = method(X, I, x0, batch.x1, teacher=b, labels=batch.labels, seed=step)
    optimizer.zero_grad()
    result.loss.backward()
    optimizer.step()
print(f"loss of the last step: {result.loss.item():.3f}")

s, t, one = torch.full((10,), 0.3), torch.full((10,), 0.8), torch.ones(10)
size = {
    "value": network(s, t, noise, label=labels),
    "derivative in s": torch.func.jvp(lambda q: network(q, t, noise, label=labels), (s,), (one,))[1],
    "derivative in t": torch.func.jvp(lambda q: network(s, q, noise, label=labels), (t,), (one,))[1],
}
print("root mean squares:", {name: f"{value.square().mean().sqrt().item():.2g}" for name, value in size.items()})

# %%
# Each row from the same noise, a column per class.

import matplotlib.pyplot as plt

X = X.eval().requires_grad_(False).given(label=labels)
rows = {f"field, {k} Euler step{'s' * (k > 1)}": solve(taught, noise, "euler", steps=k).x for k in (1, 2, 32)}
rows |= {f"map, {k} step{'s' * (k > 1)}": X.compose(torch.linspace(0, 1, k + 1), noise) for k in (1, 2)}
figure, panels = plt.subplots(len(rows), 1, figsize=(7, 4.4), layout="constrained")
for axes, (name, images) in zip(panels, rows.items()):
    axes.imshow(torch.cat([*images[:, 0]], dim=1).clamp(-1, 1), cmap="gray", vmin=-1, vmax=1)
    axes.set_ylabel(name, rotation=0, ha="right", va="center")
    axes.set(xticks=[], yticks=[])
plt.show()

exact = taught.flow_map(method="rk4", steps=32)(0.0, 1.0, noise)
for name, images in rows.items():
    print(f"{name}: distance to the flow, root mean square {(images - exact).square().mean().sqrt().item():.3f}")
