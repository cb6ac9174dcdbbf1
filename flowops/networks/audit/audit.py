r"""Whether a network can be trained through its forward derivatives, and which of its modules stands in the way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from flowops._arguments import check_state
from flowops._derivatives import value_and_jvp
from flowops.networks.audit.calls import Call, Recording, flattened, record
from flowops.networks.audit.probe import CALLED, INPLACE, Fault, disagreement, remedy, summary, unusable

Test: TypeAlias = Callable[[Callable[..., Tensor], list[Tensor], nn.Module], Fault | None]

STEEP = 30.0  # derivatives in time above this many times the value are pointed at


@dataclass(frozen=True)
class Finding:
    """What is wrong with a module (a path within the network, or its class for the network), and what to do."""

    module: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"`{self.module}` {self.problem}; {self.remedy}."


@dataclass(frozen=True)
class Audit:
    """The findings of an audit, and notes that are no faults."""

    network: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def __str__(self) -> str:
        verdict = "sound" if self.ok else f"{len(self.findings)} finding" + "s" * (len(self.findings) > 1)
        return "\n".join([f"{self.network}: {verdict}", *(f"- {item}" for item in (*self.findings, *self.notes))])

    def raise_for_findings(self) -> None:
        """Raise a ValueError with one sentence per finding, if there are any."""
        if self.findings:
            raise ValueError(" ".join(map(str, self.findings)))


def audit(
    network: nn.Module,
    x: Tensor,
    *,
    label: Tensor | int | None = None,
    guidance: Tensor | float | None = None,
    condition: Tensor | None = None,
    derivatives: bool = True,
) -> Audit:
    r"""Compare the forward derivative of a network of `(s, t, x)` with differences, and name the module that breaks it.

    Two copies in evaluation mode are looked at, one in the dtype of the network and one in float64; the network and the
    global generators stay as they are. Parameters that are entirely zero get small random values in the copies, since
    they would hide what lies behind them. The network is asked for the shape and dtype of the state, for a derivative
    along a random direction of $(s,t,x)$ that a backward pass goes through and that differences in float64 confirm, for
    a gradient of every parameter, and, in training mode as well, that no sample changes the result of another. Where
    the derivative fails, the modules are asked one by one on the inputs they got, and the deepest that fail are named;
    what surrounds them is judged when they are repaired.

    Args:
        network: any module of `(s, t, x)`, such as goes into a `LearnedMap`.
        x: two states or more, `[batch, *event]`, like those of training.
        label: passed on to the network if given; so are `guidance` and `condition`.
        derivatives: False for a row that takes none, such as `fm`. Then values in the network's own dtype, a gradient
            of every parameter and independent samples in evaluation mode are all that is asked: a sampler needs these,
            and samples that interact in training mode only (BatchNorm) are a note.

    Raises:
        TypeError, ValueError: if `network` is no module, or `x` no batch of two states at least.

    Cost: of a sound network, two copies, about six calls in float64 and fifteen in its own dtype; of others the same
    once more, module by module.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"`network` must be an nn.Module of (s, t, x), got {type(network).__name__}; wrap it.")
    check_state(x)
    if len(x) < 2:
        raise ValueError(f"`x` must have two samples at least, got {len(x)}; their independence is part of the audit.")
    conditions = {"label": label, "guidance": guidance, "condition": condition}
    given = {key: value for key, value in conditions.items() if value is not None}
    return _Auditor(network, x, given, derivatives).audit()


