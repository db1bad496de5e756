"""What optimbuild costs, beside what the other ways to build an optimizer cost: ``python -m benchmarks``."""
