r"""
The loss in a loop of one's own
===============================

``LossModule`` is the loss of a drawn batch as a module: its forward takes every derivative. It goes into any loop, and
it is what a wrapper for several processes, precision or compilation is put around.
"""

# %%
# Everything random in a step follows from its number, so a data set of draws is a data set like any other. On rank
# :math:`k` of :math:`W` processes, ``part=(k, W)`` draws the rows of that rank.

import logging
import warnings

import torch
from torch.utils.data import DataLoader, Dataset

from flowops import LearnedMap, interpolants
from flowops.data import open_dataset
from flowops.methods import get_method
from flowops.networks import MLP
from flowops.training import LossModule

moons, I, method = open_dataset("moons"), interpolants.linear(), get_method("lsd", eta=0.75)


class Draws(Dataset):
    def __init__(self, X, steps):
        self.X, self.steps = X, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, step):
        x1 = moons.batch(step, 128, seed=0).x1
        x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(step))
        return method.draw(self.X, I, x0, x1, step=step, seed=step)


def new_loss():
    X = LearnedMap(MLP(2, width=32, depth=2, generator=torch.Generator().manual_seed(0)))
    return LossModule(X, method, I)


def adam(loss):
    return torch.optim.Adam(loss.parameters(), 1e-3, betas=(0.9, 0.99))


# %%
# Plain torch
# -----------
# For several processes: ``loss = DistributedDataParallel(loss)``. The network alone must not be wrapped, since a
# derivative would go around the wrapper; ``LearnedMap`` refuses it by name.


def plain(loss, draws):
    optimizer = adam(loss)
    for draw in DataLoader(draws, batch_size=None):
        optimizer.zero_grad()
        loss(draw).loss.backward()
        optimizer.step()


# %%
# Lightning
# ---------
# ``training_step`` is the forward that Lightning wraps, so the derivative is inside.

import lightning


class Flow(lightning.LightningModule):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def training_step(self, draw, step):
        return self.loss(draw).loss

    def configure_optimizers(self):
        return adam(self.loss)


def with_lightning(loss, draws):
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **silent)
    trainer.fit(Flow(loss), DataLoader(draws, batch_size=None))


# %%
# Accelerate
# ----------

from accelerate import Accelerator


def with_accelerate(loss, draws):
    accelerator = Accelerator(cpu=True)
    loss, optimizer = accelerator.prepare(loss, adam(loss))
    for draw in DataLoader(draws, batch_size=None):
        optimizer.zero_grad()
        accelerator.backward(loss(draw).loss)
        optimizer.step()


# %%
# The three are one training: the parameters after some steps are the same bits.

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
ends = {}
for loop in (plain, with_lightning, with_accelerate):
    loss = new_loss()
    loop(loss, Draws(loss.X, 30))
    ends[loop.__name__] = torch.nn.utils.parameters_to_vector(loss.parameters()).detach()
    off = (ends[loop.__name__] - ends["plain"]).abs().max()
    print(f"{loop.__name__:<16} off by {off:.1g}, loss {loss(Draws(loss.X, 1)[0]).loss:.3f}")

# %%
# An average of the weights is no part of the loss. It is taken after the update and without a graph, which
# ``AveragedModel`` sees to; a loop that writes the sum itself does so under ``torch.no_grad()``.

from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

average = AveragedModel(loss.X, multi_avg_fn=get_ema_multi_avg_fn(0.999))
average.update_parameters(loss.X)
print(average.module(0.0, 1.0, torch.randn(4, 2)).shape)