@torch.no_grad()
def fill_zeros(module: nn.Module) -> None:
    """Give random numbers to the parameters that are zero, behind which derivatives vanish; the same ones always."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        if not parameter.any():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


class _Auditor:
    """The copy, its inputs, and the questions asked in turn; the first that fails ends the audit."""

    def __init__(self, network: nn.Module, x: Tensor, conditions: dict[str, Any], derivatives: bool) -> None:
        network = getattr(network, "_orig_mod", network)  # of torch.compile
        self.title = type(network).__name__
        self.own = copy.deepcopy(network).eval()
        fill_zeros(self.own)
        self.exact = copy.deepcopy(self.own).double() if derivatives else None
        dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), x.dtype)
        rise = torch.linspace(0.1, 0.6, len(x), dtype=torch.promote_types(dtype, torch.float32), device=x.device)
        self.inputs = [rise, 0.95 - 0.5 * rise, x.detach().to(dtype)]
        self.exact_inputs = [p.double() for p in self.inputs]
        self.conditions = conditions

    def audit(self) -> Audit:
        by_derivative = (self._value, self._derivative, self._gradients, self._independence, self._independence_trained)
        by_value = (self._value, self._reached, self._gradients, self._independence)
        found: list[Finding] = []
        for question in by_value if self.exact is None else by_derivative:
            if found := question():
                return Audit(self.title, tuple(found))
        return Audit(self.title, (), tuple(self._interaction() if self.exact is None else self._notes()))

    def _copies(self) -> list[tuple[nn.Module, list[Tensor]]]:
        """The copy in its own dtype with its inputs, and the one in float64 where there is one."""
        own = [(self.own, self.inputs)]
        return own if self.exact is None else [*own, (self.exact, self.exact_inputs)]

    def call(self, network: nn.Module, inputs: Sequence[Tensor]) -> Any:
        return network(*(p.clone() for p in inputs), **self.conditions)

    def _finding(self, name: str, problem: str, remedy: str) -> Finding:
        return Finding(name or self.title, problem, remedy)

    def _value(self) -> list[Finding]:
        for network, inputs in self._copies():
            s, t, x = (p.clone() for p in inputs)
            recording = record(network, partial(network, s, t, x, **self.conditions))
            if recording.error is not None:
                return [self._raised(recording, x.dtype)]
            y = recording.result
            if not isinstance(y, Tensor) or y.shape != x.shape:
                kind = list(y.shape) if isinstance(y, Tensor) else type(y).__name__
                return [self._finding("", f"returns {kind} for states {list(x.shape)}", "return the shape of x")]
            if y.dtype != x.dtype:
                name = next((c.name for c in recording.calls if _converts(c)), "")
                problem = f"returns {y.dtype} for a state and parameters in {x.dtype}"
                return [self._finding(name, problem, "convert with .to(x.dtype), never with .float() or .half()")]
            if not torch.equal(x, inputs[2]):
                return [self._finding("", "writes to the state it is given", INPLACE)]
        return []

    def _raised(self, recording: Recording, dtype: torch.dtype) -> Finding:
        text = summary(recording.error) if recording.error else ""
        advice = "take the dtype of tensors it makes from x" if "dtype" in text else CALLED
        return self._finding(recording.raised_in, f"fails with parameters and states in {dtype} ({text})", advice)

    def _derivative(self) -> list[Finding]:
        for (network, inputs), test in zip(self._copies(), (unusable, disagreement), strict=True):
            if whole := test(lambda *p, network=network: flattened(self.call(network, p)), inputs, network):
                return self._located(network, inputs, test) or [self._finding("", *whole)]
        return []

    def _located(self, network: nn.Module, inputs: list[Tensor], test: Test) -> list[Finding]:
        faults: dict[str, Fault] = {}
        seen: set[str] = {""}
        for call in record(network, partial(self.call, network, inputs)).calls:  # inner modules come first
            if call.name in seen or not call.inputs() or any(name.startswith(f"{call.name}.") for name in faults):
                continue
            seen.add(call.name)
            if found := test(call.again, call.inputs(), call.module):
                faults[call.name] = found
        return [self._finding(name, *found) for name, found in faults.items()]

    def _reached(self) -> list[Finding]:
        """Whether a loss of the values has a gradient, and a finite one."""
        try:
            with torch.enable_grad():
                value = self.call(self.own, self.inputs)
                value.square().sum().backward()
        except Exception as error:  # whatever a network raises is what the audit is to name
            return [self._finding("", f"has no gradient ({summary(error)})", remedy(error, self.own))]
        gradients = [p.grad for p in self.own.parameters() if p.grad is not None]
        if not all(bool(tensor.isfinite().all()) for tensor in (value, *gradients)):
            advice = "keep roots, logarithms and quotients away from zero"
            return [self._finding("", "has a value or a gradient that is not finite", advice)]
        return []

    def _gradients(self) -> list[Finding]:
        missing = {name for name, p in self.own.named_parameters() if p.requires_grad and p.grad is None}
        wholly = [
            name
            for name, module in self.own.named_modules()
            if (own := {f"{name}.{key}" if name else key for key, _ in module.named_parameters()}) and own <= missing
        ]
        outermost = [name for name in wholly if not any(_within(name, other) for other in wholly)]
        left = [name for name in missing if not any(_within(name, other) for other in outermost)]
        problem = "has parameters that no value and no derivative depends on"
        advice = "remove torch.no_grad() or detach() from around it, or remove what is not used"
        return [self._finding(name, problem, advice) for name in (*outermost, *left)]

    def _independence(self) -> list[Finding]:
        return self._coupled(training=False)

    def _independence_trained(self) -> list[Finding]:
        return self._coupled(training=True)

    def _coupled(self, training: bool) -> list[Finding]:
        s, t, x = self.inputs
        other = x.clone()
        other[0] = other[0].flip(-1) + 0.5
        self.own.train(training)
        recordings = []
        for state in (x, other):
            with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
                torch.manual_seed(0)  # the same masks of dropout both times
                recordings.append(record(self.own, partial(self.call, self.own, (s, t, state))))
        self.own.eval()
        for recording in recordings:
            if recording.error is not None:
                return [self._raised(recording, x.dtype)]
        pairs = zip(*(recording.calls for recording in recordings), strict=True)
        name = next((one.name for one, two in pairs if _couples(one, two, len(x))), None)
        if name is None:
            return []
        mode = " in training mode" if training else ""
        problem = f"lets one sample change the result of another{mode}"
        advice = "use a norm of one sample at a time (GroupNorm, RMSNorm) in place of BatchNorm or batch means"
        return [self._finding(name, problem, advice)]

    def _interaction(self) -> list[str]:
        """What a row without derivatives allows, and others do not."""
        allowed = "which flow matching allows and rows that take a derivative refuse"
        return [f"note: `{found.module}` {found.problem}, {allowed}." for found in self._coupled(training=True)]

    def _notes(self) -> list[str]:
        notes = []
        s, t, x = self.inputs
        with torch.no_grad():
            value, slope = value_and_jvp(lambda q: self.call(self.own, (s, q, x)), (t,), (torch.ones_like(t),))
            ratio = float(slope.norm() / value.norm().clamp_min(1e-30))
        steep = "; lower the frequencies of its time embedding, since targets grow with them" * (ratio > STEEP)
        notes.append(f"note: the derivative in t is {ratio:.2g} times the value (root mean squares){steep}.")
        dropout = [n for n, m in self.own.named_modules() if isinstance(m, nn.modules.dropout._DropoutNd) and m.p]
        if dropout:
            notes.append(
                f"note: derivatives were taken in evaluation mode; in training the {len(dropout)} dropouts draw a mask "
                f"per pass, so a value and a derivative agree only where they come from one pass."
            )
        return notes


def _within(name: str, other: str) -> bool:
    return name != other and (not other or name.startswith(f"{other}."))


def _converts(call: Call) -> bool:
    inputs, outputs = call.inputs(), call.outputs()
    return bool(inputs and outputs) and outputs[0].dtype != inputs[0].dtype


def _couples(a: Call, b: Call, batch: int) -> bool:
    """Whether the results of two calls differ in samples whose inputs do not."""

    def others(tensors: list[Tensor]) -> list[Tensor]:
        return [tensor[1:] if tensor.ndim and len(tensor) == batch else tensor for tensor in tensors]

    def near(one: list[Tensor], two: list[Tensor]) -> bool:
        pairs = zip(others(one), others(two), strict=True)
        return all(torch.allclose(p, q, rtol=1e-4, atol=1e-4) for p, q in pairs)

    return near(a.inputs(), b.inputs()) and not near(a.outputs(), b.outputs())
