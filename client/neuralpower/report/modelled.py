"""Sections about models: their errors, what they predict, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from markupsafe import Markup

from neuralpower.attribution import Attribution, LayerPower
from neuralpower.dataset import Dataset
from neuralpower.interval import Z95
from neuralpower.models.judging.evaluation import network_errors, scores
from neuralpower.models.judging.published import PUBLISHED
from neuralpower.models.network import NetworkPrediction
from neuralpower.models.rows import fingerprint, networks_of, rows_of
from neuralpower.models.six import LayerModel, SixModels
from neuralpower.ranking import PredictedValue, sums
from neuralpower.report import plots
from neuralpower.report.blocks import DASH, Block, Facts, Figure, Heading, Row, Section, Table, fixed, number, percent
from neuralpower.report.counterparts import engine_of, layers_of
from neuralpower.report.energy_plot import energy_bars, measured_stack, predicted_stack
from neuralpower.report.plots import PredictionPair

SHOWN_TERMS = 40
PAPER_ACCURACIES = (0.8824, 0.8834, 0.9721)
"""Runtime, power, energy of whole networks, from the abstract of Cai et al. 2017 (arXiv:1710.05420)."""
_SCALE = {"runtime": (1e3, "ms"), "power": (1.0, "W")}


def six_models(models: SixModels) -> Section:
    """The table of the six models, with what was published elsewhere."""
    rows = []
    for (kind, target), model in models.models_.items():
        cv, (scale, unit) = model.cross_validation, _SCALE[target]
        cells = [f"{kind} {target}", f"{len(model.polynomial.terms)}", f"{model.polynomial.degree}", f"{cv.score.rows}"]
        spread = f"{percent(cv.low, 0)} to {percent(cv.high, 0)}"
        rmse = f"{number(cv.score.rmse * scale, 3)} {unit}"
        errors = [percent(cv.score.rmspe), spread, percent(cv.without_worst), percent(cv.score.median_ape), rmse]
        rows.append(Row([*cells, *errors, percent(cv.coverage, 0)], "same"))
        for row in PUBLISHED:
            if (row.kind, row.target) == (kind, target):
                quoted = [f"{row.rmspe_percent:.2f} %", "", "", "", f"{number(row.rmse, 3)} {unit}", ""]
                rows.append(Row([row.source, f"{row.terms}", "", "", *quoted], "context"))
    missing = ["", "", "", "", ""]
    rows += [Row([f"{k} {t}", DASH, DASH, DASH, reason, *missing]) for (k, t), reason in models.skipped_.items()]
    grouped = ", ".join(sorted({model.cross_validation.grouped_by for model in models.models_.values()}))
    caption = (
        f"Ours: {models.folds} folds grouped by {grouped}, degree and penalty chosen anew in each; the errors to expect. Grey: published "
        "errors on other boards and other layers, on rows that the models were fitted to. They are context, not a comparison. Within: "
        "held-out layers inside their 90 % interval."
    )
    columns = ["model", "terms", "degree", "rows", "RMSPE", "by fold", "without ten", "median", "RMSE", "within"]
    facts = [
        ("fitted to", f"{models.rows_} layers of {len(models.networks_)} networks and repeated layers"),
        ("devices", ", ".join(models.devices_) or DASH),
        ("data", f"sha256 {models.sha256_[:16]}…"),
    ]
    return Section("Six models", [Table(columns, rows, range(1, 10), caption), *_energy(models), Facts(facts)])


def _energy(models: SixModels) -> list[Block]:
    """Energy as power times runtime beside a model of energy itself, on the same folds."""
    rows = [
        Row([f"{kind} energy", percent(e.product.score.rmspe), percent(e.direct.score.rmspe), f"{e.direct_terms}"])
        for kind, e in models.energy_.items()
    ]
    columns = ["on held-out folds", "RMSPE, power × runtime", "RMSPE, fitted directly", "its terms"]
    return [Table(columns, rows, range(1, 4))] if rows else []


def compared(models: SixModels, dataset: Dataset) -> Section:
    """Predicted against measured, per layer and per network."""
    blocks: list[Block] = []
    panels = {title: pairs for title, pairs in pairs_of(models, dataset).items() if pairs}
    if panels:
        caption = (
            "Each point is a layer, or a unit of layers measured together, with the 95 % interval of its measurement across and the 90 % interval of its prediction upright; "
            "the band is plus and minus 20 %. "
            f"{_seen(models, dataset)}"
        ).rstrip()
        svg = plots.inline(plots.scatter(panels), "scatter", "predicted against measured values of all layers")
        blocks.append(Figure(Markup(svg), caption))
        blocks.append(_by_type(models, dataset))
    errors = network_errors(models, dataset)
    if errors:
        rows_ = [
            Row(
                [
                    e.network,
                    f"{e.layers}",
                    percent(e.runtime, sign=True),
                    percent(e.energy, sign=True),
                    "yes" if e.trained_on else "no",
                ]
            )
            for e in errors
        ]
        caption = "Sums over the layers of each network that have both models and both measurements."
        blocks.append(
            Table(["network", "layers", "runtime error", "energy error", "trained on"], rows_, (1, 2, 3), caption)
        )
    return Section("Predicted and measured", blocks)


def pairs_of(models: SixModels, dataset: Dataset) -> dict[str, list[PredictionPair]]:
    """Panel (``runtime, ms``) -> a point for each layer; layers that were measured together are one."""
    panels: dict[str, list[PredictionPair]] = {}
    for (kind, target), model in models.models_.items():
        rows, (scale, unit) = rows_of(dataset, kind, target), _SCALE[target]
        found = panels.setdefault(f"{target}, {unit}", [])
        if not len(rows):
            continue
        merged = rows.merged
        low, high = model.predict_interval(rows.layers)
        half = Z95 * merged.first(rows.relative_se) * merged.first(rows.y)
        predicted = [merged.mean(each) for each in (model.predict(rows.layers), low, high)]
        columns = [merged.first(rows.y), predicted[0], np.where(half > 0, half, np.nan), *predicted[1:]]
        found += [
            PredictionPair(kind, *map(float, pair))
            for pair in zip(*(scale * column for column in columns), strict=True)
        ]
    return panels


def _by_type(models: SixModels, dataset: Dataset) -> Table:
    """Errors on these layers by type and target."""
    rows = []
    for (kind, target), score in scores(models, dataset).items():
        scale, unit = _SCALE[target]
        cells = [f"{kind} {target}", f"{score.rows}", percent(score.rmspe), percent(score.median_ape)]
        rows.append(Row([*cells, f"{number(score.rmse * scale, 3)} {unit}"]))
    caption = "Of the layers above. RMSPE is the root of the mean squared relative error."
    return Table(["layers", "rows", "RMSPE", "median error", "RMSE"], rows, range(1, 5), caption)


def _seen(models: SixModels, dataset: Dataset) -> str:
    """What of the dataset the models were fitted to, as a sentence."""
    if fingerprint(dataset) == models.sha256_:
        return "The models were fitted to these layers."
    networks = networks_of(dataset)
    trained = len(networks & set(models.networks_))
    if len(networks) < 2:
        return f"The models were {'fitted' if trained else 'not fitted'} to this network." if networks else ""
    return f"The models were fitted to {trained or 'none'} of these {len(networks)} networks."


def networks(predictions: Sequence[NetworkPrediction], attribution: Attribution) -> Section | None:
    """The paper's table of networks: accuracies, 1 - |error|, of runtime, power and energy. None where nothing was measured."""
    engines = {p.name: engine for p in predictions if (engine := engine_of(p, attribution)) is not None}
    rows, accuracies = [], []
    for p in predictions:
        e = engines.get(p.name)
        if (
            e is None
            or p.runtime_s is None
            or p.power_w is None
            or p.energy_j is None
            or not e.energy_per_inference_j > 0
        ):
            continue
        pairs = [
            (p.runtime_s, e.runtime_s, 1e3),
            (p.power_w, e.power_w, 1.0),
            (p.energy_j, e.energy_per_inference_j, 1e3),
        ]
        found = [1 - abs(value / truth - 1) for value, truth, _ in pairs]
        shown = [number(scale * each) for value, truth, scale in pairs for each in (value, truth)]
        rows.append(Row([p.name, *(cell for i in range(3) for cell in (*shown[2 * i : 2 * i + 2], percent(found[i])))]))
        accuracies.append(found)
    if not rows:
        return None
    means = [percent(float(np.mean(column))) for column in zip(*accuracies, strict=True)]
    rows.append(Row(["mean", *(cell for mean in means for cell in ("", "", mean))]))
    paper = [percent(value, 2) for value in PAPER_ACCURACIES]
    rows.append(Row(["NeuralPower, Titan X (2017)", *(cell for mean in paper for cell in ("", "", mean))], "context"))
    columns = [c for what in ("runtime, ms", "power, W", "energy, mJ") for c in (what, "measured", "accuracy")]
    caption = "Predicted, measured, and 1 − |error|. Sums over layers under the profiler. Grey: the paper's own networks and board, for context."
    silent = [p.name for p in predictions if p.name in engines and engines[p.name].withheld]
    caption += f" Not here, their measurement withheld: {', '.join(silent)}." if silent else ""
    return Section(
        "Networks that the models have not seen", [Table(["network", *columns], rows, range(1, 10), caption)]
    )


