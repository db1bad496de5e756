"""The dialects: one file per foreign config, each with ``recognises`` and ``read``."""
