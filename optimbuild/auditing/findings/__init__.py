"""What an audit looks for in groups, one file per family. Each function registers itself under its id."""

from optimbuild.auditing.findings import grouping, kernels, membership, options, rates, state, statistics

__all__ = ["grouping", "kernels", "membership", "options", "rates", "state", "statistics"]
