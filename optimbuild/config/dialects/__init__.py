"""The dialects: one file per dialect, each with ``KEYS``, ``recognises`` and ``read``."""
