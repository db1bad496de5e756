"""The plans of a runner's optimizers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.optim import OptimWrapperDict

from optimbuild.plan.plan import Plan


def planned_wrappers(wrapper: Any) -> Iterator[tuple[str, Any, Plan]]:
    """Yield each optimizer wrapper that was built from a plan, with its name and plan.

    The name is empty where the runner has one optimizer only.

    Args:
        wrapper: The runner's ``optim_wrapper``.
    """
    several = wrapper.items() if isinstance(wrapper, OptimWrapperDict) else [("", wrapper)]
    for name, each in several:
        plan = getattr(each, "plan", None)
        if isinstance(plan, Plan):
            yield name, each, plan
