"""The page put together and written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuralpower import __version__
from neuralpower.attribution import Attribution
from neuralpower.dataset import Dataset
from neuralpower.files import write_whole
from neuralpower.interval import MEANING
from neuralpower.models.network import NetworkPrediction
from neuralpower.models.six import SixModels
from neuralpower.recordings.recording import Recording
from neuralpower.report import conditions, measured, modelled
from neuralpower.report.blocks import Headline, Page, fixed, percent
from neuralpower.report.counterparts import engine_of


def write_report(
    path: str | os.PathLike[str],
    *,
    recording: Recording | None = None,
    attribution: Attribution | None = None,
    models: SixModels | None = None,
    evaluation: Dataset | None = None,
    predictions: Sequence[NetworkPrediction] = (),
    provenance: Mapping[str, Any] | None = None,
    title: str = "",
    true_w: Mapping[str, Sequence[float]] | None = None,
) -> Path:
    """Write one self-contained HTML page about what is given; what is not given has no section.

    evaluation: measured layers to set the models against. predictions: of networks; one that `attribution` has measured
    is set beside its measurement. provenance: further facts, label -> value. true_w: engine's hash -> true power of each layer, W,
    for a simulated device. Raises Failure where the file cannot be written.
    """
    page = compose(recording, attribution, models, evaluation, predictions, provenance or {}, title, true_w)
    write_whole(path, render(page).encode(), "the report")
    return Path(path)


def render(page: Page) -> str:
    """The page as HTML; everything that comes from outside is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = Path(__file__).parent
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((here / "page.html").read_text(encoding="utf-8"))
    style = Markup((here / "style.css").read_text(encoding="utf-8"))
    return template.render(vars(page), style=style, version=__version__)


def compose(
    recording: Recording | None,
    attribution: Attribution | None,
    models: SixModels | None,
    evaluation: Dataset | None,
    predictions: Sequence[NetworkPrediction],
    provenance: Mapping[str, Any],
    title: str,
    true_w: Mapping[str, Sequence[float]] | None = None,
) -> Page:
    """Decide what is on the page."""
    simulated = any(
        [
            recording is not None and recording.simulated,
            attribution is not None and attribution.simulated,
            models is not None and models.simulated_,
            evaluation is not None and evaluation.simulated,
            bool(provenance.get("simulated")),
        ]
    )
    name = title or (recording.directory.name if recording is not None else "Models of layers")
    page = Page(name, _lead(recording, attribution, models), simulated)
    page.figures = _headlines(recording, attribution, models, predictions)
    table = modelled.networks(predictions, attribution) if attribution is not None else None
    page.sections += [table] if table is not None else []
    for prediction in predictions:
        page.sections.append(modelled.predicted(prediction, models, attribution))
    if models is not None:
        page.sections.append(modelled.six_models(models))
        if evaluation is not None:
            page.sections.append(modelled.compared(models, evaluation))
    if attribution is not None:
        page.sections += measured.layers(attribution, true_w)
    if recording is not None:
        rails = measured.rails(recording, attribution)
        page.sections += [*([rails] if rails else []), measured.sampling(recording), measured.losses(recording)]
    if models is not None:
        page.sections.append(modelled.coefficients(models))
    page.sections.append(conditions.section(recording, models, provenance))
    return page


def _lead(recording: Recording | None, attribution: Attribution | None, models: SixModels | None) -> str:
    parts = []
    if recording is not None:
        boards = {epoch.board for stream in recording.streams for epoch in recording.epochs(stream)}
        parts.append(
            f"{fixed(recording.duration_s, 0)} s of power on {', '.join(sorted(boards)) or 'an unknown board'}"
        )
    if attribution is not None:
        networks = sum(not engine.repeated for engine in attribution.engines.values())
        repeated = len(attribution.engines) - networks
        named = f"{networks} network{'s' * (networks != 1)}"
        silent = f", {len(attribution.withheld)} withheld" if attribution.withheld else ""
        parts.append((f"{named} and {repeated} repeated layers" if repeated else named) + silent)
    if models is not None:
        parts.append(f"{len(models.models_)} models fitted to {models.rows_} layers")
    said = "; ".join(parts) + "." if parts else ""
    return f"{said} {MEANING}." if attribution is not None else said


def _headlines(
    recording: Recording | None,
    attribution: Attribution | None,
    models: SixModels | None,
    predictions: Sequence[NetworkPrediction],
) -> list[Headline]:
    found = []
    for prediction in predictions[:1]:
        engine = engine_of(prediction, attribution)
        if engine is not None and engine.energy_per_inference_j > 0 and prediction.energy_j is not None:
            error = prediction.energy_j / engine.energy_per_inference_j - 1
            found.append(
                Headline(f"energy of {prediction.name}, predicted", percent(error, sign=True), "off the measured")
            )
    if models is not None and ("conv", "runtime") in models.models_:
        for target in ("runtime", "power"):
            model = models.models_.get(("conv", target))
            if model:
                found.append(
                    Headline(f"conv {target}, RMSPE on held-out folds", percent(model.cross_validation.score.rmspe))
                )
    if attribution is not None:
        networks = [engine for engine in attribution.engines.values() if not engine.repeated]
        told = [engine for engine in networks if not engine.withheld]
        if told:
            units, layers = (sum(counts) for counts in zip(*((e.units, len(e.layers)) for e in told), strict=True))
            found.append(Headline("units told apart in networks", f"{units}", f"of {layers} layers"))
        if len(told) < len(networks):
            found.append(Headline("networks withheld", f"{len(networks) - len(told)}", f"of {len(networks)}"))
    if recording is not None and recording.streams:
        every = [recording.tick_statistics(stream) for stream in recording.streams]
        most = max(every, key=lambda each: each.ticks)
        found.append(Headline("ticks", fixed(float(sum(s.ticks for s in every)), 0), f"at {fixed(most.rate_hz, 0)} Hz"))
        found.append(
            Headline(
                "ticks lost", f"{sum(s.lost for s in every)}", f"{sum(s.missed_slots for s in every)} missed slots"
            )
        )
    return found
