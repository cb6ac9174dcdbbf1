"""Draw mutants of packages, judge them, and add what was found to the records.

python -m experiments.mutation --package maps --sample 40 --seed 0   # a call again goes on where it was
python -m experiments.mutation --survivors                           # those that got through, before all cases
python -m experiments.mutation --report                              # write experiments/results/mutation.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from experiments.mutation.equivalent import reason
from experiments.mutation.mutants import ROOT, Mutant, drawn
from experiments.mutation.packages import PACKAGES, THEORY
from experiments.mutation.records import append, read
from experiments.mutation.report import write
from experiments.mutation.runner import Reach, judged, refuse_blindness, warm

RECORDS = ROOT / "experiments" / "results" / "mutants.jsonl"  # a mutant whose module changes is another one


def main(words: list[str] | None = None) -> int:
    """The command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.mutation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--package", action="append", choices=sorted(PACKAGES), help="default: every package in turn")
    parser.add_argument("--sample", type=int, default=40, help="mutants of each package (default 40)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RECORDS, help="the records")
    parser.add_argument("--reach", type=Path, default=Path("runs/mutation/reach.json"), help="what each file calls")
    parser.add_argument("--survivors", action="store_true", help="judge those that got through by all cases")
    parser.add_argument("--report", action="store_true", help="write mutation.md and mutation.json of the records")
    parser.add_argument("--list", action="store_true", help="print the mutants and judge none")
    given = parser.parse_args(words)
    if given.sample < 1:
        parser.error(
            f"`--sample` must be at least 1, got {given.sample}; pass how many mutants of each package to draw."
        )
    names = given.package or list(PACKAGES)
    chosen = {name: drawn(PACKAGES[name].mutants(), given.sample, given.seed) for name in names}
    if given.list:
        print("\n".join(mutant.name for mutants in chosen.values() for mutant in mutants))
        return 0
    if given.report:
        found = read(given.out)
        now = {mutant.key: mutant.name for mutants in chosen.values() for mutant in mutants if mutant.key in found}
        records = {key: replace(found[key], name=name) for key, name in now.items()}
        if not records:
            parser.error(f"`--out` must hold records to report, got none in {given.out}; judge some mutants first.")
        command = f"python -m experiments.mutation --sample {given.sample} --seed {given.seed}"
        write(records, ROOT / "experiments" / "results", command)
        return 0
    warm()
    for name in names:
        refuse_blindness(name)
    reach = Reach(ROOT / given.reach)
    reach.find(THEORY)
    known = read(given.out)
    for name, mutant in in_turn(chosen):
        old = known.get(mutant.key)
        again = given.survivors and old is not None and old.light and not old.caught and not reason(mutant.name)
        if old is None and not given.survivors or again:
            new = judged(mutant, name, reach, light=not again)
            append(given.out, new)
            theory, tests = len(new.by("theory_checks")), len(new.by("tests"))
            sys.stdout.write(f"{name} {theory} {tests} {new.seconds:.1f}s {mutant.name}\n")
            sys.stdout.flush()
    return 0


def in_turn(chosen: dict[str, list[Mutant]]) -> Iterator[tuple[str, Mutant]]:
    """The first mutant of every package, then the second of every one."""
    for i in range(max(map(len, chosen.values()))):
        for name, mutants in chosen.items():
            if i < len(mutants):
                yield name, mutants[i]


if __name__ == "__main__":
    sys.exit(main())
