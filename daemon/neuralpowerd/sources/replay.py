"""Source replay: ticks recorded before, each once; the epoch that explains them lies beside as .json."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from neuralpower_sampler import ReplaySource
from neuralpower_wire import Epoch

from ..config import Config
from ..errors import DaemonError
from .plan import Plan
from .registry import planner


@planner("replay")
def replay_plan(config: Config, _prober: object = None) -> Plan:
    """The plan that the recorded epoch tells; DaemonError where the file is not what it should be."""
    path = Path(config.replay)
    try:
        ticks = np.load(path, allow_pickle=False)
        epoch = Epoch.from_dict(json.loads(path.with_suffix(".json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise DaemonError(
            f"{path}: cannot be replayed: {error}", "it takes a .npy of ticks and its epoch as .json"
        ) from None
    names = ticks.dtype.names or ()
    if "readings" not in names or ticks["readings"].shape[1:] != (len(epoch.channels),):
        raise DaemonError(
            f"{path}: cannot be replayed: its ticks do not have the epoch's {len(epoch.channels)} readings"
        )
    return Plan(
        source="replay",
        simulated=epoch.simulated,
        board=epoch.board,
        channels=epoch.channels,
        chips=epoch.chips,
        totals=epoch.totals,
        driver=epoch.driver,
        note=f"replay of {path.name}",
        open=lambda: ReplaySource(ticks),
        period_ns=config.period_us * 1000 or epoch.period_ns,
        freshness=epoch.freshness,
        fresh_rate_hz=epoch.fresh_rate_hz,
        covers=epoch.covers,
    )
