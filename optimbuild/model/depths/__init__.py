"""How deep in a model every parameter lies: as the model answers, as given by hand, or as its names tell."""

from optimbuild.model.depths.depths import Depths

__all__ = ["Depths"]
