"""What the ring costs beside one for a single reader."""