def predicted(prediction: NetworkPrediction, models: SixModels | None, attribution: Attribution | None) -> Section:
    """A network's prediction, beside its measurement where there is one."""
    measured = engine_of(prediction, attribution)
    held_out = models is not None and prediction.name not in models.networks_
    rows = []
    runtime, energy = sums(prediction)
    values: Sequence[tuple[str, float | None, PredictedValue | None, float | None, float]] = (
        ("runtime, ms", prediction.runtime_s, runtime, measured.runtime_s if measured else None, 1e3),
        ("power, W", prediction.power_w, None, measured.power_w if measured else None, 1.0),
        ("energy, mJ", prediction.energy_j, energy, measured.energy_per_inference_j if measured else None, 1e3),
    )
    for label, value, ends, truth, scale in values:
        known = value is not None and truth
        error = value / truth - 1 if value is not None and truth else None
        shown = number(truth * scale) if truth else DASH
        rows.append(
            Row(
                [
                    label,
                    number(value * scale if value is not None else None),
                    f"{number(ends.low * scale)} to {number(ends.high * scale)}" if ends else DASH,
                    shown,
                    percent(error, sign=True) if known else DASH,
                ]
            )
        )
    covered = f"{len(prediction.covered)} of {len(prediction.layers)} layers have both models"
    stands = (
        f"; {prediction.remainder_layers} other layers count with the mean of such layers"
        if prediction.remainder
        else ""
    )
    missing = "".join(f"; {count} {reason}" for reason, count in prediction.missing.items())
    missing += (
        f". Measured power and energy are withheld: {measured.withheld}" if measured and measured.withheld else ""
    )
    blocks: list[Block] = [
        Table(["", "predicted", "interval", "measured", "error"], rows, (1, 2, 3, 4), f"{covered}{stands}{missing}.")
    ]
    stacks = [
        predicted_stack(prediction, "predicted"),
        *([replace(measured_stack(measured), label="measured")] if measured else []),
    ]
    bars = plots.inline(
        energy_bars(stacks), f"energy-{prediction.name}", f"energy of {prediction.name} by kind of layer"
    )
    blocks.append(Figure(Markup(bars), "Where the energy goes; other: layers without a model, each as the mean one."))
    blocks.append(_predicted_layers(prediction, layers_of(prediction, measured)))
    text = (
        "The models were fitted to other networks, which may have layers equal to some of its own." if held_out else ""
    )
    return Section(f"{'Held out: ' if held_out else 'Predicted: '}{prediction.name}", blocks, text)


