"""What README.md and docs/ name exists: modules and what is in them, files, commands with their options, keys of the configuration, targets of make."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuralpower import Client, LayerProfiler, Recording
from neuralpower.cli import COMMANDS, Parser, load
from neuralpower.errors import InputError
from neuralpowerd import cli as daemon_cli
from neuralpowerd.config import Config

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PACKAGES = ("neuralpower", "neuralpowerd", "neuralpower_align", "neuralpower_wire", "neuralpower_sampler")
OBJECTS = {"client": Client, "recording": Recording, "profiler": LayerProfiler}
"""What these variables are in the pages' Python."""
FOREIGN = {"--laptop", "--system-site-packages"}
"""Options of other programs (cyclictest, venv) that pages name by themselves."""
FOREIGN_KEYS = {"max_aux_streams"}
"""TensorRT's."""
FILES = {path.name for folder in ("systemd", "docs") for path in (ROOT / folder).iterdir()}
SUFFIXES = {"c", "h", "ipc", "json", "md", "py", "ring", "toml"}
"""A name that ends in one of these is a file's."""


def code_of(text: str) -> Iterator[tuple[str, bool]]:
    """(code, whether it is a line of a block) of a page in Markdown, in spans and in fenced or indented blocks."""
    fenced = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip(), True
        else:
            yield from ((span, False) for span in re.findall(r"`([^`]+)`", line))


@functools.cache
def said(page: Path) -> list[tuple[str, bool]]:
    """All code of a page."""
    return list(code_of(page.read_text(encoding="utf-8")))


# ---- Python ------------------------------------------------------------------------------------


def resolve(name: str) -> Any:
    """The module or what is in it; AttributeError or ModuleNotFoundError where there is none."""
    parts = name.split(".")
    found = importlib.import_module(parts[0])
    for at, part in enumerate(parts[1:], 2):
        if not hasattr(found, part):
            importlib.import_module(".".join(parts[:at]))
        found = getattr(found, part)
    return found


def names_of(code: str) -> set[str]:
    """Dotted names of our packages in some code, those that it imports from them included; names of files are none."""
    dotted = re.findall(rf"(?<![\w/.-])((?:{'|'.join(PACKAGES)})(?:\.\w+)+)(?![\w/-])", code)
    names = {name for name in dotted if not any(file.startswith(name) for file in FILES)}
    for module, members in re.findall(rf"from ((?:{'|'.join(PACKAGES)})[\w.]*) import ([\w, ]+)", code):
        names |= {f"{module}.{member.strip()}" for member in members.split(",")}
    for variable, member in re.findall(r"(?<![\w./-])(client|recording|profiler)\.([a-z_]+)(?![\w.-]*\.\w)", code):
        names |= {f"{variable}.{member}"} if member not in SUFFIXES else set()
    return names


