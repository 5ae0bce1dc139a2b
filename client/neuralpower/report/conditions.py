"""The section that lets somebody else repeat it: device, sampling, conditions during the run, software, data, seeds."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any

from neuralpower import __version__
from neuralpower.models.six import SixModels
from neuralpower.recordings.recording import Recording
from neuralpower.report.blocks import DASH, Block, Facts, Heading, Row, Section, Table, number
from neuralpower_wire import Epoch, Kind

MOST_CONDITIONS = 60
_PACKAGES = ("numpy", "scikit-learn", "pyarrow")
_DEVICE = ("board", "model", "jetpack", "l4t", "tensorrt", "cuda", "kernel", "power_mode", "clocks_locked")
"""Conditions that a reader asks for first; those not recorded are shown as not known."""


def section(recording: Recording | None, models: SixModels | None, provenance: Mapping[str, Any]) -> Section:
    """Conditions and provenance of what is on the page."""
    blocks: list[Block] = []
    seen: dict[str, list[Any]] = {}
    if recording is not None:
        for part in recording.record_parts(Kind.CONDITION):
            for record in part:
                for name, value in record.body.items():
                    seen.setdefault(str(name), []).append(value)
        blocks += [Heading("Device"), Facts(list(_device(recording, seen)))]
        blocks += [Heading("Sampling"), Facts(list(_sampling(recording)))]
        rows = [Row([name, *_spread(values)]) for name, values in seen.items() if name not in _DEVICE]
        if rows:
            caption = f"As the daemon wrote them down, {max(map(len, seen.values()))} times."
            table = Table(
                ["condition", "first", "least", "most"],
                rows[:MOST_CONDITIONS],
                (1, 2, 3),
                caption,
                "conditions during the run",
            )
            blocks.append(table)
    facts = [("neuralpower", __version__), ("Python", platform.python_version())]
    facts += [(name, _version(name)) for name in _PACKAGES]
    if models is not None:
        facts += [
            (
                "models",
                f"{models.folds} folds, seed {models.seed}, fitted to sha256 {models.sha256_[:16]}… ({models.rows_} rows)",
            ),
            ("trained on", ", ".join(models.networks_) or DASH),
        ]
    facts += [(str(key), "yes" if value is True else str(value)) for key, value in provenance.items()]
    blocks += [Heading("Software and data"), Facts(facts)]
    return Section("Conditions and provenance", blocks)


def _device(recording: Recording, seen: Mapping[str, list[Any]]) -> Iterable[tuple[str, str]]:
    epochs = _epochs(recording)
    yield "board", ", ".join(dict.fromkeys(epoch.board for epoch in epochs)) or DASH
    yield (
        "power",
        "simulated: power from a chip and a device in software" if recording.simulated else "measured",
    )
    for name in _DEVICE[1:]:
        if name in seen:
            yield name.replace("_", " "), ", ".join(dict.fromkeys(map(str, seen[name])))
    missing = [name for name in ("jetpack", "tensorrt", "power_mode", "clocks_locked") if name not in seen]
    if missing:
        yield "not recorded", ", ".join(name.replace("_", " ") for name in missing)


def _sampling(recording: Recording) -> Iterable[tuple[str, str]]:
    yield (
        "recording",
        f"{recording.directory.name}, created {recording.document.created} by neuralpower {recording.document.neuralpower}",
    )
    for epoch in _epochs(recording):
        chips = ", ".join(
            f"{c.name} shunt {c.shunt_conversion_us} µs, bus {c.bus_conversion_us} µs, averaging {c.averaging}"
            for c in epoch.chips
        )
        text = f"source {epoch.source}, driver {epoch.driver or DASH}, every {epoch.period_ns / 1e6:g} ms; {chips or 'no chip known'}"
        yield f"epoch {epoch.number}", text + (f"; {epoch.note}" if epoch.note else "")


def _epochs(recording: Recording) -> list[Epoch]:
    return [epoch for stream in recording.streams for epoch in recording.epochs(stream)]


def _spread(values: list[Any]) -> tuple[str, str, str]:
    """The first value, and the least and the most where they are numbers that moved."""
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < len(values) or min(numbers) == max(numbers):
        others = list(dict.fromkeys(str(value) for value in values))
        return (_plain(numbers[0]) if numbers else ", then ".join(others[:4])), "", ""
    return _plain(values[0]), _plain(min(numbers)), _plain(max(numbers))


def _plain(value: int | float) -> str:
    return f"{value}" if isinstance(value, int) else number(value)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return DASH
