"""Models that come with the package: fitted to measurements on real hardware that others can have too, and named for what they are."""

from __future__ import annotations

from pathlib import Path

PACKAGED = {
    "h200-cudnn": "NVIDIA H200 under PyTorch and cuDNN: 646 convolutions, pools and fully connected layers, FP16 and FP32",
    "neurstrucenergy-conv": "an unnamed board (idle 1.7 W): the 999 convolutions of NeurstrucEnergy (MIT licence), one image, precision not told",
}
"""Name -> what it was fitted to. docs/models.md says how each is made."""


def packaged(name: str) -> Path | None:
    """The file of the model of that name; None where none is called so."""
    return Path(__file__).with_name(f"{name}.json") if name in PACKAGED else None
