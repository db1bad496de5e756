"""Which parameters are in which groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from optimbuild.auditing.examined import Examined, finding
from optimbuild.auditing.finding import Answer
from optimbuild.messages import counted, listing


@finding("parameter-in-no-group")
def in_no_group(examined: Examined) -> Iterator[Answer]:
    """A trainable parameter that no optimizer steps: it keeps its first value."""
    names = [param.name for param, groups in examined.found.with_groups() if param.trainable and not groups]
    if names:
        yield f"{counted(len(names), 'trainable parameter')} in no group, so never trained", names


@finding("parameter-in-two-groups")
def in_two_groups(examined: Examined) -> Iterator[Answer]:
    """A parameter that one optimizer steps twice."""
    found = examined.found
    twice = [i for i, groups in enumerate(found.groups_of) if len(groups) > 1 and _of_one_optimizer(examined, groups)]
    if twice:
        yield (
            f"{counted(len(twice), 'parameter')} in more than one place of the groups, so stepped more than once",
            found.names(twice),
        )


def _of_one_optimizer(examined: Examined, groups: Sequence[int]) -> bool:
    counts = Counter([examined.found.groups[number].optimizer for number in groups])
    return max(counts.values()) > 1


@finding("tensor-in-two-optimizers")
def in_two_optimizers(examined: Examined) -> Iterator[Answer]:
    """A parameter, often one that modules share, that two optimizers step."""
    found = examined.found
    several = [(i, groups) for i, groups in enumerate(found.groups_of) if len(groups) > 1]
    shared = [i for i, groups in several if len({found.groups[number].optimizer for number in groups}) > 1]
    if shared:
        tied = [" = ".join(found.inventory.params[i].names) for i in shared]
        yield f"stepped by two optimizers, each with its own state: {listing(tied, 5)}", found.names(shared)


@finding("frozen-in-group")
def frozen_in_group(examined: Examined) -> Iterator[Answer]:
    """A parameter without gradient that is in a group."""
    names = [param.name for param, groups in examined.found.with_groups() if groups and not param.trainable]
    if names:
        yield f"{counted(len(names), 'parameter')} with requires_grad False in a group: it does nothing there", names


@finding("tensor-not-in-model")
def not_in_model(examined: Examined) -> Iterator[Answer]:
    """A tensor in a group that is no parameter of the model."""
    groups = [group for group in examined.found.groups if group.strangers]
    shapes = [str(shape) for group in groups for shape in group.strangers]
    if shapes:
        where = listing([group.place for group in groups], 3)
        what = f"{counted(len(shapes), 'tensor')} in {where} that the model does not have ({listing(shapes, 3)})"
        yield f"{what}: was a part of it replaced after the optimizer was made?", ()
