"""The models and schedulers of diffusers: as two-time networks, as velocity fields, and written out for it."""

from importlib import import_module
from typing import Any

_LATE = {"FlowMapModel": "model", "FlowMapPipeline": "pipeline", "export_pipeline": "export"}
"""What is made of classes of diffusers, and imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
