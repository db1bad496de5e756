"""A plan of the whole model, restricted to a part of it, such as one stage of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from optimbuild.errors import ModelError
from optimbuild.messages import listing
from optimbuild.model.inventory import Inventory
from optimbuild.model.survey import Surveyed
from optimbuild.plan.plan import Plan


def restricted(plan: Plan, part: Surveyed) -> tuple[Plan, Surveyed]:
    """Return the plan of a part, under the names and in the order of the whole.

    Each parameter keeps its setting, and the groups keep their order; groups without a parameter here are left out,
    but for those with a name, which who counts groups must find at their places.
    The implementation of a step is chosen for the tensors of the part.

    Args:
        plan: A plan of the whole model.
        part: A module whose parameters are some of the plan's, by name; the whole model is a part too.

    Raises:
        ModelError: A parameter has a name or a shape that the plan does not know, two tensors are one parameter in
            the plan or one tensor is two, a parameter does not require a gradient although the plan trains it, or
            the plan trains nothing of the part.
    """
    names = part.inventory.names
    _refuse_unknown(part.inventory, plan.inventory)
    positions = [plan.inventory.position(name) for name in names]
    _refuse_differences(plan, positions, part)
    order = sorted(range(len(names)), key=positions.__getitem__)
    whole_names = plan.inventory.names
    params = [part.inventory.params[i]._replace(name=whole_names[positions[i]], aliases=()) for i in order]
    inventory = replace(part.inventory, params=tuple(params))
    chosen = [plan.chosen[positions[i]] for i in order]
    named = [index for index, setting in enumerate(plan.settings) if setting.group]
    place = {setting: place for place, setting in enumerate(sorted({*chosen, *named}))}
    restricted_plan = Plan(
        plan.spec,
        inventory,
        tuple([plan.settings[setting] for setting in place]),
        tuple([place[setting] for setting in chosen]),
        plan.warnings,
        plan.notes,
        tuple([module for module in plan.kept_statistics if module in part.inventory.statistics]),
    )
    if all(plan.settings[setting].frozen for setting in chosen):
        raise ModelError(
            f"the plan freezes every parameter of {_called(part)}, so there is nothing to optimize: "
            f"{listing(restricted_plan.frozen, 5)}. Such a part needs no optimizer; freeze it with "
            "requires_grad_(False), and put its batch norms into eval mode"
        )
    return restricted_plan, Surveyed(inventory, [part.tensors[i] for i in order], part.walked)


def _called(part: Surveyed) -> str:
    return part.inventory.model or "the part"


def _refuse_unknown(part: Inventory, whole: Inventory) -> None:
    unknown = [name for name in part.names if name not in whole]
    if not unknown:
        return
    called, hint = part.model or "the part", ""
    if prefixes := _prefixes(part, whole):
        hint = _how_to_prefix(prefixes, part)
    elif close := whole.closest(unknown[0]):
        hint = f" Closest: {listing(close)}."
    raise ModelError(f"{called} has parameters that the plan does not know: {listing(unknown, 5)}.{hint}")


def _prefixes(part: Inventory, whole: Inventory) -> list[str]:
    """Return the modules of the whole that have all parameters of a part, by name and shape."""
    shapes = {name: tuple(param.shape) for param in whole.params for name in (param.name, *param.aliases)}
    wanted = {f".{param.name}": tuple(param.shape) for param in part.params}
    first = next(iter(wanted))
    prefixes = [name.removesuffix(first) for name in shapes if name.endswith(first)]
    return [prefix for prefix in prefixes if all(shapes.get(prefix + n) == shape for n, shape in wanted.items())]


def _how_to_prefix(prefixes: Sequence[str], part: Inventory) -> str:
    """Return how to give a part its names in the whole; numbers in a slice or a new container may be other ones."""
    module = "part"
    for segment in reversed(prefixes[0].split(".")):
        module = f"torch.nn.ModuleDict({{{segment!r}: {module}}})"
    which = "that module" if len(prefixes) == 1 else "the first of them"
    hint = (
        f" The plan has such parameters below {listing([repr(prefix) for prefix in prefixes], 5)}. If the part is "
        f"{which}, build on {module}, which gives them their names there."
    )
    if any(name.partition(".")[0].isdigit() for name in part.names):
        hint += " A slice such as blocks[2:4] counts from 0: give its modules the numbers that they have in the whole."
    return hint


def _refuse_differences(plan: Plan, positions: Sequence[int], part: Surveyed) -> None:
    first: dict[int, str] = {}
    for param, position in zip(part.inventory, positions, strict=True):
        planned = plan.inventory.params[position]
        if tuple(param.shape) != tuple(planned.shape):
            raise ModelError(
                f"{param.name!r} has the shape {tuple(param.shape)} in {_called(part)}, and {tuple(planned.shape)} "
                "in the plan. Make the plan of the same model"
            )
        other = first.setdefault(position, param.name)
        if other != param.name:
            raise ModelError(
                f"{other!r} and {param.name!r} are one parameter in the plan, and two in {_called(part)}. Tie them "
                "before the build"
            )
        apart = [name for name in param.aliases if name in plan.inventory and plan.inventory.position(name) != position]
        if apart:
            raise ModelError(
                f"{param.name!r} and {apart[0]!r} are one parameter in {_called(part)}, and two in the plan. Make the "
                "plan of a model that ties them as well"
            )
        if not param.trainable and not plan.settings[plan.chosen[position]].frozen:
            raise ModelError(
                f"the plan trains {param.name!r}, and its requires_grad is False in {_called(part)}. Freeze it with a "
                "rule of the config, or before the plan is made"
            )
