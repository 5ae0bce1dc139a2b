"""The topics of the live socket."""

from __future__ import annotations

RAILS = b"rails"
"""The tick ring, live: batches of ticks."""
INFERENCES = b"inferences"
"""The journal, live: inferences and all that explains them (engines, epochs, clock maps, marks, events, conditions)."""
LAYERS = b"layers"
"""Per inference, where its layers lie in time and the energy between its anchors. Recomputable, so not kept."""
STATUS = b"status"
"""Once a second: what the daemon knows of itself."""
ESTIMATES = b"estimates"
"""Every few seconds, where it changed: what the layers of each engine draw, with standard errors. Recomputable, so not kept."""

TOPICS = (RAILS, INFERENCES, LAYERS, STATUS, ESTIMATES)
