"""The command `neuralpowerd`: run, check, restore, keys, allow, revoke."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from neuralpower_sampler import SamplerError

from .config import SOURCES, Config, load
from .errors import ConfigError, DaemonError

DEFAULT_FILE = Path("/etc/neuralpower/neuralpowerd.toml")
MAX_RUNTIME_DIR = 80

_KEY_LIKE_AN_OPTION = re.compile(r"-[^\s]{39}\Z")

_EPILOG = """examples:
  neuralpowerd run                                       the board's rails, or a simulated monitor where there are none
  neuralpowerd run --source sim --runtime-dir /tmp/np    simulated, without privileges
  neuralpowerd check                                     what this machine offers
  neuralpowerd allow 'CLIENT-PUBLIC-KEY' --note laptop   let a client in over TCP, to read
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0 done, 1 a failure, 2 bad input, each with one line on stderr."""
    args = _parser().parse_args(_keys_last(sys.argv[1:] if argv is None else argv))
    os.umask(
        os.umask(0o022) | 0o022
    )  # nothing that is made here, keys and the folders above them too, is writable by others
    try:
        status = int(args.command(args))
        sys.stdout.flush()
        return status
    except ConfigError as error:
        return _say(str(error), 2)
    except (DaemonError, SamplerError) as error:
        return _say(str(error), 1)
    except BrokenPipeError:  # whoever read the output has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _say(f"{where}{error.strerror}; check the folder, its rights and its room", 1)
    except KeyboardInterrupt:
        return 130


def _keys_last(words: Sequence[str]) -> list[str]:
    """The words with a public key that begins with "-", as one in 85 does, behind "--": it is no option."""
    own = ("--config=", "--note=", "--role=")
    keys = [word for word in words if _KEY_LIKE_AN_OPTION.match(word) and not word.startswith(own)]
    if "--" in words or len(keys) != 1:
        return list(words)
    return [*(word for word in words if word != keys[0]), "--", keys[0]]


def _say(line: str, status: int) -> int:
    print(f"neuralpowerd: {line}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="neuralpowerd",
        description="Measures the power rails of this machine and serves the measurements.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(command=command)
        made.add_argument("--config", type=Path, metavar="FILE", help=f"TOML file (default: {DEFAULT_FILE}, if there)")
        return made

    run = add("run", _run, "Be the service, in the foreground.")
    run.add_argument("--source", choices=SOURCES, help="where readings come from")
    run.add_argument("--runtime-dir", metavar="DIR", help="folder of the logs and local sockets")
    check = add(
        "check", _check, "Say what this machine offers, with a verdict on each thing and what to do. Changes nothing."
    )
    check.add_argument("--json", action="store_true", help="for machines")
    check.add_argument("--measure-effect", action="store_true", help="measure what sampling itself draws; 20 s")
    check.add_argument("--runtime-dir", metavar="DIR", help="the daemon's folder")
    restore = add("restore", _restore, "Put back what a daemon that was killed has left changed on the machine.")
    restore.add_argument("--runtime-dir", metavar="DIR", help="the daemon's folder")
    keys = add("keys", _keys, "Make the server's key pair where there is none, and print the public key.")
    keys.add_argument("--json", action="store_true", help="for machines")
    allow = add("allow", _allow, "Let a client in over TCP, by its public key.")
    allow.add_argument("key", metavar="KEY", help="the client's public key, 40 characters")
    allow.add_argument("--note", default="", help="whose key it is")
    allow.add_argument(
        "--role",
        choices=("subscribe", "submit", "control"),
        default="subscribe",
        help="what it may do (default: %(default)s)",
    )
    revoke = add(
        "revoke", _revoke, "Take a client's key back; a running daemon ends its connections within about a second."
    )
    revoke.add_argument("key", metavar="KEY", help="the client's public key, 40 characters")
    return parser


def _config(args: argparse.Namespace) -> Config:
    """The file's configuration, or the defaults, with the command line's words over it."""
    path = args.config or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    config = load(path)
    if getattr(args, "source", None):
        if args.source == "replay" and not config.replay:
            raise ConfigError(
                "--source replay: needs the key replay in a configuration file; name a file of ticks there"
            )
        config = replace(config, source=args.source)
    if getattr(args, "runtime_dir", None):
        if len(args.runtime_dir.encode()) > MAX_RUNTIME_DIR:
            raise ConfigError(
                f"--runtime-dir: longer than {MAX_RUNTIME_DIR} bytes, too long for local sockets; shorten it"
            )
        config = replace(config, runtime_dir=args.runtime_dir)
    return config


def _run(args: argparse.Namespace) -> int:
    config = _config(args)
    from neuralpower_sampler import AVAILABLE, REINSTALL

    if not AVAILABLE:
        return _say(f"installed without the sampler; reinstall with it:\n{REINSTALL}", 1)
    from .service import Service
    from .system import stderr as logs
    from .system.notify import Notifier

    try:
        Path(config.runtime_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DaemonError(f"{config.runtime_dir}: {error.strerror}; choose another --runtime-dir") from None
    logs.set_up()
    for number in (signal.SIGHUP, signal.SIGUSR1):  # before there is anything to reload, or to tell
        signal.signal(number, signal.SIG_IGN)
    Service(lambda: _config(args), Notifier()).run()
    return 0


def _check(args: argparse.Namespace) -> int:
    from .check.check import as_json, examine, title
    from .check.findings import Finding, page

    found = examine(_config(args), args.measure_effect)
    print(as_json(found) if args.json else page([Finding(**each) for each in found["findings"]], title(found)))
    return 0


def _restore(args: argparse.Namespace) -> int:
    from .sampling import refuse_a_second
    from .system.restore import restore_all

    try:
        config = _config(args)
    except ConfigError as error:
        # What a killed daemon left changed must be put back even if its file was broken since: only the folder matters.
        folder = args.runtime_dir or os.environ.get("RUNTIME_DIRECTORY", Config().runtime_dir)
        config = replace(Config(), runtime_dir=folder)
        _say(f"{error}; restoring from {folder}", 0)
    refuse_a_second(Path(config.runtime_dir) / "ticks.ring")
    print("\n".join(restore_all(config)) or "nothing to restore")
    return 0


def _keys(args: argparse.Namespace) -> int:
    from .live.keys import ALLOWED, PUBLIC, SECRET, allowed_keys, make_keys

    folder = Path(_config(args).tcp.keys_dir)
    fresh = not (folder / SECRET).exists()
    public = make_keys(folder)
    if args.json:
        roles = {key.decode(): role.word for key, role in allowed_keys(folder).items()}
        print(json.dumps({"public_key": public, "keys_dir": str(folder), "allowed": roles}))
        return 0
    print(public)
    written = "written to" if fresh else "of"
    _say(f"the pair is {written} {folder / SECRET} and {PUBLIC}; allowed clients are in {ALLOWED} there", 0)
    return 0


def _allow(args: argparse.Namespace) -> int:
    from .live.keys import ALLOWED, allow
    from .logs.roles import ROLES

    folder = Path(_config(args).tcp.keys_dir)
    added = allow(folder, args.key, args.note, ROLES[args.role])
    print(f"allowed to {args.role}, in {folder / ALLOWED}" if added else "already allowed")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    from .live.keys import revoke

    print("revoked" if revoke(Path(_config(args).tcp.keys_dir), args.key) else "was not allowed")
    return 0
