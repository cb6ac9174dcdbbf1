"""The page: sliders, the schedule that is chosen or typed, figures, and what happens when one of them is touched."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

from flowops._named import require
from flowops.evaluation.explore.canvas import COLOURS
from flowops.evaluation.explore.newest import Newest
from flowops.evaluation.explore.particles import Particles
from flowops.evaluation.explore.residual_figure import ResidualFigure
from flowops.evaluation.explore.samples import Samples
from flowops.evaluation.explore.schedule import Typed
from flowops.evaluation.explore.subject import Subject
from flowops.evaluation.explore.view import Choice, Scene, View, Way
from flowops.evaluation.report.residual_maps import NAMES, ResidualMap
from flowops.interpolants import NAMED, named

STEPS = 16  # at most, on the slider
OWN, TYPED = "as begun", "typed"
CONTROLS = ("s", "t", "steps", "way", "kind")
FORMULAS = ("alpha", "beta", "gamma")
SCHEDULE = ("schedule", *FORMULAS)


class Page:
    """What one reader sees. All computing is done by a `View`; this sets sliders, asks for scenes and shows them.

    Args:
        subject: what is explored.
        view: that under its own schedule.
        document: where the page goes.
        threaded: whether work is done beside the page, which then stays awake; tests do without.
    """

    def __init__(self, subject: Subject, view: View, document: Any, *, threaded: bool = True) -> None:
        self.subject, self.first, self.view = subject, view, view
        self.scene: Scene | None = None
        self.particle: int | None = None
        self.found: ResidualMap | None = None
        self._filling = False
        self._said: dict[str, str] = {}
        self._controls()
        self.particles = None if view.images else Particles(view, self.point)
        self.samples = Samples() if view.images else None
        self.residual = ResidualFigure(self.choose)
        self.newest = Newest(document.add_next_tick_callback if threaded else None, self._busy)
        self._fill(document)
        document.on_session_destroyed(lambda _: self.newest.close())
        self._note(view.notes)
        self.look()
        self.measure()

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        return Choice(self.s.value, self.t.value, self.steps.value, self.way.value)

    def look(self) -> None:
        """Ask for the particles of the choice."""
        view, choice = self.view, self.choice
        self.residual.point(choice.s, choice.t)
        if view.images:
            self._ask("scene", lambda: (choice, view.samples(choice), view.distance(choice)), self._show_samples)
            return
        self._ask("scene", lambda: (choice, view.scene(choice)), self._show_scene)
        self._trace()

    def measure(self) -> None:
        """Ask for the residuals of the choice."""
        view, choice = self.view, self.choice
        self._ask("residuals", lambda: view.residuals(choice), self._show_residuals)

    def point(self, x: float | None, y: float | None) -> None:
        """Follow the particle that is closest to the pointer."""
        if self.scene is None or x is None or y is None:
            return
        particle = self.scene.nearest(x, y)
        if particle != self.particle:
            self.particle = particle
            self._trace()

    def choose(self, s: float | None, t: float | None) -> None:
        """Take the pair of times that was clicked, as far as the sliders reach."""
        if s is None or t is None:
            return
        for slider, value in ((self.s, s), (self.t, t)):
            steps = round((min(max(value, slider.start), slider.end) - slider.start) / slider.step)
            slider.value = round(slider.start + steps * slider.step, 6)

    def take_schedule(self) -> None:
        """Ask for the view under the schedule that is chosen or typed; one that cannot be used is told, and left."""
        chosen, subject = self.schedule.value, self.subject
        formulas = [getattr(self, name).value for name in FORMULAS]
        if chosen == OWN:
            self._take((self.first, self.first.notes, ()))
            return

        def work() -> tuple[View | None, Iterable[str], Iterable[str]]:
            typed = Typed.read(*formulas) if chosen == TYPED else Typed.of(named(chosen))
            if typed.interpolant is None:
                return None, typed.remarks, typed.faults
            view = subject.under(typed.interpolant)
            return view, (*typed.remarks, *view.notes), typed.faults

        self._ask("schedule", work, self._take)

    def _controls(self) -> None:
        """The sliders and the rest."""
        view, subject = self.view, self.subject
        models = require("bokeh.models", "explore")
        style = models.InlineStyleSheet(css=_text("widget.css"))
        held: dict[str, Any] = {"stylesheets": [style], "sizing_mode": "stretch_width", "margin": 0}
        start, end = view.observed.horizon
        step = (end - start) / (len(view.times) - 1)
        self.s = models.Slider(name="s", title="s", start=start, end=end, value=start, step=step, **held)
        self.t = models.Slider(name="t", title="t", start=start, end=end, value=end, step=step, **held)
        self.steps = models.Slider(name="steps", title="steps", start=1, end=STEPS, value=1, step=1, **held)
        for slider in (self.s, self.t, self.steps):
            slider.bar_color = COLOURS[0]
        self.s.format = self.t.format = "0.000"
        ways, kinds = list(view.ways), list(NAMES)
        self.way = models.Select(name="way", title="map", options=ways, value=ways[0], **held)
        self.kind = models.Select(name="kind", title="residual", options=kinds, value="Semigroup", **held)
        names = [OWN, *NAMED, TYPED]
        self.schedule = models.Select(name="schedule", title="schedule", options=names, value=OWN, **held)
        own = {} if subject.interpolant is None else subject.interpolant.expressions
        self.alpha, self.beta, self.gamma = (
            models.TextInput(name=name, title=f"{name}(t)", value=own.get(name) or "", **held) for name in FORMULAS
        )
        self.status, self.notes = (models.Div(name=name, text="", **held) for name in ("status", "notes"))
        self._connect()

    def _connect(self) -> None:
        for control in (self.s, self.t, self.steps, self.way):
            _on_change(control, self.look)
        for control in (self.way,) if self.view.images else (self.steps, self.way):
            _on_change(control, self.measure)
        _on_change(self.kind, lambda: self._show_residuals(self.found))
        _on_change(self.schedule, self._named)
        for name in FORMULAS:
            _on_change(getattr(self, name), self._typed)

    def _named(self) -> None:
        """The formulas of a schedule that is chosen by name stand in the fields, to be changed."""
        if self._filling:
            return
        chosen = self.schedule.value
        if chosen != TYPED:
            I = self.subject.interpolant if chosen == OWN else named(chosen)
            self._quietly(lambda: self._set_formulas(I.expressions if I is not None else {}))
        self.take_schedule()

    def _typed(self) -> None:
        if not self._filling:
            self._quietly(lambda: self.schedule.update(value=TYPED))
            self.take_schedule()

    def _set_formulas(self, formulas: Any) -> None:
        for name in FORMULAS:
            getattr(self, name).value = formulas.get(name) or ""

    def _quietly(self, change: Callable[[], None]) -> None:
        """A change of controls that asks for nothing."""
        self._filling = True
        try:
            change()
        finally:
            self._filling = False

    def _take(self, found: tuple[View | None, Iterable[str], Iterable[str]]) -> None:
        """Show another view, or why there is none."""
        view, remarks, faults = found
        self._note(remarks, faults)
        if view is None:  # what is shown stays
            return
        self.view, self.scene, self.found = view, None, None
        if self.particles is not None:
            self.particles.axes(view)
        ways = list(view.ways)
        self.way.options = ways
        if self.way.value not in ways:
            self.way.value = ways[0]
        self.look()
        self.measure()

    def _trace(self) -> None:
        """Ask for the way of the particle under the pointer."""
        if self.particle is not None and not self.view.images:
            view, choice, particle = self.view, self.choice, self.particle
            self._ask("way", lambda: view.way(choice, particle), self._show_way)

    def _show_scene(self, found: tuple[Choice, Scene]) -> None:
        choice, self.scene = found
        assert self.particles is not None
        self.particles.show(self.scene)
        self._tell_scene(choice, self.scene.distance, self.scene.lost)

    def _show_samples(self, found: Any) -> None:
        assert self.samples is not None
        choice, rows, (distance, lost) = found
        self.samples.show(rows)
        self._tell_scene(choice, distance, lost)

    def _tell_scene(self, choice: Choice, distance: float, lost: int) -> None:
        calls, steps = self.view.calls(choice), f"{choice.steps} step{'s' * (choice.steps > 1)}"
        text = (
            f"<b>{html.escape(choice.way)}, {steps}</b> from s = {choice.s:.3g} to t = {choice.t:.3g}: root mean "
            f"square distance from the true flow <b>{distance:.3g}</b>, {calls} call{'s' * (calls > 1)} per sample."
        )
        if lost:
            text += f" {lost} of {len(self.view.observed.x)} ends are not finite."
        if self.view.learned and choice.t < choice.s:
            text += " The map was trained for t ≥ s, and here it goes back."
        self._say("scene", text)

    def _show_way(self, way: Way) -> None:
        assert self.particles is not None
        self.particles.trace(way)
        off = float((way.stops[-1] - way.true[-1]).square().sum().sqrt())
        self._say("way", f" Under the pointer: particle {self.particle}, off by {off:.3g}.")

    def _show_residuals(self, found: ResidualMap | None) -> None:
        self.found = found
        if found is not None:
            self.residual.show(found, self.kind.value)

    def _busy(self, works: bool) -> None:
        self._say("busy", " <span class='remark'>Computing …</span>" if works else "")

    def _say(self, part: str, text: str) -> None:
        self._said[part] = text
        self.status.text = "".join(self._said.get(name, "") for name in ("scene", "way", "busy"))

    def _note(self, remarks: Iterable[str], faults: Iterable[str] = ()) -> None:
        lines = [f'<p class="fault" role="alert">{html.escape(fault)}</p>' for fault in faults]
        self.notes.text = "".join(lines + [f'<p class="remark">{html.escape(remark)}</p>' for remark in remarks])

    def _ask(self, name: str, job: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Ask for work; what a user's object raises is a sentence on the page, and leaves what is shown."""

        def attempt() -> Any:
            try:
                return job()
            except Exception as error:
                return error

        def show(found: Any) -> None:
            if isinstance(found, Exception):
                self._note((), (str(found).strip().splitlines()[0] if str(found).strip() else type(found).__name__,))
            else:
                then(found)

        self.newest.ask(name, attempt, show)

    def _fill(self, document: Any) -> None:
        """Put everything in its place."""
        controls = CONTROLS + (SCHEDULE if self.subject.interpolant is not None else ())
        shown = self.particles or self.samples
        assert shown is not None
        for root in (
            *(getattr(self, name) for name in controls),
            self.status,
            self.notes,
            shown.figure,
            self.residual.figure,
        ):
            document.add_root(root)
        document.title = f"flowops explore: {self.subject.title}"
        document.template = require("bokeh.core.templates", "explore").get_env().from_string(_text("page.html"))
        of = "one step" if self.view.images else "the chosen steps"
        document.template_variables.update(
            heading=self.subject.title, facts=self.subject.facts, controls=controls,
            style=_text("style.css", "flowops.evaluation.report") + _text("page.css"),
            told=f"Residual of {of}, root mean square over states; a click takes its s and t.",
        )  # fmt: skip


def _on_change(control: Any, function: Callable[[], None]) -> None:
    """Call a function whenever the value of a control is another one."""
    control.on_change("value", lambda _name, _old, _new: function())


def _text(name: str, package: str = __package__ or "") -> str:
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
