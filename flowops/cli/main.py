"""From the words of a command line to a command, and from whatever goes wrong to one sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from flowops._named import meant
from flowops.cli.console import brief_warnings, in_shell, speak, to_stderr, to_stdout

COMMANDS: dict[str, str] = {
    "train": "train a flow map, or go on with a run",
    "sample": "samples of a run as pictures, by its map and by solvers",
    "invert": "pictures to noise and back, edits by their class, interpolations",
    "evaluate": "how good samples are and what they cost, as a table",
    "compare": "methods, schedules and couplings at one budget, in one table",
    "export": "a run for elsewhere: a program that runs without flowops, or a folder of diffusers",
    "power": "average the weights of a run anew, with another width",
    "methods": "the training methods, or one of them",
    "schedules": "the named schedules, or a check of your own",
    "check": "whether your schedule, field or map is what it is meant to be",
    "explore": "a map beside its true flow, on a page in the browser",
}
"""Each command with what it does; the module of the same name has `run(args) -> exit code`."""

HELP = """usage: flowops COMMAND ...

Train, sample and evaluate flow maps.

{commands}

flowops COMMAND --help explains a command, flowops --version tells the version. For a first run:

  flowops train checkerboard --steps 2000 --out runs/board
  flowops sample runs/board --steps 1 2 4 8
  flowops evaluate runs/board"""

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0, 1 for an error, 2 for wrong usage, 130 after Ctrl-C.

    An error of the library is one line on the standard error; FLOWOPS_TRACEBACK=1 in the environment lets it through.

    Args:
        argv: the words after `flowops`; those of this process if None.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if os.getcwd() not in sys.path and "" not in sys.path:  # so that package.module:name of the current folder is found
        sys.path.insert(0, os.getcwd())
    speak({})
    try:
        with brief_warnings():
            return _dispatch(words)
    except SystemExit as stop:  # of the parser, which has said why
        return stop.code if isinstance(stop.code, int) else OK
    except KeyboardInterrupt:
        to_stderr("flowops: interrupted.")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("FLOWOPS_TRACEBACK") == "1" or not _is_told(error):
            raise
        to_stderr(f"flowops: {in_shell(str(error))}")
        return FAILED


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        to_stdout(HELP.format(commands="\n".join(f"  {name:<11}{summary}" for name, summary in COMMANDS.items())))
        return OK
    if words[0] in ("-V", "--version"):
        to_stdout(f"flowops {import_module('flowops').__version__}")
        return OK
    if words[0] not in COMMANDS:
        hint = meant(words[0], COMMANDS)
        hint = f"; choose one of {', '.join(COMMANDS)}." if hint == "." else hint
        to_stderr(f"flowops: {words[0]!r} is no command{hint}")
        return USAGE
    code: int = import_module(f"flowops.cli.{words[0]}").run(words[1:])
    return code


def _is_told(error: BaseException) -> bool:
    """Whether an error is one that a sentence explains; a RuntimeError of torch is not, but for those of a run."""
    if not isinstance(error, RuntimeError):
        return True
    from flowops.training import NotFinite

    return isinstance(error, NotFinite)
