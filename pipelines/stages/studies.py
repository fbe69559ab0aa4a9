"""The ablation, its studies and the cross-tests, put together from finished trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from cadnet.config import MethodParams, ProjectParams
from cadnet.datasets.manifest import open_dataset
from cadnet.evaluation.bootstrap import Difference, paired_bootstrap
from cadnet.evaluation.counts import Counts
from cadnet.reporting.comparison import merged_differences
from cadnet.reporting.data import HERO, CrossTest, MethodRun, Study
from cadnet.reporting.published import published_ablation
from pipelines.stages.method_runs import method_runs, scored_counts
from pipelines.trials import TrialName, ablation_trials, cross_trials, dataset_folder, trials

Flags = tuple[bool, bool, bool, bool]
"""Cross-entropy, contrastive loss, balanced contrastive loss, change-aware decoder: Table 7's columns."""


@dataclass(frozen=True)
class Variant:
    """A method of the ablation, or the complete method it is a variant of."""

    name: str
    method: MethodParams

    @property
    def decoder(self) -> str:
        """How the decoder uses the distance map; CADNet's own default where nothing is said."""
        return str(self.method.options.get("decoder", "add"))

    @property
    def flags(self) -> Flags:
        """What Table 7 ticks."""
        loss, weight = self.method.loss, self.method.contrastive_weight
        balanced = loss == "ce+bcl" and weight > 0
        return True, loss == "ce+cl" and weight > 0, balanced, self.decoder != "none"

    def differs_only_in(self, other: Variant, *keys: str) -> bool:
        """Whether the two are equal but for the title and ``keys`` ("decoder" among the options)."""
        return self._without(*keys) == other._without(*keys)

    def _without(self, *keys: str) -> dict[str, object]:
        values = self.method.model_dump(exclude={"title", "options", *keys})
        values["options"] = {k: v for k, v in self.method.options.items() if k not in keys}
        return values


def studies_of(dataset: str, params: ProjectParams) -> list[Study]:
    """The studies that the ablation's trials on ``dataset`` allow: Table 7, the decoder, the weight lambda_2.

    A method of the main grid is their base: the first that has the ablation's network.
    """
    mine = [trial for trial in ablation_trials(params) if trial.dataset == dataset]
    variants = [Variant(name, params.methods[name]) for name in dict.fromkeys(trial.method for trial in mine)]
    networks = {variant.method.model for variant in variants}
    complete = [Variant(name, params.methods[name]) for name in params.run.methods]
    base = next((one for one in complete if one.method.model in networks), None)
    if base is None:
        return []
    mine += [trial for trial in trials(params) if (trial.dataset, trial.method) == (dataset, base.name)]
    chosen = {
        "ablation": [v for v in variants if _is_step(v, base)],
        "decoder": [v for v in variants if v.differs_only_in(base, "decoder") and v.decoder != "none"],
        "lambda": [v for v in variants if v.differs_only_in(base, "contrastive_weight")],
    }
    build: dict[str, Callable[[str, Sequence[Variant]], Study]] = {
        "ablation": _ablation,
        "decoder": _decoder,
        "lambda": _weights,
    }
    title = params.datasets[dataset].title or dataset
    found = []
    for name, rows in chosen.items():
        if rows:
            study = build[name](title, [*rows, base])
            found.append(_filled(study, [*rows, base], base, mine, params))
    return found


def _is_step(variant: Variant, base: Variant) -> bool:
    """Whether a variant is one of Table 7's steps towards the complete method."""
    same_weight = variant.method.contrastive_weight in (0.0, base.method.contrastive_weight)
    return variant.decoder == "none" and same_weight


def _ablation(title: str, rows: Sequence[Variant]) -> Study:
    ordered = sorted(rows, key=lambda v: (v.flags[3], v.flags[2], v.flags[1]))
    factors = {
        v.name: dict(zip(("CE", "CL", "BCL", "CAD"), ("✓" if f else "" for f in v.flags), strict=True))
        for v in ordered
    }
    text = (
        "CE: cross-entropy; CL: contrastive loss; BCL: class-balanced contrastive loss; CAD: change-aware "
        "decoder. All rows have the same encoder, data, schedule and seeds.",
    )
    return Study("ablation", f"Ablation of losses and decoder, {title}", (), "", factors, text)


