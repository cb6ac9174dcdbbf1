"""`flowops explore`: a page on which the map of a run, or of a problem in closed form, is seen beside its true flow."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass

from flowops._arguments import whole
from flowops._named import require
from flowops.checks import Request
from flowops.cli.choice import FLAGS as RUN_FLAGS
from flowops.cli.choice import RunChoice, load
from flowops.cli.console import to_stdout
from flowops.cli.parsing import FORMULA, Flag, parse
from flowops.evaluation.explore import NAMES, PORT, Subject, serve, subject_of_problem, subject_of_run
from flowops.interpolants import Interpolant


@dataclass(frozen=True)
class Explore:
    """Explore the map of RUN, or methods of few steps on a problem, on a page in the browser.

    Sliders choose s, t and the number of steps. A schedule can be typed.

    The page is served on this machine until Ctrl-C, and loads nothing from a network.

    Attributes:
        run: folder of a run, in place of a problem.
        problem: a problem with an exact field, such as mixture, checkerboard or moons, or package.module:factory.
        checkpoint: step of the checkpoint of the run; the newest if left out.
        average: which average of its weights; the first one if left out.
        weights: file with other weights of its network.
        device: where the run computes; auto for cuda, mps or cpu, the first that is there.
        label: class of all states of a run; all in turn if left out.
        guidance: scale of classifier-free guidance, for a run with labels.
        alpha: coefficient of the base, as a formula in t, in place of the schedule of the run or the linear one.
        beta: coefficient of the data.
        gamma: coefficient of the latent, if there is one.
        n: number of states; 500 particles or 8 images if left out.
        seed: seed of the states.
        port: where the page is served; 0 for any port that is free.
        browser: open the page.
    """

    run: str | None = None
    problem: str | None = None
    checkpoint: int | None = None
    average: str | None = None
    weights: str | None = None
    device: str = "auto"
    label: int | None = None
    guidance: float | None = None
    alpha: str | None = None
    beta: str | None = None
    gamma: str | None = None
    n: int | None = None
    seed: int = 0
    port: int = PORT
    browser: bool = True


FLAGS = {name: RUN_FLAGS[name] for name in ("run", "checkpoint", "average", "weights", "label")}
FLAGS |= {"problem": Flag(shown="NAME"), **{name: Flag(shown=FORMULA) for name in ("alpha", "beta", "gamma")}}
OF_A_RUN = ("checkpoint", "average", "weights", "device", "label", "guidance")


def run(args: Sequence[str]) -> int:
    """Serve the page until it is interrupted."""
    given = parse(Explore, args, "explore", flags=FLAGS)
    require("bokeh", "explore")
    subject = _subject(given)

    def begun(where: str) -> None:
        to_stdout(f"{subject.title}: {where} (Ctrl-C ends it)")
        if given.browser:
            webbrowser.open(where)

    serve(subject, port=given.port, begun=begun)
    return 0


def _subject(given: Explore) -> Subject:
    """What was asked for, loaded.

    Raises:
        ValueError: for a run and a problem, or neither, what belongs to a run without one, and a schedule that is none.
    """
    if (given.run is None) == (given.problem is None):
        found = "neither" if given.run is None else f"{given.run} and {given.problem}"
        raise ValueError(
            f"`run` or `problem` must be given, one of them, got {found}; name the folder of a run, or one of "
            f"{', '.join(NAMES)}."
        )
    n = None if given.n is None else whole(given.n, "n")
    if given.problem is not None:
        for name in OF_A_RUN:
            if (value := getattr(given, name)) != getattr(Explore, name):
                raise ValueError(f"`{name}` must be given with a run, got {value} without; name the folder of one.")
        return subject_of_problem(given.problem, _schedule(given), n=n, seed=given.seed)
    chosen = load(RunChoice(str(given.run), given.checkpoint, given.average, given.weights, given.device))
    return subject_of_run(chosen, _schedule(given), label=given.label, guidance=given.guidance, n=n, seed=given.seed)


def _schedule(given: Explore) -> Interpolant | None:
    """The schedule that is typed, if there is one."""
    interpolant = Request(alpha=given.alpha, beta=given.beta, gamma=given.gamma).interpolant()
    if interpolant is not None:
        interpolant.validate().raise_if_unusable()
    return interpolant
