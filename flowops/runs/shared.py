"""A run that others open: a folder with what samples it and nothing else, written, uploaded and read again."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch

from flowops._named import require
from flowops.data.registry import ENTRIES
from flowops.pictures import drawable, save_comparison
from flowops.runs.card import Saved, model_card
from flowops.runs.checkpoint import CheckpointError, load_weights
from flowops.runs.folder import MANIFEST, RunFolder, average_names, load_config, save_config
from flowops.runs.provenance import without_folders
from flowops.runs.saving import save_weights
from flowops.runs.settings import GIVEN, TrainConfig
from flowops.runs.teacher import PREFIX

FILES = ("config.yaml", "run.json", "evaluation.json", f"checkpoints/*/{MANIFEST}", "checkpoints/*/*.safetensors")
"""What is read of a repository: settings, facts, scores and weights, and nothing pickled."""
PICTURE = "samples.png"
STEPS = (1, 2, 4)  # of the samplers in the picture


class Shared:
    """What a run offers to those who share it."""

    def save_pretrained(self: Saved, folder: Path | str, *, license: str | None = None) -> Path:
        """Write a folder with the weights that this run has, their settings, its scores, a picture and a model card.

        `Run.load` and `Run.from_pretrained` open it. The weights are safetensors with their hashes; nothing is pickled,
        and of paths on this machine only the last part is kept.

        Args:
            folder: a new one.
            license: identifier of a licence for the card, such as apache-2.0; None leaves it open.

        Raises:
            FileExistsError: if something is in the folder.
            ValueError: for a run whose network was an object, or that needs its teacher to be sampled.
            ImportError: without the extra `hub`.
        """
        place = Path(folder)
        if place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise FileExistsError(f"`folder` must be a new folder, and {place} holds something; choose another.")
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
        try:
            pack(self, temporary, place.name, license)
            if place.exists():
                place.rmdir()
            temporary.rename(place)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return place

    def push_to_hub(
        self: Saved,
        repo_id: str,
        *,
        private: bool | None = None,
        license: str | None = None,
        message: str | None = None,
        revision: str | None = None,
        token: str | None = None,
    ) -> str:
        """Upload what `save_pretrained` writes as one commit of a repository on the hub; its address.

        Args:
            repo_id: user/name; it is made if there is none.
            private: whether others cannot see it, where it is made.
            license: as in `save_pretrained`.
            message: of the commit.
            revision: branch that it goes to, main if left out.
            token: in place of that of `hf auth login`.

        Raises:
            OSError: without network, without a token, or where the hub refuses; nothing is half-uploaded.
            ValueError: as `save_pretrained`, and for a name that is none.
        """
        from flowops.adapters import hub

        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "run"
            pack(self, folder, repo_id, license)
            message = message or f"Upload step {self.step} of {self.config.method} on {self.config.dataset}"
            return hub.push(
                folder, repo_id, private=private, message=message, revision=revision, token=token,
                replaced=("checkpoints/*", "evaluation.*", PICTURE),
            )  # fmt: skip

    @classmethod
    def from_pretrained(
        cls,
        source: Path | str,
        *,
        revision: str | None = None,
        trust: Sequence[str] = (),
        token: str | None = None,
        cache_dir: Path | str | None = None,
        **options: Any,
    ) -> Self:
        """The run in a folder, or in a repository of the hub.

        Args:
            source: a folder, or user/name.
            revision: branch, tag or commit of a repository.
            trust: names package.module:factory in its settings that may be imported and called. Settings of others can
                name any function of any package that is installed here.
            token: in place of that of `hf auth login`.
            cache_dir: where downloads are kept.
            **options: of `Run.load`.

        Raises:
            OSError: without network, and for a repository or a revision that is not there.
            ValueError: for settings that name a function which is not trusted, and as `Run.load`.
        """
        from flowops.adapters import hub

        folder = Path(source)
        if folder.is_dir():
            if revision is not None:
                raise ValueError(f"`revision` must be left out for a folder, got {revision!r} for {folder}; drop it.")
        else:
            folder = hub.fetch(str(source), patterns=FILES, revision=revision, token=token, cache_dir=cache_dir)
        config = RunFolder(folder).config
        if config.is_file():
            check_trusted(load_config(config), trust, str(source))
        loaded: Self = cls.load(folder, **options)  # type: ignore[attr-defined]
        return loaded


def pack(run: Saved, folder: Path, name: str, license: str | None) -> None:
    """Write the files of a run that is shared into a new folder; `name` is what the card says it is opened by."""
    require("huggingface_hub", "hub")  # for the card; before anything is drawn
    config = run.config
    for held, said in (
        (config.network.kind == GIVEN, "a network that is named, by package.module:factory, since it was an object"),
        (config.network.parameterization == "second-order", "a map of its own network, and it adds its teacher's"),
    ):
        if held:
            raise ValueError(f"{run.folder.path} must have {said}; train it anew, or export it to a program.")
    average, about = _which(run)
    folder.mkdir()
    target = RunFolder(folder)
    save_weights(target.checkpoints, run.step, run.X.network.state_dict(), average)
    save_config(target.config, _elsewhere(config, average, name))
    shutil.copyfile(run.folder.facts, target.facts)
    first = next(iter(average_names(config)), None)  # of which evaluations are, unless another was asked for
    evaluation = _copy_scores(run, folder, name) if average == first else None
    picture = _draw(run, folder)
    card = model_card(run, name, about, license=license, evaluation=evaluation, picture=picture)
    (folder / "README.md").write_text(card, encoding="utf-8")


def check_trusted(config: TrainConfig, trust: Sequence[str], source: str) -> None:
    """Refuse settings that name a function which nobody said is trusted.

    Raises:
        ValueError: naming it.
    """
    for name in _named(config):
        if ":" in name and name not in trust:
            raise ValueError(
                f"`trust` must name every function that the settings of {source} name, and {name!r} is one, which "
                f"would be called; if you know it, pass trust=[{name!r}]."
            )


def _named(config: TrainConfig) -> Iterator[str]:
    """The texts of settings that may stand for something to import, where there is a colon in them."""
    network, dataset = config.network, config.dataset
    while dataset.startswith("transported:"):  # of another set, by its name
        dataset = dataset.partition(":")[2]
    if dataset.partition(":")[0] not in ENTRIES:  # which have a path behind the colon
        yield dataset
    if config.teacher is not None and not config.teacher.startswith(PREFIX):
        yield config.teacher
    yield from filter(None, (network.kind, network.parameterization, config.method, config.interpolant))
    yield from filter(None, (config.coupling, config.data))
    of_network = (*network.options, *network.parameterization_options)
    for option in (*config.options, *config.data_options, *config.coupling_options, *of_network):
        yield option.partition("=")[2]


def _which(run: Saved) -> tuple[str | None, str]:
    """The average that the weights of a run are, None for the weights themselves, and what they are in words."""
    held = run.X.network.state_dict()
    for name in (*average_names(run.config), None):
        try:
            _, weights = load_weights(run.folder.checkpoints, run.step, name)
        except (CheckpointError, FileNotFoundError):
            continue
        if weights.keys() == held.keys() and all(torch.equal(held[key].cpu(), weights[key]) for key in held):
            return name, "those of the last step" if name is None else f"average {name}"
    return None, "other than those of the averages, made after the training or while it ran"


def _elsewhere(config: TrainConfig, average: str | None, name: str) -> TrainConfig:
    """The settings with the one average that is there, and without the folders of this machine."""
    kept = tuple(decay for decay in config.averages or () if f"{decay:g}" == average)
    power = tuple(width for width in config.power if f"power-{width:g}" == average)
    paths: dict[str, Any] = {
        key: without_folders(value)
        for key in ("dataset", "data", "teacher", "init")
        if (value := getattr(config, key)) is not None
    }
    return replace(config, averages=kept, power=power, out=os.path.basename(name.rstrip("/")), **paths)


def _copy_scores(run: Saved, folder: Path, name: str) -> Path | None:
    """The scores of these weights, if they were taken; their place, under the name that the run has there."""
    source = run.folder.path / "evaluation.json"
    if not source.is_file() or not source.with_suffix(".md").is_file():
        return None
    held = json.loads(source.read_text(encoding="utf-8"))
    if held.get("step") != run.step:
        return None
    was = str(held.get("run", run.folder.path))
    (folder / "evaluation.json").write_text(json.dumps({**held, "run": name}, indent=2) + "\n", encoding="utf-8")
    text = source.with_suffix(".md").read_text(encoding="utf-8")
    (folder / "evaluation.md").write_text(text.replace(was, name), encoding="utf-8")
    return folder / "evaluation.json"


def _draw(run: Any, folder: Path) -> str | None:
    """A picture of samples by number of steps, where samples can be drawn."""
    if not drawable(run.event) or run.paired:
        return None
    n = 16 if len(run.event) == 3 else 4096
    rows = {f"{k} step{'s' * (k > 1)}": run.sample(n, steps=k).cpu() for k in STEPS}
    save_comparison(folder / PICTURE, rows)
    return PICTURE
