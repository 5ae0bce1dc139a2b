"""Dataset rows from a recording: its attribution joined with the layers' geometry."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from neuralpower.attribution import Attribution, EngineAttribution, attributed
from neuralpower.dataset import Dataset, concat, dataset_of, row
from neuralpower.dataset_networks import KEY, described
from neuralpower.errors import InputError
from neuralpower.features.layers import Layer
from neuralpower.recordings.conditions import EngineConditions, conditions_of
from neuralpower.recordings.recording import Recording


def collect(
    recordings: Sequence[Recording],
    method: str = "least-squares",
    *,
    told: Callable[[float], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """The measured layers of recordings as one dataset, from results that are kept beside them where there are.

    told, say: as of :func:`~neuralpower.attribution.attributed`, `say` once for each recording. Raises InputError, ValueError as that and `concat` do.
    """
    rows = []
    for number, recording in enumerate(recordings):

        def share(done: float, before: int = number) -> None:
            if told is not None:
                told((before + done) / len(recordings))

        try:
            found = attributed(recording, method, told=share, say=say)
        except InputError as error:  # of several the one that holds nothing to attribute is named
            raise InputError(f"{recording.directory}: {error}") from None
        rows.append(rows_of(found, str(recording.directory), conditions_of(recording)))
    return concat(rows)


def rows_of(attribution: Attribution, source: str, conditions: Mapping[str, EngineConditions] | None = None) -> Dataset:
    """The measured layers of an attribution, with where they came from.

    A network has a row for each layer, a repeated-layer engine one row altogether. A layer that shares its unit keeps its
    own runtime and has the unit's power with the wider standard error; one whose power is withheld keeps its runtime and has the reason
    in `withheld`; none is dropped. Copies of the same engine that ran
    under one name are told apart by `engine`. conditions: what the GPU was like while each engine ran, by its hash.
    """
    rows = []
    states = conditions or {}
    for engine in attribution.engines.values():
        for position, layer in enumerate(engine.layers):
            geometry = layer.geometry or Layer(layer.name, "unclassified", note="the engine does not tell its geometry")
            rows.append(
                row(
                    geometry,
                    network=engine.name,
                    position=position,
                    origin="sweep" if engine.repeated else "network",
                    runtime_s=layer.runtime_s,
                    runtime_se_s=layer.runtime_se_s,
                    power_w=layer.power_w,
                    power_se_w=layer.power_se_w,
                    energy_j=layer.energy_j,
                    energy_se_j=layer.energy_se_j,
                    count=layer.count,
                    method=_method(engine, layer.members),
                    withheld=layer.withheld,
                    engine=engine.hash,
                    device=attribution.board,
                    simulated=attribution.simulated or engine.simulated,
                    **asdict(states.get(engine.hash, EngineConditions())),
                )
            )
    provenance = {
        "recording": source,
        "method": attribution.method,
        "device": attribution.board,
        "simulated": attribution.simulated,
        "notes": list(attribution.notes),
    }
    if attribution.method == "least-squares":
        provenance |= {
            "delay_s": attribution.delay_s,
            "lag_s": attribution.lag_s,
            "idle_power_w": {"between engines": attribution.idle_power_w},
            KEY: [each for each in map(described, attribution.engines.values()) if each is not None],
        }
    return dataset_of(rows, provenance)


def _method(engine: EngineAttribution, members: int) -> str:
    return f"{engine.method}, unit of {members}" if members > 1 else engine.method
