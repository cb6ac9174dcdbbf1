r"""
Watching a run
==============

What a run measures goes to loggers. Here it goes to its table, to Weights & Biases without a network, and to a logger
of one's own that draws the terms of the loss.
"""

# %%
# A logger writes the methods that it wants. It is told every row of numbers, each term of the loss among them.

import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt

import flowops
from flowops.training import LogConfig, Logger, NetworkConfig

warnings.filterwarnings("ignore", category=FutureWarning)


class Kept(Logger):
    """Keeps the rows, and how the run ended."""

    def __init__(self):
        self.rows, self.why = {}, None

    def scalars(self, step, values):
        self.rows[step] = dict(values)

    def finish(self, why):
        self.why = why


# %%
# It is given where callbacks are, beside those of the settings. wandb is offline unless it is told otherwise.

kept, place = Kept(), Path(tempfile.mkdtemp())
config = flowops.TrainConfig(
    "gaussians",
    method="lsd",
    network=NetworkConfig("mlp", width=32, depth=2),
    steps=200,
    batch=256,
    averages=(0.99,),
    out=str(place / "run"),
    log=LogConfig(to=("csv", "wandb"), progress=False, sample_every=0),
)
run = flowops.train(config, callbacks=kept, report=lambda _: None)
print(kept.why, "after", max(kept.rows), "steps;", sorted(path.name for path in (place / "run" / "logs").iterdir()))

# %%
# The terms sum to the loss. On a device whose peak is known there would be its share, ``utilization``, too.

terms = [name for name in kept.rows[200] if name.startswith("loss/")]
for row in kept.rows.values():
    assert abs(sum(row[name] for name in terms) - row["loss"]) < 1e-4 * (1 + row["loss"])
print({name: f"{kept.rows[200][name]:.3g}" for name in ("loss", *terms, "samples_per_second", "flop_per_second")})

plt.figure(figsize=(6, 3))
for name in terms:
    plt.plot(kept.rows.keys(), [row[name] for row in kept.rows.values()], label=name, linewidth=1)
plt.xlabel("step")
plt.yscale("log")
plt.legend(frameon=False)
plt.tight_layout()
plt.show()
