"""Build neuralpower: five source roots, one distribution, one C extension that a machine without a compiler does without."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.errors import BaseError, CCompilerError

ROOTS = {
    "neuralpower": "client",
    "neuralpowerd": "daemon",
    "neuralpower_align": "align",
    "neuralpower_sampler": "sampler_c",
    "neuralpower_wire": "wire",
}


class BuildSampler(build_ext):
    """Compile the sampler; where that fails say so in one line and go on without it, unless NEURALPOWER_SAMPLER=required."""

    missing = False

    def build_extensions(self) -> None:
        try:
            super().build_extensions()
        except (BaseError, CCompilerError) as error:
            if os.environ.get("NEURALPOWER_SAMPLER") == "required":
                raise
            print(f"neuralpower: built without the C sampler ({error}): the client works, neuralpowerd does not", flush=True)
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)  # one that an earlier build left behind
            self.extensions.clear()
            self.missing = True


class Wheel(bdist_wheel):
    """One wheel for every CPython; the one without the sampler gets a name that no installer takes from its cache."""

    def get_tag(self) -> tuple[str, str, str]:
        if self.get_finalized_command("build_ext").missing:
            return ("py3", "none", "without_sampler")
        return super().get_tag()


setup(
    package_dir={package: f"{root}/{package}" for package, root in ROOTS.items()},
    packages=[name for package, root in ROOTS.items() for name in find_packages(root, include=[package, f"{package}.*"])],
    include_package_data=False,
    package_data={"": ["py.typed", "*.pyi"]},
    cffi_modules=["sampler_c/neuralpower_sampler/_build.py:ffibuilder"],
    cmdclass={"build_ext": BuildSampler, "bdist_wheel": Wheel},
    options={} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
