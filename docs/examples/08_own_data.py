r"""
Training on data of one's own
=============================

A torch data set with random transforms, latents with a scale, a folder of pictures of many sizes: each is drawn from by
number, so that what is interrupted goes on bit for bit.
"""

# %%
# A data set as anyone writes it. Its transform draws from torch's global generator, which flowops seeds for every item
# from the seed, the step and the place in the batch.

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

import flowops
from flowops.data import Indexed, open_dataset


class Rings(Dataset):
    """Noisy points on two circles."""

    classes = ["inner", "outer"]

    def __init__(self, n=512):
        self.angles = torch.linspace(0, 2 * torch.pi, n)

    def __len__(self):
        return len(self.angles)

    def __getitem__(self, row):
        label = row % 2
        point = torch.stack([self.angles[row].cos(), self.angles[row].sin()]) * (0.5 + 0.5 * label)
        return point + 0.02 * torch.randn(2), label


data = Indexed(Rings())
print(data.provenance)
print("the same batch twice:", torch.equal(data.batch(7, 64, seed=0).x1, data.batch(7, 64, seed=0).x1))

# %%
# It goes to the training as it is. Three steps and three more are the six of a run that was not interrupted.

folder = Path(tempfile.mkdtemp())


def config(name, steps):
    network = flowops.runs.NetworkConfig("mlp", width=32, depth=2)
    log = flowops.runs.LogConfig(tensorboard=False, progress=False)
    out = str(folder / name)
    return flowops.TrainConfig("given", network=network, steps=steps, batch=64, checkpoint_every=3, out=out, log=log)


def quiet(line):
    pass


whole = flowops.train(config("whole", 6), dataset=Rings(), report=quiet)
flowops.train(config("parts", 3), dataset=Rings(), report=quiet)
parts = flowops.train(config("parts", 6), dataset=Rings(), resume=True, report=quiet)
same = all(torch.equal(a, b) for a, b in zip(whole.X.state_dict().values(), parts.X.state_dict().values()))
print("resumed exactly:", same)

# %%
# Latents: one array of any shape, in a file that is mapped into memory. The states that are learned have their scale;
# ``restored`` takes it away again.

np.save(folder / "latents.npy", 5.5 * np.random.default_rng(0).normal(size=(64, 4, 8, 8)).astype("float32"))
latents = open_dataset(f"arrays:{folder / 'latents.npy'}", scale=0.18215)
x = latents.batch(0, 64, seed=0).x1
print(f"deviation of the states {x.std():.2f}, of the restored latents {latents.units.restored(x).std():.2f}")

# %%
# Pictures of several sizes are refused until it is said what to do with them.

from PIL import Image
from sklearn.datasets import load_sample_images

(folder / "pictures").mkdir()
for k, picture in enumerate(load_sample_images().images):
    Image.fromarray(picture[: 400 - 60 * k, : 500 + 100 * k]).save(folder / "pictures" / f"{k}.png")
try:
    open_dataset(f"folder:{folder / 'pictures'}")
except ValueError as error:
    print(str(error).replace(str(folder), "FOLDER"))

# %%
# What the options make of one of them:

import matplotlib.pyplot as plt

options = {
    "bicubic, center": {},
    "box, center": {"resize": "box"},
    "bicubic, stretched": {"crop": None},
    "cropped only": {"resize": None},
}
figure, rows = plt.subplots(1, len(options), figsize=(9, 2.5), layout="constrained")
for axes, (name, chosen) in zip(rows, options.items()):
    images = open_dataset(f"folder:{folder / 'pictures'}", size=64, **chosen)
    axes.imshow(images.pixels()[0].permute(1, 2, 0))
    axes.set(title=name, xticks=[], yticks=[])
plt.show()
