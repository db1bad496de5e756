"""Running statistics of what is frozen."""

from __future__ import annotations

from collections.abc import Iterator

from optimbuild.auditing.examined import Examined, finding
from optimbuild.auditing.finding import Answer
from optimbuild.messages import counted, listing
from optimbuild.model.statistics import statistics_inside


@finding("statistics-of-frozen-move")
def statistics_move(examined: Examined) -> Iterator[Answer]:
    """Batch norms whose own parameters are all frozen, and that are in train mode."""
    found = examined.found
    frozen = {param.name for param in found.inventory if not param.trainable}
    inside = statistics_inside(found.inventory, frozen, ()) if frozen and found.is_live else []
    moving = [name for name in inside if found.modules[name].training and name not in found.kept]
    if moving:
        what = f"{counted(len(moving), 'module')} in train mode with frozen parameters: {listing(moving, 5)}"
        text = f"running statistics go on moving in {what}. Set them to eval mode after each model.train()"
        yield text, [p.name for p in found.inventory if p.name.rpartition(".")[0] in set(moving)]
