"""Attention with the softmax written out, which has a forward derivative."""

from __future__ import annotations

import torch
from torch import nn

from flowops._named import require

WAYS = ("written", "fused")


def write_attention_out(model: nn.Module) -> int:
    r"""Let every attention of a model of diffusers write out $\mathrm{softmax}(qk^\top/\sqrt d)\,v$; says how many did.

    The processor of diffusers for torch 2, `AttnProcessor2_0`, calls `scaled_dot_product_attention`, whose fused
    kernels have no forward derivative; it is replaced by `AttnProcessor`, of the same values up to rounding. What else
    there is: `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` around every call, or central differences in place of
    derivatives (`derivatives="central"` of a method).

    Raises:
        ImportError: without diffusers.
        ValueError: for an attention of another processor, which has no such twin; it is named, and nothing is changed.

    Cost: memory that grows with the square of the number of tokens, as the derivative of any attention has it.
    """
    attention = require("diffusers.models.attention_processor", "diffusers")
    twins = (attention.AttnProcessor, attention.AttnProcessor2_0)
    found = {name: module for name, module in model.named_modules() if isinstance(module, attention.Attention)}
    for name, module in found.items():
        if type(module.processor) not in twins:
            raise ValueError(
                f"`{name}` must attend by AttnProcessor2_0 to be written out, got {type(module.processor).__name__}; "
                f'run it inside of sdpa_kernel(SDPBackend.MATH), or train with derivatives="central".'
            )
    for module in found.values():
        module.set_processor(attention.AttnProcessor())
        if torch.finfo(module.to_q.weight.dtype).bits >= 32:  # diffusers would round float64 to float32
            module.upcast_softmax = module.upcast_attention = False
    return len(found)
