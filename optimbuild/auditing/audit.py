"""The audit: the plan that an optimizer amounts to, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from optimbuild.auditing import findings  # each of them registers itself
from optimbuild.auditing.examined import FINDINGS, Examined
from optimbuild.auditing.finding import Finding, refuse_unknown
from optimbuild.auditing.found import Found
from optimbuild.auditing.infer.infer import Inferred, infer
from optimbuild.auditing.live import found_live
from optimbuild.auditing.plan_findings import PLAN_FINDINGS, plan_findings
from optimbuild.auditing.plan_of_groups import plan_of_groups
from optimbuild.auditing.rates import base_rates
from optimbuild.plan.plan import Plan

__all__ = ["Audit", "audit", "audit_of", "findings"]


@dataclass(frozen=True)
class Audit:
    """What an optimizer does to a model. Make one with :func:`optimbuild.audit`.

    Args:
        plan: The plan that the optimizer amounts to, a value as any other plan: it can be printed, compared and saved.
            The LRs are those from which a scheduler starts.
        findings: What is wrong with it, or at least should be known.
    """

    plan: Plan
    findings: tuple[Finding, ...] = ()

    def ignoring(self, ids: Collection[str]) -> Audit:
        """Return the audit without some findings.

        Args:
            ids: Their ids.

        Raises:
            UnknownNameError: No finding has such an id.
        """
        refuse_unknown(ids, [*PLAN_FINDINGS, *FINDINGS])
        return replace(self, findings=tuple([each for each in self.findings if each.id not in ids]))

    def infer(self) -> Inferred:
        """Return the smallest config of ours that was found for the plan, with the plan that it makes to prove it.

        Raises:
            ModelError: The plan trains nothing.
        """
        return infer(self.plan)

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON data."""
        return {"plan": self.plan.to_dict(), "findings": [each.to_dict() for each in self.findings]}

    def __str__(self) -> str:
        from optimbuild.auditing.audit_text import audit_text

        return audit_text(self.plan, self.findings)


def audit(optimizer: Any, model: Any, *, ignore: Iterable[str] = ()) -> Audit:
    """Say what an optimizer does to a model, and what is wrong with it. Changes nothing.

    Args:
        optimizer: Any ``torch.optim.Optimizer``, whoever made it; a wrapper of accelerate, MMEngine, Lightning or
            DeepSpeed; a trainer that has one; or several, as a list or a mapping of names.
        model: The module that it trains, bare or wrapped.
        ignore: Ids of findings to leave out.

    Raises:
        ModelError: There is no optimizer, or it holds no parameter of this model.
        UnknownNameError: No finding has such an id.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    >>> found = audit(torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), model)
    >>> found.plan["1.weight"].weight_decay, [finding.id for finding in found.findings]
    (0.01, ['decay-on-norm', 'decay-on-bias'])
    """
    return audit_of(found_live(optimizer, model)).ignoring(tuple(ignore))


def audit_of(found: Found) -> Audit:
    """Return the audit of groups, wherever they were found."""
    rates = base_rates(found)
    examined = Examined(found, plan_of_groups(found, rates), rates)
    told = [Finding(id_, message, tuple(names)) for id_, find in FINDINGS.items() for message, names in find(examined)]
    return Audit(examined.plan, (*plan_findings(examined.plan), *told))
