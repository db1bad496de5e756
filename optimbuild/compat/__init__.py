"""Drop-in modules for people who import from other projects."""