def _decoder(title: str, rows: Sequence[Variant]) -> Study:
    factors = {v.name: {"decoder": v.decoder} for v in rows}
    text = (
        "How the change-aware decoder uses the distance map: added to the features (the paper's choice under "
        "full supervision) or multiplied with them (its choice for few labels).",
    )
    return Study("decoder", f"Decoder: add or multiply, {title}", (), "", factors, text)


def _weights(title: str, rows: Sequence[Variant]) -> Study:
    ordered = sorted(rows, key=lambda v: v.method.contrastive_weight)
    weights = {v.name: v.method.contrastive_weight for v in ordered}
    text = (
        "The weight lambda_2 of the balanced contrastive loss, which is a mean over pixels here. The paper "
        "says 1 without naming its norm.",
    )
    factors = {name: {"lambda_2": f"{weight:g}"} for name, weight in weights.items()}
    axis = ("weight lambda_2 of the contrastive loss", weights)
    return Study("lambda", f"Weight of the contrastive loss, {title}", (), "", factors, text, axis=axis)


def _filled(
    study: Study, rows: Sequence[Variant], base: Variant, trials: Sequence[TrialName], params: ProjectParams
) -> Study:
    """The study with its rows' titles for their names, and with what was measured."""
    titles = {v.name: v.method.title for v in rows}
    ordered = [trial for name in study.factors for trial in trials if trial.method == name]
    axis = study.axis and (study.axis[0], {titles[name]: value for name, value in study.axis[1].items()})
    mixed = params.datasets[ordered[0].dataset].defect_kind == "mixed"
    published = None
    if study.name == "ablation" and mixed:
        published = published_ablation({v.flags: titles[v.name] for v in rows})
    return replace(
        study,
        runs=method_runs(ordered, params),
        base=titles[base.name],
        factors={titles[name]: parts for name, parts in study.factors.items()},
        axis=axis,
        published=published,
        differences=_differences(ordered, base, titles),
    )


def _differences(
    trials: Sequence[TrialName], base: Variant, titles: Mapping[str, str]
) -> dict[str, Difference]:
    """mIoU of the base minus each other row's, resampled over the test images and their groups."""
    every, groups = scored_counts(trials)
    counts: dict[str, list[Counts]] = {}
    for trial, one in zip(trials, every, strict=True):
        counts.setdefault(trial.method, []).append(one)
    classes = open_dataset(dataset_folder(trials[0].dataset)).classes
    return {
        titles[name]: paired_bootstrap(counts[base.name], parts, classes, groups).difference("miou")
        for name, parts in counts.items()
        if name != base.name
    }


def cross_test(params: ProjectParams) -> CrossTest | None:
    """All cross-tests as one comparison; None where the grid is off."""
    found = cross_trials(params)
    if not found:
        return None
    names = _short_names(params)
    parts: dict[tuple[str, str], list[tuple[TrialName, MethodRun]]] = {}
    for trial, run in zip(found, method_runs(found, params), strict=True):
        parts.setdefault((names[trial.dataset], names[trial.test]), []).append((trial, run))
    text = (
        "Can a network find defects of a kind that it was not trained on? Each was trained on one kind and "
        f"tested on each. {HERO} looks for changes against the reference, the others for appearances.",
    )
    return CrossTest(
        "Cross-testing: unseen kinds of defects",
        {pair: [run for _, run in part] for pair, part in parts.items()},
        _letters(list(names.values())),
        text,
        differences={pair: _merged(part) for pair, part in parts.items() if pair[0] != pair[1]},
    )


def _merged(part: Sequence[tuple[TrialName, MethodRun]]) -> dict[str, Difference]:
    """How far the hero is ahead of each other method with all defect classes as one."""
    trials, runs = [trial for trial, _ in part], [run for _, run in part]
    counts, groups = scored_counts(trials)
    return merged_differences(runs, counts, groups)


def _short_names(params: ProjectParams) -> dict[str, str]:
    """The part of SynLCD that each dataset is, or, where that does not tell them apart, its name."""
    names = params.cross.datasets
    parts = [params.datasets[name].defect_kind for name in names]
    distinct = all(parts) and len(set(parts)) == len(parts)
    return dict(zip(names, parts if distinct else names, strict=True))


def _letters(names: Sequence[str]) -> dict[str, str]:
    """A capital for each name, or the whole name where capitals would not tell them apart."""
    capitals = [name[0].upper() for name in names]
    distinct = len(set(capitals)) == len(names)
    return dict(zip(names, capitals if distinct else names, strict=True))
