"""A rule and an optimizer for optimbuild; the entry points in pyproject.toml name their modules."""
