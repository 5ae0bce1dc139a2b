"""The accuracy tables of the layer models: what they draw, hold out and sum up."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.accuracy.models_devices import FAMILIES, SCATTER, Device, workload
from benchmarks.accuracy.models_labels import DIRECT_SE, attributed
from benchmarks.accuracy.models_public import by_octave
from benchmarks.accuracy.models_trial import over_seeds

from neuralpower.dataset import dataset_of, row
from neuralpower.features import Layer
from neuralpower.models.rows import rows_of
from neuralpower.models.validation.score import rmspe
from neuralpower.virtual.networks.known import NETWORKS


@pytest.fixture(scope="module")
def device() -> Device:
    return Device.drawn(3, quick=True)


def test_every_network_is_in_one_family() -> None:
    """Families are held out whole, so each network of the zoo is in exactly one."""
    members = [name for family in FAMILIES.values() for name in family]
    assert sorted(members) == sorted(NETWORKS)


def test_a_device_follows_from_its_seed(device: Device) -> None:
    """The same seed draws the same truth, another seed another; equal layers of a device cost the same."""
    again, other = Device.drawn(3, quick=True), Device.drawn(4, quick=True)
    np.testing.assert_array_equal(again.truth["runtime"], device.truth["runtime"])
    assert (other.truth["runtime"] != device.truth["runtime"]).any()
    shapes: dict[object, set[float]] = {}
    for (_, layer), seconds in zip(workload(True), device.truth["runtime"].tolist(), strict=True):
        shapes.setdefault(layer.shape, set()).add(seconds)
    assert all(len(values) == 1 for values in shapes.values())


def test_the_noise_floor_is_the_scatter(device: Device) -> None:
    """Who knows the formulas but not the luck errs by about the scatter that was drawn."""
    for target, scatter in SCATTER.items():
        assert rmspe(device.known[target], device.truth[target]) == pytest.approx(scatter, rel=0.2)


def test_attributed_labels_come_from_recordings(device: Device) -> None:
    """Row for row the same layers; short ones share the power of a unit; energy is what it was; none is dropped; a sweep errs little."""
    exact = device.exact.where(network=("resnet18", *set(device.exact.where(origin="sweep")["network"].tolist())))
    labels = attributed(exact, device.idle_w, 3)
    assert labels["layer"].tolist() == exact["layer"].tolist()
    swept = exact["origin"] == "sweep"
    assert any("unit of" in method for method in labels["method"][~swept].tolist())
    energy = [float((each["power_w"] * each["runtime_s"])[~swept].sum()) for each in (labels, exact)]
    assert energy[0] == pytest.approx(energy[1], rel=0.05)
    assert labels["runtime_s"][~swept] == pytest.approx(exact["runtime_s"][~swept].astype(float), rel=0.02, abs=1e-7)
    off = labels["power_w"][swept].astype(float) / exact["power_w"][swept].astype(float) - 1
    assert 0.5 * DIRECT_SE < np.sqrt(np.mean(off**2)) < 2 * DIRECT_SE
    power = rows_of(labels, "conv", "power")
    assert len(power) + power.unresolved == int((exact["kind"] == "conv").sum())
    assert power.unresolved == 0


def test_octaves_are_held_out_together() -> None:
    """Layers of one octave of side and channels have one name, whatever their exact sizes."""
    sides = ((64, 14), (127, 15), (128, 14), (64, 16))
    layers = [Layer("x", "conv", 1, c, side, side, 8, side, side) for c, side in sides]
    dataset = dataset_of([row(layer, network="n", origin="import", runtime_s=1.0) for layer in layers], {})
    names = by_octave(dataset)["network"].tolist()
    assert names[0] == names[1] == "8 pixels, 64 channels"
    assert len(set(names)) == 3


def test_summaries_are_medians_with_the_range() -> None:
    """Three seeds give the middle one, the least and the greatest; what is not known stays out."""
    rows = [
        {"table": "t", "layer_type": "conv", "target": "power", "model": "ours", "rmspe": error, "median_ape": 0.1, "terms": terms,
         "without_worst": None, "coverage": 0.9, "rows": 5}
        for error, terms in ((0.3, 10.0), (0.1, None), (0.2, 30.0))
    ]  # fmt: skip
    (one,) = over_seeds(rows)
    assert (one["rmspe"], one["rmspe_low"], one["rmspe_high"], one["terms"]) == (0.2, 0.1, 0.3, 20.0)
    assert one["without_worst"] is None and one["seeds"] == 3
