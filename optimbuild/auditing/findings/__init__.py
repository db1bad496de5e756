"""What an audit looks for, one file per family. Each function registers itself under the id of its finding."""

from optimbuild.auditing.findings import decay, grouping, kernels, membership, options, rates, state, statistics

__all__ = ["decay", "grouping", "kernels", "membership", "options", "rates", "state", "statistics"]
