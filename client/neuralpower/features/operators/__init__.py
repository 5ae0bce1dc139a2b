"""A network as operators with static shapes, and which of them run as one layer."""
