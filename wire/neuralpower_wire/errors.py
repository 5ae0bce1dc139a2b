"""The one way in which bytes of others are refused."""

from __future__ import annotations


class WireError(ValueError):
    """A message or document breaks the format; the text says what. Nothing of it may be used."""


class VersionError(WireError):
    """A message is of another version: the two ends will never understand each other."""

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__(
            f"the other end speaks version {theirs} of the wire and this one version {ours}: "
            "install the same neuralpower on both"
        )
