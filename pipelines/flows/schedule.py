"""What has run, what may run next and what cannot run any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pipelines.flows.dag import stage_kind


class Schedule:
    """The stages of one run of a graph; a failed one holds up only what needs it."""

    def __init__(self, needs: Mapping[str, Collection[str]]) -> None:
        self.needs = {stage: set(before) for stage, before in needs.items()}
        """Each stage with the stages it needs, in an order that can be run."""
        self.done: set[str] = set()
        self.failed: dict[str, str] = {}
        """Failed stages, each with its reason."""
        self._begun: set[str] = set()

    def ready(self) -> list[str]:
        """Return the stages that may begin, most urgent first."""
        ready = [
            stage for stage, before in self.needs.items() if stage not in self._begun and before <= self.done
        ]
        # A trained trial is evaluated before the next training: mistakes show early, training states go away.
        return sorted(ready, key=lambda stage: stage_kind(stage) == "train")

    def begin(self, stage: str) -> None:
        """``stage`` runs now."""
        self._begun.add(stage)

    def end(self, stage: str, reason: str | None = None) -> None:
        """``stage`` has ended, with ``reason`` if it failed."""
        if reason is None:
            self.done.add(stage)
        else:
            self.failed[stage] = reason

    def progress(self, stage: str, seconds: float) -> str:
        """Return one line about ``stage``, which has just ended ``seconds`` after the beginning."""
        ending = "failed" if stage in self.failed else "finished"
        failures = f", {len(self.failed)} failed," if self.failed else ""
        counts = f"{len(self.done)} of {len(self.needs)} stages done{failures}"
        return f"{stage} {ending}: {counts} after {duration(seconds)}"

    def blocked_by(self, stage: str) -> list[str]:
        """Return what needs ``stage``, directly or not."""
        found: set[str] = {stage}
        for name, before in self.needs.items():
            if before & found:
                found.add(name)
        return [name for name in self.needs if name in found - {stage}]

    def failures(self) -> str:
        """Return what failed, why, and what did not run because of it; empty if nothing failed."""
        lines = []
        for stage in self.needs:
            if stage in self.failed:
                lines.append(f"{stage}: {self.failed[stage]}")
                if blocked := self.blocked_by(stage):
                    lines.append(f"  not run because of it: {', '.join(blocked)}")
        return "\n".join(lines)


def duration(seconds: float) -> str:
    """Return a duration for people, in the two largest units: "2 h 5 min", "5 min 3 s", "3 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
