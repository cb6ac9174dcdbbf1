"""The command line: `flowops COMMAND`, one module per command, each a typed dataclass of flags and a function."""

from flowops.cli.main import main

__all__ = ["main"]
