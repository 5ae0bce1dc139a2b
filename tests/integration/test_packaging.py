"""The distribution: what it contains, and that it installs with a C compiler, without one, and again when there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("neuralpower", "neuralpowerd", "neuralpower_align", "neuralpower_sampler", "neuralpower_wire")
AVAILABLE = "import neuralpower_sampler as s; print(s.AVAILABLE)"

if shutil.which("gcc") is None:
    pytest.skip("no gcc to build with", allow_module_level=True)


class Environment:
    """A virtual environment that sees this one's dependencies and pip, with a pip cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "venv" / "bin" / "python"
        self.cache = folder / "cache"
        self._no_programs = folder / "empty"
        self._no_programs.mkdir(parents=True)
        venv.create(folder / "venv")
        site = next((folder / "venv" / "lib").glob("python*/site-packages"))
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def run(self, *command: str | Path, gcc: bool = True) -> subprocess.CompletedProcess[str]:
        dropped = {"CC", "PYTHONPATH", "NEURALPOWER_SAMPLER", "UV"}
        environment = {name: value for name, value in os.environ.items() if name not in dropped}
        environment |= {"PIP_CACHE_DIR": str(self.cache), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if not gcc:
            environment["PATH"] = str(self._no_programs)
        return subprocess.run(
            command, env=environment, cwd=self._no_programs, capture_output=True, text=True, timeout=300
        )

    def pip(self, *arguments: str | Path, gcc: bool = True) -> str:
        done = self.run(self.python, "-m", "pip", "install", "--verbose", "--no-deps", *arguments, gcc=gcc)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def sampler_available(self) -> bool:
        done = self.run(self.python, "-c", AVAILABLE)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() == "True"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout without anything that was built in it."""
    built = shutil.ignore_patterns(".git", ".venv*", ".*_cache", "build", "dist", "*.egg-info", "*.so", "__pycache__")
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("packaging") / "source", ignore=built)


@pytest.fixture(scope="module")
def dist(source: Path) -> Path:
    """The folder with the source distribution, and the wheel made from it."""
    required = os.environ | {"NEURALPOWER_SAMPLER": "required"}
    command = [sys.executable, "-m", "build", source]
    build = subprocess.run(command, env=required, capture_output=True, text=True, timeout=300)
    assert build.returncode == 0, build.stdout + build.stderr
    return source / "dist"


@pytest.fixture(scope="module")
def sdist(dist: Path) -> Path:
    return next(dist.glob("*.tar.gz"))


def test_the_source_distribution_holds_all_that_the_build_reads(source: Path, sdist: Path) -> None:
    """Every module, table, C source and C header of the five roots is in the source distribution."""
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [
        path.relative_to(source).as_posix()
        for root in ("client", "daemon", "align", "sampler_c", "wire")
        for kind in ("*.py", "*.pyi", "*.c", "*.h", "*.toml", "py.typed")
        for path in (source / root).rglob(kind)
    ]
    assert {"sampler_c/include/sampler.h", "sampler_c/include/np_ring.h", "LICENSE"} <= held
    assert set(wanted) <= held


def test_the_wheel_is_for_every_python_and_holds_no_sources_in_c(dist: Path) -> None:
    """One abi3 wheel holds the five typed packages and the extension, and neither C sources nor tests."""
    wheel = next(dist.glob("*.whl"))
    held = zipfile.ZipFile(wheel).namelist()
    assert "-cp310-abi3-linux_" in wheel.name
    assert {"neuralpower_sampler/_sampler.abi3.so", "neuralpower_align/model/_overlap.abi3.so"} <= set(held)
    assert {f"{package}/py.typed" for package in PACKAGES} <= set(held)
    assert "neuralpowerd/sources/boards.toml" in held
    assert not [name for name in held if name.endswith((".c", ".h")) or name.startswith("test")]
    assert {name.split("/")[0] for name in held if "dist-info" not in name} == set(PACKAGES)


def test_pip_does_not_keep_what_it_built_without_a_compiler(tmp_path: Path, sdist: Path) -> None:
    """Built without gcc the distribution installs and its client runs; installed again with gcc it has the sampler, from the same cache."""
    environment = Environment(tmp_path)
    named = f"neuralpower @ {sdist.as_uri()}"  # pip looks into its cache only when it knows the name
    output = environment.pip(named, gcc=False)
    said = [line for line in output.splitlines() if " is left out (" in line]
    assert [line.strip().partition(" is left out")[0] for line in said] == [
        "neuralpower: the C sampler",
        "neuralpower: the C part of the estimator",
    ]
    assert environment.run(environment.python.with_name("neuralpower"), "--help").returncode == 0
    assert not environment.sampler_available()

    output = environment.pip("--force-reinstall", named)
    assert environment.sampler_available(), output
    output = environment.pip("--force-reinstall", named, gcc=False)
    assert "Using cached neuralpower" in output  # the wheel with the sampler is worth keeping
    assert environment.sampler_available()


def test_the_daemon_names_the_command_that_adds_the_sampler(tmp_path: Path, sdist: Path) -> None:
    """Without the sampler neuralpowerd exits 1 with a command which fails without gcc, harming nothing, and with gcc adds the sampler."""
    environment = Environment(tmp_path)
    environment.pip(sdist, gcc=False)
    daemon = environment.run(environment.python.with_name("neuralpowerd"), "run")
    command = environment.run(
        environment.python, "-c", "import neuralpower_sampler as s; print(s.REINSTALL)"
    ).stdout.strip()
    assert daemon.returncode == 1
    assert command in daemon.stderr

    assert environment.run("/bin/sh", "-c", command, gcc=False).returncode != 0
    assert not environment.sampler_available()
    added = environment.run("/bin/sh", "-c", command)
    assert added.returncode == 0, added.stdout + added.stderr
    assert environment.sampler_available()


def test_an_editable_install_sees_modules_that_are_added_later(tmp_path: Path, source: Path) -> None:
    """After pip install -e, the five packages import from the checkout, as does a subpackage made afterwards."""
    environment = Environment(tmp_path)
    environment.pip("--editable", source)
    later = source / "client" / "neuralpower" / "added_later"
    later.mkdir()
    (later / "__init__.py").write_text("from . import module\n")
    (later / "module.py").touch()
    imports = "import " + ", ".join((*PACKAGES, "neuralpower_sampler._sampler", "neuralpower.added_later.module"))
    done = environment.run(environment.python, "-c", f"{imports}; print(neuralpower.__file__)")
    shutil.rmtree(later)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(source)
