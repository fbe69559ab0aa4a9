"""How a flow ended, and what the gate decided meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from cadnet.config import ConfigError
from cadnet.files import read_json
from pipelines.flows.commands import STOPPED, StageError
from pipelines.flows.lock import FlowRunsError
from pipelines.trials import DECISION, GATES

Kind = Literal["promoted", "rejected", "trained", "unchanged", "failed", "refused", "stopped"]
"""``promoted`` and ``rejected`` are the gate's decisions, ``trained`` is without one; ``refused`` is a flow
beside which another ran."""

Decision = Mapping[str, Any]
"""What the stage ``gate`` leaves about one product."""


@dataclass(frozen=True)
class Outcome:
    """How a flow ended."""

    kind: Kind
    text: str
    """For people; one line or more."""
    decisions: list[Decision] = field(default_factory=list)
    """What the gate decided in this flow, one per product."""


def read_decisions(root: Path) -> dict[str, Decision]:
    """Return the last decision on each product; what cannot be read is left out."""
    found: dict[str, Decision] = {}
    for path in sorted((root / GATES).glob(f"*/{DECISION}")):
        try:
            decision = read_json(path)
        except (OSError, ValueError):
            continue
        if isinstance(decision, dict):
            found[path.parent.name] = decision
    return found


def new_decisions(
    before: Mapping[str, Decision], after: Mapping[str, Decision], started: datetime
) -> dict[str, Decision]:
    """Return the decisions made since ``started``.

    Args:
        before: decisions at that time.
        after: decisions now. The stage writes an old one again when a version comes back that was decided on.
        started: with a time zone.
    """
    return {
        name: decision
        for name, decision in after.items()
        if decision != before.get(name) and _is_since(decision.get("decided"), started)
    }


def _is_since(decided: object, started: datetime) -> bool:
    try:
        # Decisions are noted to the second.
        return datetime.fromisoformat(str(decided)) >= started.replace(microsecond=0)
    except (ValueError, TypeError):
        return True


def success(stages: Sequence[str], decisions: Mapping[str, Decision]) -> Outcome:
    """Return the outcome of a flow in which nothing failed.

    Args:
        stages: what ran.
        decisions: what the gate decided meanwhile, by product.
    """
    if not stages:
        return Outcome("unchanged", "nothing has changed")
    promoted = any(decision.get("passed") for decision in decisions.values())
    kind: Kind = "promoted" if promoted else "rejected" if decisions else "trained"
    count = "1 stage has run" if len(stages) == 1 else f"{len(stages)} stages have run"
    return Outcome(kind, "\n".join([*_lines(decisions), count]), list(decisions.values()))


def failure(error: BaseException, stopped: bool, decisions: Mapping[str, Decision]) -> Outcome:
    """Return the outcome of a flow that ended with an error.

    Args:
        error: what it was.
        stopped: whether the user ended it.
        decisions: what the gate decided before that, by product.
    """
    if stopped or not isinstance(error, Exception):
        return Outcome("stopped", STOPPED.removeprefix("stopped; "))
    if isinstance(error, FlowRunsError):
        return Outcome("refused", str(error))
    reason = str(error) if isinstance(error, StageError | ConfigError) else f"{type(error).__name__}: {error}"
    return Outcome("failed", "\n".join([reason, *_lines(decisions)]), list(decisions.values()))


def _lines(decisions: Mapping[str, Decision]) -> list[str]:
    return [_line(name, decision) for name, decision in decisions.items()]


def _line(product: str, decision: Decision) -> str:
    """One decision as one line."""
    version, champion = decision.get("version"), decision.get("champion")
    name = f"version {version} of {decision.get('model')}" if version is not None else "the new network"
    if not decision.get("passed"):
        reasons = "; ".join(str(decision.get("reasons") or "no reason given").splitlines())
        kept = "" if champion is None else f"; version {champion} stays in use"
        return f"{product}: {name} is rejected: {reasons}{kept}"
    if version is None:
        return f"{product}: {name} passes the gate; without tracking, nothing is registered"
    return f"{product}: {name} is the new champion" + (
        "" if champion is None else f", after version {champion}"
    )
