"""How published constructors read ``paramwise_cfg``, one file per family. Importing a file registers its readings."""

from optimbuild.config.constructors import classic, internimage, layer_wise, swin, tsm, yolo

__all__ = ["classic", "internimage", "layer_wise", "swin", "tsm", "yolo"]
