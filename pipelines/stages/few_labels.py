"""The few-label grid's trials as one comparison."""

from __future__ import annotations

from cadnet.config import ProjectParams
from cadnet.reporting.comparison import merged_differences
from cadnet.reporting.data import HERO, FewLabelRun, FewLabels, Picture
from pipelines.stages.method_runs import method_runs, scored_counts
from pipelines.stages.pretrain import one_class
from pipelines.stages.scoring import Chosen
from pipelines.stages.sheets import sample_pictures
from pipelines.trials import TrialName, semi_trials


def few_labels(params: ProjectParams) -> FewLabels | None:
    """All trials of the grid as one comparison; None where the grid is off."""
    found = semi_trials(params)
    if not found:
        return None
    semi = params.semi
    runs: dict[float, list[FewLabelRun]] = {}
    by_share: dict[float, list[TrialName]] = {}
    for trial, run in zip(found, method_runs(found, params), strict=True):
        assert trial.fraction is not None
        chosen = Chosen.read(trial.evaluation)
        runs.setdefault(trial.fraction, []).append(FewLabelRun(run, chosen.threshold, chosen.result))
        by_share.setdefault(trial.fraction, []).append(trial)
    differences = {
        share: merged_differences([one.run for one in runs[share]], *scored_counts(trials))
        for share, trials in by_share.items()
    }
    before, after = (_kind(name, params) for name in (semi.pretrain, semi.dataset))
    return FewLabels(
        f"Few labels: {before} known, {after} new",
        runs,
        unlabelled=semi.unlabelled,
        pretrained_on=before,
        tested_on=after,
        combined=_combined(params),
        text=_text(params, before, after),
        differences=differences,
        overlays=_sheets(by_share, params),
    )


def _text(params: ProjectParams, before: str, after: str) -> tuple[str, ...]:
    semi, batch = params.semi, params.train.batch_size
    return (
        f"Every method learns all labels of {before} defects first, and then, from those weights, a share "
        f"of the labels of {after} defects: {semi.epochs} epochs of {semi.steps} steps of {batch} labelled "
        f"samples, whatever the share. Semi-supervised methods see {batch} unlabelled samples besides in "
        f"each step, out of {100 * semi.unlabelled:g} % of the training samples. The labelled samples are "
        "the same for all methods and seeds, each share holding the smaller ones, drawn evenly from the "
        "display patterns.",
        f"All are tested on {after} defects of display patterns that no training has seen. Weights and "
        "thresholds are chosen on the validation pattern, which has all its labels: without fine-tuning on "
        f"that of {before}, else on that of {after}.",
    )


def _kind(name: str, params: ProjectParams) -> str:
    """The kind of defect that a dataset holds."""
    return params.datasets[name].defect_kind or name


def _combined(params: ProjectParams) -> list[str]:
    """Titles of the hero's network under methods of semi-supervised learning."""
    methods = [params.methods[name] for name in params.semi.methods]
    networks = {method.model for method in methods if method.title == HERO}
    return [method.title for method in methods if method.semi is not None and method.model in networks]


def _sheets(by_share: dict[float, list[TrialName]], params: ProjectParams) -> list[Picture]:
    """A visual comparison without fine-tuning, and one with the fewest labels (paper Fig. 12)."""
    pictures: list[Picture] = []
    for share, trials in list(by_share.items())[:2]:
        what = f"test samples with {100 * share:g} % of the labels"
        pictures += sample_pictures(one_class(trials[0].test_dataset), trials, params, what).overlays
    return pictures
