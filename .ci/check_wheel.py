"""Imports the installed wheel with the core dependencies only: every module, from outside the source tree."""

import importlib
import importlib.metadata
import importlib.resources
import importlib.util
import pkgutil
import sys
from pathlib import Path

EXTRAS = ["beartype", "jaxtyping", "lightning", "matplotlib", "ot", "pytest", "rich", "sklearn", "torchvision", "tyro"]
EXTRAS += ["bokeh", "datasets", "diffusers", "flow_matching", "huggingface_hub", "peft", "wandb"]
DERIVED = {f"flowops.adapters.diffusers.{name}": "diffusers" for name in ("model", "pipeline", "export")}
"""Modules of classes that derive from those of a library, and the extra that they must ask for without it."""


def main() -> None:
    """Ends with a sentence if the wheel is incomplete, or the environment not clean."""
    present = [name for name in EXTRAS if importlib.util.find_spec(name)]
    if present:
        sys.exit(f"The environment must hold core dependencies only, and it has {present}; start from an empty one.")
    flowops = importlib.import_module("flowops")
    if not Path(flowops.__file__).is_relative_to(sys.prefix):
        sys.exit(f"flowops must come from the wheel, and it comes from {flowops.__file__}; run this with python -I.")
    version = importlib.metadata.version("flowops")
    if flowops.__version__ != version:
        sys.exit(
            f"flowops.__version__ must be that of pyproject.toml, {version}, and it is {flowops.__version__}; set both."
        )
    modules = [info.name for info in pkgutil.walk_packages(flowops.__path__, "flowops.")]
    core = [line for line in importlib.metadata.requires("flowops") if "extra ==" not in line]
    for name in modules + [line.partition(">")[0] for line in core]:
        if name in DERIVED:
            check_refusal(name, DERIVED[name])
        else:
            importlib.import_module(name)
    if not importlib.resources.files("flowops").joinpath("py.typed").is_file():
        sys.exit("The wheel must hold flowops/py.typed, and it does not; see tool.hatch in pyproject.toml.")
    print(f"flowops {version}: {len(modules) - len(DERIVED)} modules import with {', '.join(core)} only")


def check_refusal(name: str, extra: str) -> None:
    """Ends with a sentence unless the module names the extra that it needs."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        if f"flowops[{extra}]" not in str(error):
            sys.exit(f"{name} must name the extra {extra}, and it says: {error}")
    else:
        sys.exit(f"{name} must need the extra {extra}, and imports without it; take it from the list in this file.")


if __name__ == "__main__":
    main()
