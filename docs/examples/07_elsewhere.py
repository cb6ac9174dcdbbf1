r"""
A map that opens elsewhere
==========================

A run becomes a folder of diffusers, whose scheduler for flow maps gives the same pictures, and a folder with a card
that others open, here or from the hub.
"""

# %%
# A short run on digits; a real one takes two minutes. Nothing of what follows depends on how good it is.

import tempfile
from pathlib import Path

import flowops
from flowops.runs import LogConfig, NetworkConfig

place = Path(tempfile.mkdtemp())
config = flowops.TrainConfig(
    "digits",
    steps=300,
    batch=64,
    averages=(0.99,),
    checkpoint_every=0,
    out=str(place / "digits"),
    network=NetworkConfig("mlp", width=128, depth=3),
    log=LogConfig(progress=False, tensorboard=False, telemetry_every=0),
)
run = flowops.train(config)

# %%
# **diffusers.** ``flowops export RUN --to diffusers`` does this from the command line. The folder is loaded again and
# compared with the map before it takes its place.

from flowops.runs import to_diffusers

exported = to_diffusers(run, place / "pipeline")
print(sorted(str(file.relative_to(exported.path)) for file in exported.path.rglob("*.*") if file.is_file()))
print("difference from the map:", exported.error)

# %%
# Its scheduler is the one of diffusers. From the same noise the pictures are those of the run, by any number of steps,
# with labels and with guidance.

from diffusers.utils import logging

from flowops.adapters.diffusers import FlowMapPipeline

logging.disable_progress_bar()
pipe = FlowMapPipeline.from_pretrained(str(exported.path))
pipe.set_progress_bar_config(disable=True)
print(type(pipe.scheduler).__module__)

x0, classes = run.base(10), list(range(10))
for steps in (1, 2, 4):
    ours = run.sample(x0=x0, steps=steps, label=classes, guidance=2.0)
    theirs = pipe(
        latents=x0, num_inference_steps=steps, class_labels=classes, guidance_scale=2.0, output_type="latent"
    ).images
    print(steps, "steps, largest difference:", (ours - theirs).abs().max().item())

# %%

import matplotlib.pyplot as plt

figure, rows = plt.subplots(3, 10, figsize=(8, 2.6), layout="constrained")
for axes, steps in zip(rows, (1, 2, 4)):
    images = pipe(latents=x0, num_inference_steps=steps, class_labels=classes, guidance_scale=2.0).images
    for axis, image in zip(axes, images):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(f"{steps} step{'s' * (steps > 1)}")
plt.show()

# %%
# **The step is the map.** diffusers goes down in noise levels :math:`\sigma=1-s` by
# :math:`x-(\sigma_s-\sigma_t)\,f`; the model returns :math:`f=-v_{s,t}(x)`, so a step is
# :math:`x+(t-s)\,v_{s,t}(x)=X_{s,t}(x)`. Without the second time it returns :math:`-b_s(x)`, and a scheduler for flow
# matching solves the field of the same model.

from diffusers import FlowMatchEulerDiscreteScheduler

pipe.scheduler = FlowMatchEulerDiscreteScheduler()
theirs = pipe(latents=x0, num_inference_steps=8, class_labels=classes, output_type="latent").images
ours = run.solve(x0=x0, method="euler", steps=8, label=classes).x
print("Euler in 8 steps, largest difference:", (ours - theirs).abs().max().item())

# %%
# **A folder for others.** ``run.push_to_hub("user/name")`` uploads what is written here. It holds one set of weights
# with its hashes, the settings and a card, and nothing that is pickled.

shared = run.save_pretrained(place / "digits-in-few-steps", license="apache-2.0")
print(sorted(str(file.relative_to(shared)) for file in shared.rglob("*.*") if file.is_file()))
print((shared / "README.md").read_text(encoding="utf-8")[:900])

# %%
# It opens as it is, by its folder or, on the hub, by its name.

import torch

opened = flowops.Run.from_pretrained(shared)
print(torch.equal(opened.sample(x0=x0, steps=2), run.sample(x0=x0, steps=2)))
