"""EDM's published weights as the folder of a run, from which the recipes start and which they distil.

    python -m experiments.recipes.edm_weights FILE --data PATH          # writes runs/edm_cifar10
    flowops evaluate runs/edm_cifar10 --solver heun --solver-steps 18   # EDM's own sampler, 35 calls

FILE holds a state dict, .safetensors or what `torch.save` wrote. The published pickle is a program, which is not run
here: where EDM's code is installed,

    python -c "import pickle, torch; torch.save(pickle.load(open('edm-cifar10-32x32-uncond-vp.pkl', 'rb'))['ema'] \
        .state_dict(), 'edm.pt')"

makes a state dict of it. Names, shapes and finiteness are verified, and that it denoises: at the noise level 0.5 the
mean square that is left on images of CIFAR-10 must be below nine tenths of what their preconditioning leaves alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from experiments._recipes import status
from experiments.recipes._edm import WEIGHTS
from experiments.recipes._recipe import EDM
from flowops._files import digest, write_text
from flowops._named import require
from flowops.data import Dataset, open_dataset
from flowops.interpolants import edm
from flowops.interpolants.noise_level import time_of_noise_level
from flowops.networks import DDPMpp, load_edm
from flowops.runs import RunFolder, TrainConfig, save_config
from flowops.runs.assembly import assemble, completed, map_of
from flowops.runs.folder import average_names
from flowops.runs.saving import save_checkpoint
from flowops.training.start import facts_of

LEVEL = 0.5  # sigma, at which c_skip is one half
ENOUGH = 0.9  # of what c_skip x leaves, where the network is zero


def read(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file, none of whose content is run.

    Raises:
        ValueError: for a file that is none.
        OSError: if it cannot be read.
    """
    if path.suffix == ".safetensors":
        return dict(require("safetensors.torch", "train").load_file(path))
    try:
        held = torch.load(path, weights_only=True, map_location="cpu")
    except OSError:
        raise
    except Exception as error:  # whatever a foreign file makes torch raise
        raise ValueError(
            f"FILE must be .safetensors or a state dict by torch.save, got {path}, which is neither; see the head of "
            f"experiments/recipes/edm_weights.py for the line that makes one of the published pickle."
        ) from error
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"FILE must hold tensors by name, got {type(held).__name__} in {path}; save a state dict.")
    return held


@torch.no_grad()
def left_over(network: DDPMpp, config: TrainConfig, dataset: Dataset, n: int = 64) -> tuple[float, float]:
    r"""$\overline{|D(x_1+\sigma x_0;\sigma)-x_1|^2}$ at $\sigma=0.5$ over images, and of $\tfrac12(x_1+\sigma x_0)$."""
    I, X = edm(), map_of(config, network.eval(), edm(), None)
    x1 = dataset.reference(n).x1
    x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(0))
    s = time_of_noise_level(I, torch.full((n,), LEVEL))
    x = x1 + LEVEL * x0
    return float((X(s, torch.ones(n), x) - x1).square().mean()), float((x / 2 - x1).square().mean())


def taken(path: Path, dataset: Dataset, out: Path, config: TrainConfig = WEIGHTS) -> float:
    """Verify the weights in a file and write them as a run of no steps; what is left over at the noise level 0.5.

    Raises:
        FileExistsError: if the folder holds a run.
        ValueError: for other weights, and for such as do not denoise the data.
    """
    folder = RunFolder(out)
    folder.check(resume=False)
    config = completed(replace(config, out=str(out)), dataset.defaults, dataset.event)
    made = assemble(config, torch.device("cpu"), dataset=dataset)
    assert isinstance(made.network, DDPMpp)
    load_edm(made.network, read(path))
    left, alone = left_over(made.network, config, dataset)
    if not left < ENOUGH * alone:
        raise ValueError(
            f"FILE must hold weights that denoise {dataset.name}: {left:.3g} is left of the mean square at sigma = "
            f"{LEVEL}, where their preconditioning alone leaves {alone:.3g}; check which data they are of."
        )
    weights = made.network.state_dict()
    averages = {name: weights for name in average_names(config)}
    save_checkpoint(folder.checkpoints, 0, weights=weights, averages=averages, state={}, keep=None)
    facts = facts_of(config, made, _Alone())  # type: ignore[arg-type]
    weights_of = {"file": path.name, "blake2b": digest(path, "blake2b"), "left_over": left}
    write_text(folder.facts, json.dumps({**facts, "changes": [], "weights": weights_of}, indent=2) + "\n")
    save_config(folder.config, config)
    return left


class _Alone:
    """One process on the CPU, as the facts of a run want it."""

    world_size, device = 1, torch.device("cpu")


def main(words: Sequence[str] | None = None) -> int:
    """The command; the exit status."""
    parser = argparse.ArgumentParser(prog="experiments.recipes.edm_weights", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="state dict, .safetensors or by torch.save")
    parser.add_argument("--data", required=True, help="folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path(EDM))
    args = parser.parse_args(words)

    def work() -> None:
        left = taken(args.file, open_dataset("cifar10", path=args.data, flip=False), args.out)
        print(f"wrote {args.out}: {left:.4f} of the mean square is left at sigma = {LEVEL}")

    return status(work, "edm_weights")


if __name__ == "__main__":
    sys.exit(main())
