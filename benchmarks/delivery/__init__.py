"""What reaches a client: ticks a second, their cost, and how late they are."""
