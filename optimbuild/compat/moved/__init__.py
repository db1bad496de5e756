"""Modules under the names that they had before the package got its folders; `optimbuild.NAME` finds them here."""
