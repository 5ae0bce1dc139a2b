"""The `neuralpower` command: one module per subcommand, imported only when it is asked for."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Protocol, cast

from neuralpower_wire import WireError

from .. import __version__
from ..errors import Failure, InputError

COMMANDS = {
    "demo": "run the whole tool on this machine, from rails to a fitted model",
    "profile": "run a network with the profiler attached",
    "watch": "live rails, rates, layers and losses in the terminal",
    "record": "record everything a daemon publishes",
    "info": "what a recording or dataset holds, and what is missing",
    "attribute": "power and energy per layer of a recording",
    "dataset": "layers with features and measurements, as Parquet",
    "import": "turn other tools' measurements into a dataset",
    "fit": "fit the six models",
    "evaluate": "errors per layer type and network, beside the baselines",
    "predict": "runtime, power and energy of a network",
    "report": "one self-contained HTML page",
    "export": "a trace for ui.perfetto.dev, or CSV tables",
}


class Command(Protocol):
    """What a subcommand's module offers."""

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def load(name: str) -> Command:
    """Import the module of the subcommand `name`."""
    module = "import_" if name == "import" else name
    return cast(Command, importlib.import_module(f"{__name__}.{module}"))


def overview() -> str:
    """The text of `neuralpower --help`, made without importing any subcommand."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items()]
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
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"neuralpower {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        return complain(f"no command {name!r}; neuralpower --help lists them", 2)
    try:
        command = load(name)
        parser = argparse.ArgumentParser(
            prog=f"neuralpower {name}", description=command.HELP, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(parser)
        return command.run(parser.parse_args(arguments[1:]))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("neuralpower"):
            raise
        return complain(f'{name} needs the package {error.name}: pip install "neuralpower[client]"', 1)
    except InputError as error:
        return complain(str(error), 2)
    except (Failure, WireError) as error:
        return complain(str(error), 1)
    except KeyboardInterrupt:
        return complain("stopped", 130)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`); point stdout at nothing so that the interpreter's last flush is quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def complain(line: str, status: int) -> int:
    """Print one line on stderr and return `status`."""
    print(f"neuralpower: {line}", file=sys.stderr)
    return status
