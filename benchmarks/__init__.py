"""What the sampler and the daemon cost, beside the least that a C loop can do: `make bench`, explained in docs/benchmarks.md."""
