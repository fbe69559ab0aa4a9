"""What the gate decided on a product's new network: its record, its page, its part of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import pandas as pd

from cadnet.evaluation.gate import Check, Decision
from cadnet.reporting.data import Link, Section
from cadnet.reporting.pages import page_environment


@dataclass(frozen=True)
class Acceptance:
    """The images that the gate looked at: ``images`` in all, ``defective`` of them."""

    dataset: str
    split: str
    digest: str
    images: int
    defective: int


@dataclass(frozen=True)
class Choice:
    """How the challenger was chosen: ``candidates`` by trial with their ``metric`` on validation images."""

    trial: str
    method: str
    metric: str
    candidates: Mapping[str, float]
    threshold: float
    threshold_origin: str


@dataclass(frozen=True)
class GateRecord:
    """One decision with all it rests on.

    ``model`` and ``version`` name the challenger, ``champion`` the version it was held against; all three are
    None without a registry, the last also where there was no champion yet. ``decided``: ISO 8601, UTC.
    """

    product: str
    model: str | None
    version: int | None
    champion: int | None
    decision: Decision
    acceptance: Acceptance
    choice: Choice
    scale: str
    device: str
    decided: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values; ``passed`` and ``reasons`` are there for readers."""
        values = asdict(self)
        checks = values.pop("decision")["checks"]
        return {
            **values,
            "passed": self.decision.passed,
            "reasons": self.decision.reasons,
            "checks": list(checks),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave."""
        checks = tuple(Check(**check) for check in values["checks"])
        plain = {key: values[key] for key in ("product", "model", "version", "champion")}
        texts = {key: values[key] for key in ("scale", "device", "decided")}
        return cls(
            **plain,
            decision=Decision(checks),
            acceptance=Acceptance(**values["acceptance"]),
            choice=Choice(**values["choice"]),
            **texts,
        )

    @property
    def challenger(self) -> str:
        """The challenger in words."""
        if self.version is None:
            return f"{self.product} (not registered)"
        return f"{self.model} version {self.version}"

    @property
    def headline(self) -> str:
        """The decision in one sentence."""
        if self.decision.passed:
            passes = "would be champion" if self.version is None else "is champion"
            return f"Passed: {self.challenger} {passes}."
        stays = "there is no champion" if self.champion is None else f"version {self.champion} stays champion"
        failed = sum(not check.passed for check in self.decision.checks)
        return f"Rejected: {self.challenger} failed {failed} of {len(self.decision.checks)} checks; {stays}."

    @property
    def comparison(self) -> str:
        """What it was held against, on what."""
        before = "limits alone, there being no champion"
        if self.champion is not None:
            before = f"champion version {self.champion} and limits"
        seen = self.acceptance
        return (
            f"Held against {before}, on {seen.images} images ({seen.defective} with defects) of the split "
            f"{seen.split} of {seen.dataset} (digest {seen.digest[:16]}), which no training and no choice "
            f"has seen. {self.device}; {self.decided[:16].replace('T', ' ')} UTC."
        )

    @property
    def origin(self) -> str:
        """How the challenger was chosen."""
        choice = self.choice
        value = choice.candidates[choice.trial]
        return (
            f"{choice.method} ({choice.trial}) has the highest {choice.metric} of "
            f"{len(choice.candidates)} trained networks on validation images, {value:.4f}. A pixel is a "
            f"defect where its probability exceeds {choice.threshold:.3f} ({choice.threshold_origin})."
        )


def render_gate(record: GateRecord) -> str:
    """Return the decision's page as HTML that loads nothing."""
    ranked = sorted(record.choice.candidates.items(), key=lambda item: -item[1])
    return page_environment().get_template("gate.html.j2").render(record=record, candidates=ranked)


def gate_section(records: Sequence[GateRecord]) -> Section | None:
    """The decisions as a part of the report; None without any."""
    if not records:
        return None
    text, tables, links = [], {}, []
    for record in records:
        text += [f"{record.product}: {record.headline} {record.comparison}", record.origin]
        tables[f"Gate of {record.product}"] = check_table(record.decision.checks)
        links.append(Link(f"Decision on {record.product}", f"gate/{record.product}/index.html"))
    return Section("Registered products", text, tables, links=links)


def check_table(checks: Sequence[Check]) -> pd.DataFrame:
    """The checks, one row each."""
    return pd.DataFrame(
        {
            "Check": [check.name for check in checks],
            "Measured": [check.value for check in checks],
            "Wanted": [check.limit for check in checks],
            "": ["passed" if check.passed else "failed" for check in checks],
        }
    )
