"""Attention written out, so that it has a forward derivative."""

from __future__ import annotations

import torch
from torch import Tensor


def attended(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    r"""$v\,\mathrm{softmax}(q^\top k/\sqrt d)^\top$ for $q,k,v$ `[..., d, n]`, columns over places: one more such.

    The fused kernels have no forward-mode derivative. The weights are computed in float32 under autocast.
    """
    scores = q.mT @ (k / q.shape[-2] ** 0.5)
    weights = torch.softmax(scores.to(torch.promote_types(v.dtype, torch.float32)), -1).to(v.dtype)
    return v @ weights.mT
