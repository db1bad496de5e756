"""From a plan back to a config of ours: which rules explain it."""
