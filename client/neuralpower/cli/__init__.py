"""The `neuralpower` command: one module per subcommand, imported only when it is asked for."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from typing import NoReturn, Protocol, cast

from neuralpower_wire import WireError

from .. import __version__
from ..errors import Failure, InputError
from ..names import printable, visible_output

COMMANDS = {
    "demo": ("measuring.demo", "run the whole tool on this machine, from rails to a fitted model"),
    "profile": ("measuring.profile", "run a network with the profiler attached"),
    "watch": ("measuring.watch", "live rails, rates, layers and losses in the terminal"),
    "record": ("measuring.record", "record everything a daemon publishes"),
    "fetch": ("measuring.fetch", "bring what a device's flight recorder has saved"),
    "info": ("analysing.info", "what a recording or dataset holds, and what is missing"),
    "attribute": ("analysing.attribute", "power and energy per layer of a recording"),
    "dataset": ("analysing.dataset", "layers with features and measurements, as Parquet"),
    "import": ("analysing.import_", "turn other tools' measurements into a dataset"),
    "fit": ("modelling.fit", "fit the six models"),
    "evaluate": ("modelling.evaluate", "errors per layer type and network, beside the baselines"),
    "features": ("modelling.features", "the layers of a network, and where two descriptions of it differ"),
    "predict": ("modelling.predict", "runtime, power and energy of a network"),
    "rank": ("modelling.rank", "which network to deploy: by energy, runtime or energy-precision ratio"),
    "plan-sweep": ("modelling.plan_sweep", "the next layers worth measuring"),
    "report": ("analysing.report", "one self-contained HTML page"),
    "export": ("analysing.export", "a trace for ui.perfetto.dev, or CSV tables"),
}
"""Command -> its module, and what it does."""

NO_FILE = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip
"""What is wrong with a path that cannot be opened, however often it is tried: bad input, where the user gave it."""


class Command(Protocol):
    """What a subcommand's module offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class Parser(argparse.ArgumentParser):
    """A parser that refuses in one line, as everything else does."""

    def error(self, message: str) -> NoReturn:
        """Raise what `message` says as an InputError."""
        raise InputError(f"{message}; {self.prog} --help shows what there is")


def load(name: str) -> Command:
    """Import the module of the subcommand `name`."""
    module, _ = COMMANDS[name]
    return cast(Command, importlib.import_module(f"{__name__}.{module}"))


def overview() -> str:
    """The text of `neuralpower --help`, made without importing any subcommand."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: neuralpower COMMAND [options]",
            "",
            "What energy each layer of a CNN costs on an NVIDIA Jetson, measured and predicted.",
            "",
            *lines,
            "",
            "neuralpower COMMAND --help tells more.  Example: neuralpower demo",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; returns the exit status: 0, 1 for a failure, 2 for bad input, 130 after Ctrl-C."""
    _prepare_streams()
    with visible_output():
        return _run(sys.argv[1:] if argv is None else argv)


def _run(arguments: list[str]) -> int:
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("neuralpower"):
            raise
        return complain(f'{arguments[0]} needs the package {error.name}: pip install "neuralpower[client]"', 1)
    except InputError as error:
        return complain(str(error), 2)
    except (Failure, WireError) as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return complain("stopped", 130)
    except BrokenPipeError:  # the reader of our output has gone (`| head`)
        _abandon_stdout()
        return 0
    except OSError as error:
        if error.filename is None:
            _abandon_stdout()  # it may be the output's disk that is full
        name = "" if error.filename is None else os.fsdecode(error.filename)
        status = 2 if error.errno in NO_FILE and name in arguments else 1
        return complain(f"{arguments[0]}: {name}{': ' if name else ''}{error.strerror or error}", status)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    name = arguments[0]
    if name == "--version":
        print(f"neuralpower {__version__}")
        return 0
    if name not in COMMANDS:
        raise InputError(f"no command {name!r}; neuralpower --help lists them")
    command = load(name)
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(prog=f"neuralpower {name}", description=command.HELP, formatter_class=layout)
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments[1:]))


def _prepare_streams() -> None:
    """A terminal that lacks a letter (`µ` under LC_ALL=C) gets a question mark, and a closed stream nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush is quiet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str, status: int) -> int:
    """Print one line on stderr and return `status`."""
    print(f"neuralpower: {printable(line)}", file=sys.stderr)
    return status
