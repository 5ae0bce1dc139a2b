"""The virtual device: a simulated Jetson that runs described networks in real time over the power timeline.

Everything in here is a simulation, and whatever comes of it is marked so.
"""

from __future__ import annotations
