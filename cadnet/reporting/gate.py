"""What the gate decided on a product's new network: its record, its page, its part of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from cadnet.evaluation.gate import Check, Decision
from cadnet.reporting.pages import Block, Card, Cell, Link, Links, Row, Section, Table, Text, page_environment


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
    ``in_use``: whether somebody has overruled the gate, and with which result; None where nobody has.
    ``by_hand``: why.
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
    in_use: bool | None = None
    by_hand: str = ""

    @property
    def passed(self) -> bool:
        """Whether the challenger was made champion, by the gate or by hand."""
        return self.decision.passed if self.in_use is None else self.in_use

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values; ``passed`` and ``reasons`` are there for readers."""
        values = asdict(self)
        checks = values.pop("decision")["checks"]
        reasons = self.decision.reasons
        return {**values, "passed": self.passed, "reasons": reasons, "checks": list(checks)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` returned."""
        names = ("product", "model", "version", "champion", "scale", "device", "decided")
        return cls(
            **{key: values[key] for key in names},
            in_use=values.get("in_use"),
            by_hand=values.get("by_hand", ""),
            decision=Decision(tuple(Check(**check) for check in values["checks"])),
            acceptance=Acceptance(**values["acceptance"]),
            choice=Choice(**values["choice"]),
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
        if self.in_use is not None:
            gate = "passed" if self.decision.passed else "failed"
            return f"By hand, {self.by_hand}: {self.challenger}, which {gate} the checks below."
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
    rows = [
        Row(trial, [Cell(f"{value:.4f}")], "reference" if trial == record.choice.trial else "")
        for trial, value in ranked
    ]
    blocks = [
        Card("Checks", [check_table(record)]),
        Card(
            "How it was chosen",
            [Text([record.origin]), Table("", [record.choice.metric], rows, "Trained network")],
        ),
    ]
    return page_environment().get_template("gate.html.j2").render(record=record, blocks=blocks)


def gate_section(records: Sequence[GateRecord]) -> Section | None:
    """Return the decisions as a part of the report; None without any."""
    if not records:
        return None
    blocks: list[Block] = []
    for record in records:
        link = Link(f"Decision on {record.product}", f"gate/{record.product}/index.html")
        text = Text([record.headline, record.comparison, record.origin])
        blocks.append(Card(f"Gate of {record.product}", [text, check_table(record), Links([link])]))
    return Section("products", "Registered products", records[0].scale, blocks=blocks)


def check_table(record: GateRecord) -> Table:
    """The checks of a decision, one row each."""
    rows = []
    for check in record.decision.checks:
        outcome = "passed" if check.passed else "failed"
        rows.append(Row(check.name, [Cell(check.value), Cell(check.limit), Cell(outcome, state=outcome)]))
    return Table("", ["Measured", "Wanted", "Outcome"], rows, "Check", texts=True)
