"""What is told: units, energies, intervals, and reasons to withhold."""
