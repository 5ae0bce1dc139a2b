"""One self-contained page about a recording, its attribution and models."""

from __future__ import annotations

from neuralpower.report.write import write_report

__all__ = ["write_report"]
