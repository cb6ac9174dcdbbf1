"""The packages that are mutated, and the files of checks and tests that judge their mutants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from experiments.mutation.mutants import ROOT, Mutant, mutants

THEORY = tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "theory_checks").glob("test_*.py")))
UNASKED = ("test_method_mutations.py", "test_methods_are_stationary.py")  # of rows, and slow
THEORY = tuple(file for file in THEORY if not file.endswith(UNASKED))
HEAVY, FEW = 2.0, 12  # in a light look: processor seconds of a file of theory, and how many files


@dataclass(frozen=True)
class Package:
    """A part of the library.

    Attributes:
        sources: its files and folders under `flowops/`.
        tests: the files and folders under `tests/` that are about it.
        heavy: those of them that see the survivors only.
        without: files that hold no mathematics: messages, readers, records of what was done.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    heavy: tuple[str, ...] = ()

    def files(self) -> list[str]:
        """The files that are mutated, from the root."""
        found: list[str] = []
        for source in self.sources:
            path = ROOT / "flowops" / source
            for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                if file.name not in self.without:
                    found.append(str(file.relative_to(ROOT)))
        return found

    def judges(self, *, light: bool) -> list[str]:
        """The files of tests that are about it; lightly, without the heavy ones."""
        found: list[Path] = []
        for name in self.tests:
            path = ROOT / "tests" / name
            found += sorted(path.rglob("test_*.py")) if path.is_dir() else [path]
        return [str(file.relative_to(ROOT)) for file in found if not light or file.name not in self.heavy]

    def mutants(self) -> list[Mutant]:
        """Every mutant."""
        return [mutant for path in self.files() for mutant in mutants(path)]


PACKAGES = {
    "interpolants": Package(("interpolants",), ("interpolants",)),
    "solvers": Package(
        ("_solvers",),
        ("solvers",),
        ("failures.py", "statistics.py", "torchdiffeq.py"),
        ("test_stiff.py", "test_transforms.py", "test_adaptive.py", "test_detest.py", "test_counts.py"),
    ),
    "fields": Package(("fields",), ("fields",)),
    "maps": Package(("maps",), ("maps",), heavy=("test_event.py", "test_solver_gradients.py")),
    "residuals": Package(
        ("residuals", "_derivatives.py"), ("test_residuals.py", "test_derivatives.py", "maps/test_joint_map.py")
    ),
    "times": Package(("times",), ("times",)),
    "couplings": Package(("couplings",), ("couplings",)),
    "sampling": Package(("sampling",), ("sampling",), ("export.py", "cost.py")),
    "metrics": Package(
        ("metrics",),
        ("metrics",),
        ("_files.py", "inception.py", "extractor.py", "extractors.py", "feature_statistics.py"),
    ),
}
