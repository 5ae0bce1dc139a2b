"""The tests, and the simulated worlds in which they and the benchmarks judge (tests/worlds)."""
