"""Build neuralpower: five source roots, one distribution, and one C extension that a machine without a compiler does without."""

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
    """Compile the sampler; where that fails, say so in one line and go on without it, unless NEURALPOWER_SAMPLER=required."""

    missing = False

    def build_extensions(self) -> None:
        try:
            super().build_extensions()
        except (BaseError, CCompilerError, OSError) as error:
            if os.environ.get("NEURALPOWER_SAMPLER") == "required":
                raise
            print(
                f"neuralpower: the C sampler is left out ({error}); the client works, neuralpowerd will say how to add it",
                flush=True,
            )
            for extension in self.extensions:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)  # an earlier build's
            self.extensions.clear()
            self.missing = True


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
    cffi_modules=["sampler_c/neuralpower_sampler/_build.py:ffibuilder"],
    cmdclass={"build_ext": BuildSampler, "bdist_wheel": BuildWheel},
    options={} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
