"""The forward derivative of a function against differences, and what is wrong with it if they disagree."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from flowops._derivatives import value_and_jvp

STEPS = (1e-6, 1e-7, 1e-8)  # the smaller ones for points beside a kink
AGREEMENT = 1e-4
ATTENTION = (
    "write the attention out with torch.softmax, as flowops.networks.UNet does (for models of diffusers, "
    "flowops.adapters.diffusers.write_attention_out does it), run it inside "
    'torch.nn.attention.sdpa_kernel(SDPBackend.MATH), or train with derivatives="central"'
)
CHECKPOINT = "take the checkpoint around the whole derivative, or leave it out"
INPLACE = "use the operation that returns a new tensor (x = x + y, not x += y), and write to no buffer in forward"
FUNCTION = "write it with tensor operations; torch.compile ignores the jvp of an autograd.Function"
DETACHED = "remove the detach() (or .data, item(), NumPy) from its forward; stop gradients outside of the network"
ROUNDED = "convert with torch.promote_types(x.dtype, torch.float32), which leaves float64 as it is"
CALLED = (
    "a network is called as network(s, t, x), times [batch] before the state [batch, *event]; write it for these, or "
    'wrap one of a single time as OneTime(network, order="tx") or "xt"'
)
ELSE = "write it with differentiable tensor operations"


Fault: TypeAlias = tuple[str, str]  # problem and remedy


def unusable(f: Callable[..., Tensor], inputs: list[Tensor], module: nn.Module) -> Fault | None:
    """Why the forward derivative of `f` cannot be taken, be it trained through or not, if it cannot."""
    along = _directions(inputs)
    try:
        with torch.enable_grad():
            value, tangent = value_and_jvp(f, tuple(inputs), along)
            if value.requires_grad or tangent.requires_grad:
                (value.square().sum() + tangent.square().sum()).backward()
        with torch.no_grad():
            value_and_jvp(f, tuple(inputs), along)
    except Exception as error:  # whatever is raised is what the audit is to name
        return f"has no forward derivative ({summary(error)})", remedy(error, module)
    return None


def disagreement(f: Callable[..., Tensor], inputs: list[Tensor], _: nn.Module) -> Fault | None:
    """How the forward derivative of `f` differs from central differences of it, if it does; `inputs` are float64."""
    along = _directions(inputs)
    with torch.no_grad():
        value, tangent = value_and_jvp(f, tuple(inputs), along)
    if not tangent.isfinite().all():
        return "has a derivative that is not finite", "keep roots, logarithms and quotients away from zero"

    def error(h: float) -> float:
        with torch.no_grad():
            ahead, behind = (f(*(p + c * u for p, u in zip(inputs, along, strict=True))) for c in (h, -h))
        difference = (ahead - behind) / (2 * h)
        scale = max(float(tangent.norm()), float(difference.norm()))
        noise = 1e-15 / h * float(value.norm())
        return max(0.0, float((difference - tangent).norm()) - noise) / scale if scale else 0.0

    errors = []
    for h in STEPS:
        errors.append(error(h))
        if errors[-1] <= AGREEMENT:
            return None
    if error(1e-2) < 0.1 < errors[-1]:
        return "computes in less than float64, so its differences are noise", ROUNDED
    if not tangent.any():
        return "has the forward derivative zero where differences are not", DETACHED
    return f"has a forward derivative that differs from differences, by {min(errors):.0%} of its length", DETACHED


def _directions(inputs: list[Tensor]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device) for p in inputs)


def remedy(error: Exception, module: nn.Module) -> str:
    """What to do about an exception from a derivative of `module`."""
    text = str(error).lower()
    frames = {frame.filename for frame in traceback.extract_tb(error.__traceback__)}
    if isinstance(module, nn.MultiheadAttention | nn.TransformerEncoderLayer):
        return ATTENTION.replace("write the attention out", "write the attention out in place of this module")
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return "use a GroupNorm or RMSNorm, which see one sample at a time"
    if any("utils/checkpoint" in frame for frame in frames) or "checkpoint" in text:
        return CHECKPOINT
    if "attention" in text:
        return ATTENTION
    if "in-place" in text or "inplace" in text:
        return INPLACE
    return FUNCTION if "autograd.function" in text or "jvp" in text or "setup_context" in text else ELSE


def summary(error: Exception) -> str:
    """The first sentence of an exception."""
    text = " ".join(str(error).split()).split(". ")[0].rstrip(".")
    return f"{type(error).__name__}: {text[:160]}"
