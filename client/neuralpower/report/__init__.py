"""One self-contained page about a recording, its attribution and models."""

from __future__ import annotations
