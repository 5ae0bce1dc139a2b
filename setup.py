"""Build neuralpower: five source roots, one distribution, and two C extensions that a machine without a compiler does without."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
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


WITHOUT = {
    "neuralpower_sampler._sampler": "the C sampler is left out ({}); the client works, neuralpowerd will say how to add it",
    "neuralpower_align.model._overlap": "the C part of the estimator is left out ({}); attribute tells the same, and takes twice as long where the sensor answers slowly",
}


class BuildExtensions(build_ext):
    """Compile the extensions; where that fails, say so in one line each and go on without, unless NEURALPOWER_SAMPLER=required."""

    missing = False

    def build_extensions(self) -> None:
        super().build_extensions()
        self.extensions = [each for each in self.extensions if each.name not in self.left_out]
        self.missing = bool(self.left_out)

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except (BaseError, CCompilerError, OSError) as error:
            if os.environ.get("NEURALPOWER_SAMPLER") == "required":
                raise
            print(f"neuralpower: {WITHOUT[ext.name].format(error)}", flush=True)
            Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)  # an earlier build's
            self.left_out.append(ext.name)

    def initialize_options(self) -> None:
        super().initialize_options()
        self.left_out: list[str] = []


class BuildWheel(bdist_wheel):
    """One abi3 wheel; without the sampler, a name that pip installs once and never takes from its cache (docs/decisions/0001)."""

    def run(self) -> None:
        super().run()
        if self.get_finalized_command("build_ext").missing:
            platform = "any" if "UV" in os.environ else "without_sampler"  # uv installs no wheel of an unknown platform
            for wheel in Path(self.dist_dir).glob(f"{self.wheel_dist_name}-{'-'.join(self.get_tag())}.whl"):
                wheel.rename(wheel.with_name(f"{self.wheel_dist_name}-py3-none-{platform}.whl"))


setup(
    package_dir={package: f"{root}/{package}" for package, root in ROOTS.items()},
    packages=[
        name for package, root in ROOTS.items() for name in find_packages(root, include=[package, f"{package}.*"])
    ],
    include_package_data=False,
    package_data={
        "": ["py.typed", "*.pyi"],
        "neuralpower.models.packaged": ["*.json"],
        "neuralpower.report": ["*.html", "*.css", "*.js"],
        "neuralpowerd.sources": ["*.toml"],
    },
    cffi_modules=[
        "sampler_c/neuralpower_sampler/_build.py:ffibuilder",
        "align/neuralpower_align/model/_build.py:ffibuilder",
    ],
    cmdclass={"build_ext": BuildExtensions, "bdist_wheel": BuildWheel},
    options={} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