def is_there(name: str) -> bool:
    variable, _, member = name.partition(".")
    if variable in OBJECTS:
        return hasattr(OBJECTS[variable], member) or f"self.{member}" in inspect.getsource(OBJECTS[variable])
    try:
        resolve(name)
    except (AttributeError, ModuleNotFoundError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_modules_and_members_exist(page: Path) -> None:
    """Each dotted name of our packages is imported, and each member of a client, recording or profiler is there."""
    names = {name for code, _ in said(page) for name in names_of(code)}
    assert not [name for name in sorted(names) if not is_there(name)]


FOLDERS = ("align", "benchmarks", "client", "daemon", "docs", "examples", "sampler_c", "systemd", "tests", "wire")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """A path that begins with a folder of the repository is there; NAME in it stands for any."""
    named = re.findall(rf"(?<![\w./-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w)", page.read_text(encoding="utf-8"))
    assert not [path for path in sorted(set(named)) if "NAME" not in path and not (ROOT / path).exists()]


# ---- Commands ----------------------------------------------------------------------------------


@functools.cache
def parsers() -> dict[tuple[str, str], argparse.ArgumentParser]:
    """(program, command) -> its real parser."""
    found: dict[tuple[str, str], argparse.ArgumentParser] = {}
    for name in COMMANDS:
        found["neuralpower", name] = parser = Parser(prog=f"neuralpower {name}")
        load(name).add_arguments(parser)
    (commands,) = (a for a in daemon_cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    return found | {("neuralpowerd", name): parser for name, parser in commands.choices.items()}


def commands_of(code: str) -> Iterator[list[str]]:
    """The words of each of our commands in a line or span of code, what is optional included, up to a comment or the next command."""
    code = re.split(r"(?:^| )# ?", code)[0]
    for match in re.finditer(r"(?<![\w./-])(?<!from )(?:[\w./]*/)?(neuralpowerd?) (?=[a-z])", code):
        rest = re.split(r" [|&;>]|&&|, ", code[match.start(1) :])[0].replace("[", " ").replace("]", " ")
        try:
            yield shlex.split(rest.replace("…", ""))
        except ValueError:
            yield rest.split()


def wrong_words(parser: argparse.ArgumentParser, words: list[str], whole: bool) -> str:
    """What the parser has against the words; "" if nothing. Words in capitals stand for values."""
    for at, word in enumerate(words):
        option, equals, value = word.partition("=")
        if not option.startswith("-") or option == "-":
            continue
        action = parser._option_string_actions.get(option)
        if action is None:
            return f"no option {option}"
        if action.nargs == 0:
            continue
        value = value if equals else words[at + 1] if at + 1 < len(words) else "VALUE"
        try:
            given = parser._get_value(action, "1" if value.isupper() and action.type in (int, float) else value)
            if not value.isupper():
                parser._check_value(action, given)
        except argparse.ArgumentError as error:
            return str(error)
    if whole and not any(word.isupper() and word.isalpha() for word in words):
        try:
            parser.parse_args(words)
        except (InputError, SystemExit) as error:
            return str(error)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_commands_and_options_exist(page: Path) -> None:
    """Each command is one of ours and takes the options it is shown with; a whole line is one that it would run."""
    known, wrong = parsers(), []
    for code, whole in said(page):
        for program, command, *words in (found for found in commands_of(code) if len(found) > 1):
            parser = known.get((program, command))
            if why := "no such command" if parser is None else wrong_words(parser, words, whole):
                wrong.append(f"{' '.join([program, command, *words])}: {why}")
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_named_alone_exist(page: Path) -> None:
    """An option in a span of its own is one of some command of ours."""
    options = {option for parser in parsers().values() for option in parser._option_string_actions}
    alone = {
        word
        for code, whole in said(page)
        if not whole and code.startswith("--")
        for word in re.findall(r"--[a-z-]+", code)
    }
    assert not sorted(alone - options - FOREIGN)


# ---- Configuration and make --------------------------------------------------------------------


def keys() -> set[str]:
    """`key` at the top of the daemon's file, and `table.key`."""
    found = set()
    for field in dataclasses.fields(Config):
        inner = field.default_factory if field.default is dataclasses.MISSING else type(field.default)
        if dataclasses.is_dataclass(inner):
            found |= {f"{field.name}.{each.name}" for each in dataclasses.fields(inner)}
        else:
            found.add(field.name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_keys_of_the_configuration_exist(page: Path) -> None:
    """`table.key`, and `key = value`, is a key of the daemon's file."""
    known = keys()
    tables = {key.partition(".")[0] for key in known if "." in key}
    leaves = {key.rpartition(".")[2] for key in known}
    wrong = []
    for code, whole in said(page):
        if whole:
            continue
        if (match := re.fullmatch(r"(\w+)\.(\w+)( = .*)?", code)) and match[1] in tables:
            wrong += [code] if f"{match[1]}.{match[2]}" not in known and match[2] not in SUFFIXES else []
        elif match := re.fullmatch(r"([a-z_]+) = (\d+|true|false|\"[^\"]*\")", code):
            wrong += [code] if match[1] not in leaves | FOREIGN_KEYS else []
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_targets_of_make_exist(page: Path) -> None:
    """`make TARGET` is in the Makefile, or in that of the C tests."""
    files = [ROOT / "Makefile", ROOT / "tests" / "c" / "Makefile"]
    targets = {
        word for file in files for line in re.findall(r"^\.PHONY:(.*)", file.read_text(), re.M) for word in line.split()
    }
    named = [re.match(r"(?:\w+=\S+ )*make ((?:[a-z][a-z-]+(?: |$))+)", code) for code, _ in said(page)]
    assert not {word for found in named if found for word in found[1].split()} - targets
