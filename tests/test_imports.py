"""The layers of flowops: imports point one way, optional packages load late, `import flowops` has no side effects."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
import torch

import flowops
from flowops.fields.divergence import exact_divergence

ROOT = Path(flowops.__file__).parent
# From the bottom up. A module imports from its own line and from the lines above it.
LINES: list[tuple[str, ...]] = [
    ("_types", "_files", "_extras", "_keys"),
    ("_arguments",),
    ("_derivatives", "_compile"),
    ("_operator",),
    ("_solvers",),
    ("interpolants", "fields"),
    ("maps",),
    ("residuals", "problems"),
    ("networks", "data"),
    ("methods", "couplings", "times"),
    ("certificates", "sampling", "metrics"),
    ("training", "cli", "report"),
]
OPERATORS = LINES.index(("maps",))  # up to this line, an import inside a function may go either way
RANK = {name: rank for rank, line in enumerate(LINES) for name in line}
OUTSIDE = {"theory_checks", "tests", "experiments"}
LATE = {"sympy", "scipy", "torchdiffeq", "matplotlib", "jaxtyping", "ot", "torchvision", "PIL", "sklearn", "lightning"}
LATE |= {"tyro", "yaml", "safetensors", "rich", "tensorboard", "torchmetrics", "torch_fidelity"}
TORCH_FUNC = {"_derivatives.py": "torch.func", "fields/divergence.py": "torch.func.vmap"}
FILES = sorted(ROOT.rglob("*.py"))


def imports(node: ast.AST, package: str, late: bool = False) -> Iterator[tuple[str, bool]]:
    """Dotted names imported below `node`, each with whether the import waits inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - child.level] if child.level else []
            origin = ".".join([*parents, *filter(None, [child.module])])
            yield from ((f"{origin}.{alias.name}", late) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from imports(ast.Module([other], []), package, late)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, package, late or function)


def imports_of(file: Path) -> list[tuple[str, bool]]:
    package = ".".join(("flowops", *file.relative_to(ROOT).parent.parts))
    return list(imports(ast.parse(file.read_text()), package))


def layer_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def fault(name: str, late: bool, importer: str) -> str | None:
    """What is wrong with `importer` importing `name`, as a sentence."""
    top, _, rest = name.partition(".")
    if top in OUTSIDE:
        return f"imports {name}: the library never imports {top}."
    if top in LATE and not late:
        return f"imports {top} when it is loaded: import it inside the function that needs it."
    if top != "flowops" or importer == "__init__":
        return None
    target = rest.partition(".")[0]
    if target not in RANK:
        return f"imports {name}, which is no module in a layer: import from the module that defines it."
    within_operators = late and max(RANK[importer], RANK[target]) <= OPERATORS
    if RANK[target] > RANK[importer] and not within_operators:
        return f"imports {name} from a higher layer: imports point from {target} to {importer}, never back."
    return None


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    importer = layer_of(file)
    assert importer == "__init__" or importer in RANK, f"flowops/{importer} is in no layer: add it to LINES."
    allowed = {"jaxtyping"} if importer == "_types" else set()
    found = [fault(name, late, importer) for name, late in imports_of(file) if name.partition(".")[0] not in allowed]
    assert not any(found), f"{file.name} " + "; ".join(filter(None, found))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_derivatives_are_taken_in_one_place(file: Path) -> None:
    used = {ast.unparse(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)}
    used |= {name for name, _ in imports_of(file)}
    permitted = TORCH_FUNC.get(file.relative_to(ROOT).as_posix())
    for name in used - {"torch.func" if permitted else ""}:
        if name.startswith(("torch.func", "functorch", "torch.autograd.functional", "torch.autograd.forward_ad")):
            assert name.startswith(permitted or "nothing"), f"{file.name} uses {name}: go through _derivatives.py."


@pytest.mark.parametrize(
    ("line", "importer", "wrong"),
    [
        ("from flowops.maps import FlowMap", "fields", True),
        ("def f():\n    from flowops.maps import FlowMap", "fields", False),
        ("def f():\n    from flowops.report import table", "fields", True),
        ("from flowops.fields import VelocityField", "maps", False),
        ("from flowops import VelocityField", "maps", True),
        ("from ..maps import FlowMap", "fields", True),
        ("from .algebra import Sum", "fields", False),
        ("if TYPE_CHECKING:\n    from flowops.maps import FlowMap", "fields", False),
        ("class C:\n    import sympy", "interpolants", True),
        ("def f():\n    import sympy", "interpolants", False),
        ("def f():\n    import theory_checks", "maps", True),
    ],
)
def test_the_rules_see_what_they_forbid(line: str, importer: str, wrong: bool) -> None:
    found = [fault(name, late, importer) for name, late in imports(ast.parse(line), f"flowops.{importer}")]
    assert any(found) == wrong


def test_importing_flowops_is_light_and_has_no_side_effects() -> None:
    program = """
import json, random, sys, warnings
import numpy, torch
def state():
    return [str(x) for x in (torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled(),
        torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_rng_state().sum(), warnings.filters,
        random.getstate(), numpy.random.get_state())]
before, loaded = state(), set(sys.modules)
import flowops
print(json.dumps([before == state(), sorted(set(sys.modules) - loaded)]))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    unchanged, loaded = json.loads(run.stdout)  # also fails when the import prints something
    assert unchanged
    assert not run.stderr
    assert not (LATE - {"jaxtyping"}) & {name.partition(".")[0] for name in loaded}


def test_shapes_are_checked_in_the_tests() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        exact_divergence(lambda x: x, torch.ones(3, 2, dtype=torch.int64))
