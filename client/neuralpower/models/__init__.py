"""Sparse polynomial models of a layer's runtime and power, and what follows from them for a network."""

from __future__ import annotations
