"""Doors into other training frameworks."""
