"""How a reading answers to power, and power that is read directly."""
