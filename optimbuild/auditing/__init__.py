"""Audits: what anybody's optimizer, live or in a file, does to a model, and what is wrong with it."""