def _predicted_layers(prediction: NetworkPrediction, measured: Sequence[LayerPower | None]) -> Table:
    rows = []
    for p, m in zip(prediction.layers, measured, strict=True):
        pairs = [(p.runtime_s, "runtime_s", 1e6, 2), (p.power_w, "power_w", 1.0, 2), (p.energy_j, "energy_j", 1e3, 4)]
        cells = []
        for value, field, scale, places in pairs:
            cells.append(fixed(value * scale if value is not None else None, places))
            cells.append(fixed(getattr(m, field) * scale if m else None, places))
        note = p.reason or ("extrapolated: " + "; ".join(p.outside) if p.outside else "")
        rows.append(Row([p.layer.name[:70], p.layer.kind, *cells, note]))
    columns = ["layer", "kind", "runtime, µs", "measured", "power, W", "measured", "energy, mJ", "measured", "note"]
    return Table(columns, rows, range(2, 8), folded=f"all {len(rows)} layers")


def coefficients(models: SixModels) -> Section:
    """The models written out, the terms that move predictions most first."""
    blocks: list[Block] = []
    for (kind, target), model in models.models_.items():
        blocks += [Heading(f"{kind} {target}"), _formula(model)]
    text = "A prediction is the intercept plus each coefficient times its term. The effect is what one standard deviation of the term moves."
    return Section("Inside the models", blocks, text)


def _formula(model: LayerModel) -> Table:
    scale, unit = _SCALE[model.target]
    polynomial = model.polynomial
    listed = sorted(
        zip(polynomial.terms, polynomial.coefficients, polynomial.scales, strict=True),
        key=lambda item: -abs(item[1] * item[2]),
    )
    rows = [Row(["intercept", f"{polynomial.intercept * scale:.4g}".replace("-", "−"), ""])]
    for term, coefficient, spread in listed[:SHOWN_TERMS]:
        effect = f"{coefficient * spread * scale:+.3g}".replace("-", "−")
        rows.append(Row([term.name, f"{coefficient * scale:.4g}".replace("-", "−"), effect]))
    more = len(listed) - SHOWN_TERMS
    caption = f"{more} more terms of smaller effect are in the model file." if more > 0 else ""
    return Table(
        ["term", f"coefficient, {unit}", f"effect, {unit}"],
        rows,
        (1, 2),
        caption,
        f"{len(listed)} terms, degree {polynomial.degree}",
    )
