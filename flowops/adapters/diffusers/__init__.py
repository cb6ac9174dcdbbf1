"""The models and schedulers of diffusers: as velocity fields, as two-time networks, and written out for it."""

from importlib import import_module
from typing import Any

from flowops.adapters.diffusers.attention import write_attention_out
from flowops.adapters.diffusers.field import DiffusersField, velocity_field
from flowops.adapters.diffusers.network import DiffusersNetwork, two_time_network
from flowops.adapters.diffusers.reading import times

__all__ = [
    "velocity_field",
    "DiffusersField",
    "two_time_network",
    "DiffusersNetwork",
    "times",
    "write_attention_out",
]

_LATE = {"FlowMapModel": "model", "FlowMapPipeline": "pipeline", "export_pipeline": "export"}
"""What is made of classes of diffusers, and imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
