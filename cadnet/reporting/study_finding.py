"""What a study shows, said in plain words and computed from the numbers; it admits when nobody can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from cadnet.reporting.claims import (
    MIN_SEEDS,
    Decision,
    decide,
    evidence_text,
    listed,
    points_text,
    seeds_word,
    value_text,
    why_open,
)
from cadnet.reporting.comparison import best_validation, validation_spread
from cadnet.reporting.data import MethodRun, Study
from cadnet.reporting.studies import Gap, base_gaps, study_rows, variant_name
from cadnet.reporting.tables import metric_spread
from cadnet.reporting.verdict import Verdict, overall

Rows = Mapping[str, Sequence[MethodRun]]


def study_finding(study: Study) -> Verdict:
    """Say what every step is worth against the base, or, of a number that is varied, which value to take.

    ``wins``: the base is clearly better than each other row, or, of a varied number, its own value is the one
    that validation chooses on every seed. ``loses``: a row is clearly better than the base (not of a varied
    number). "Clearly" is :func:`~cadnet.reporting.claims.decide`.

    Raises:
        ValueError: no runs, or a study whose parts do not fit its runs.
    """
    gaps = base_gaps(study)
    if not gaps:
        return Verdict("alone", f"There is nothing to compare {study.base} with.", ())
    sentences = _row_sentences(study, gaps)
    if study.axis is not None:
        return _varied(study, sentences)
    found = {title: decide(gap.gaps, gap.interval) for title, gap in gaps.items()}
    further = [*_steps(study), *_paper_order(study)]
    outcome = overall(found.values())
    return Verdict(outcome, _headline(study, gaps, found), (*sentences, *further))


def chosen_by_validation(groups: Rows) -> list[str]:
    """Titles with the highest validation mIoU, mean over seeds; empty where it is not known of every run."""
    means = {title: validation_spread(group) for title, group in groups.items()}
    if any(means[title].count < len(group) for title, group in groups.items()):
        return []
    best = max(value.mean or 0.0 for value in means.values())
    return [title for title, value in means.items() if value.mean == best]


def _headline(study: Study, gaps: Mapping[str, Gap], found: Mapping[str, Decision]) -> str:
    of = {kind: [t for t in gaps if found[t] == kind] for kind in ("ahead", "behind", "open")}
    base, seeds = study.base, seeds_word(min(len(gap.gaps) for gap in gaps.values())).lower()
    if of["behind"]:
        better = listed([_quoted(title) for title in of["behind"]])
        return f"{better} {'is' if len(of['behind']) == 1 else 'are'} better than {base} in mIoU."
    if of["open"]:
        also = f"; it is better than {listed(list(map(_quoted, of['ahead'])))}" if of["ahead"] else ""
        return f"No claim that {base} is better than {listed(list(map(_quoted, of['open'])))} in mIoU{also}."
    points = [gap.points or 0.0 for gap in gaps.values()]
    if len(points) == 1:
        (other,) = gaps
        return f"{base} is better than {_quoted(other)} by {points_text(points[0])} points of mIoU, {seeds}."
    span = f"{points_text(min(points))} to {points_text(max(points))}"
    return f"{base} is better than each of the {len(gaps)} other variants, by {span} points of mIoU, {seeds}."


def _row_sentences(study: Study, gaps: Mapping[str, Gap]) -> list[str]:
    """The base against every row; why nothing is claimed is said once where it holds for all."""
    why = {title: why_open(gap.gaps, gap.interval) for title, gap in gaps.items()}
    shared = [reason for reason in next(iter(why.values())) if all(reason in one for one in why.values())]
    if len(gaps) == 1:
        shared = []
    said = [
        _row_sentence(study, title, gap, [reason for reason in why[title] if reason not in shared])
        for title, gap in gaps.items()
    ]
    return [*said, f"Nothing is claimed of these differences: {' and '.join(shared)}."] if shared else said


def _row_sentence(study: Study, title: str, gap: Gap, why: Sequence[str]) -> str:
    """The base against one row: points, interval, seeds, and why nothing is claimed where that is so."""
    what = f"{_quoted(study.base)} against {_quoted(title)}{_changes(study, title)}"
    if study.axis is not None:
        what = f"{variant_name(study, study.base)} ({study.base}) against {variant_name(study, title)}"
    if gap.points is None:
        return f"{what}: mIoU is not defined."
    evidence = evidence_text(gap.gaps, gap.interval)
    said = f"{what}: {points_text(gap.points, signed=True)} points of mIoU, {evidence}."
    return f"{said} No claim: {' and '.join(why)}." if why else said


def _quoted(title: str) -> str:
    """A title as it can stand in a sentence: in quotation marks where it holds a comma."""
    return f"“{title}”" if "," in title else title


def _changes(study: Study, title: str) -> str:
    """In which factors a row differs from the base, such as ``(without CAD)``."""
    base, row = study.factors[study.base], study.factors[title]
    changes = []
    for name in base:
        if base[name] and not row[name]:
            changes.append(f"without {name}")
        elif row[name] and not base[name]:
            changes.append(f"with {name}")
        elif row[name] != base[name]:
            changes.append(f"{name} {row[name]} instead of {base[name]}")
    return f" ({', '.join(changes)})" if changes else ""


def _steps(study: Study) -> list[str]:
    """From row to row, where the rows lead up to the base."""
    means = {title: metric_spread(group, "miou").mean for title, group in study_rows(study).items()}
    titles = list(means)
    if len(titles) < 3 or titles[-1] != study.base or None in means.values():
        return []
    steps = [
        f"{one} to {other} {points_text((means[other] or 0.0) - (means[one] or 0.0), signed=True)}"
        for one, other in pairwise(titles)
    ]
    return [
        f"From row to row: {', '.join(steps)} points of mIoU. Only differences from {study.base} have "
        "intervals, so between the other rows nothing is claimed."
    ]


def _paper_order(study: Study) -> list[str]:
    """Whether the rows the paper has come out in its order by mIoU, in the mean and on single seeds."""
    groups = study_rows(study)
    if study.published is None or "miou" not in study.published:
        return []
    printed = study.published["miou"].dropna()
    order = sorted((title for title in groups if title in printed), key=lambda title: float(printed[title]))
    ours = {title: metric_spread(groups[title], "miou").mean for title in order}
    if len(order) < 2 or None in ours.values():
        return []
    said = f"The paper's order by mIoU is {' < '.join(order)}"
    same = _ascending([ours[title] for title in order])
    said += "; ours is the same in the mean over seeds" if same else f"; ours is another: {_ordered(ours)}"
    seeds = _by_seed(groups, order)
    held = sum(_ascending(values) for values in seeds)
    said += f", and the paper's holds on {held} of {len(seeds)} common seed{'s' if len(seeds) != 1 else ''}."
    if same and (len(seeds) < MIN_SEEDS or held < len(seeds)):
        few = "too few seeds" if len(seeds) < MIN_SEEDS else "the order changes with the seed"
        said += f" No claim that this is the order: {few}."
    return [said]


def _varied(study: Study, rows: Sequence[str]) -> Verdict:
    """Which value validation chooses, what it gives on the test images, and how that relates to the base."""
    assert study.axis is not None
    label, _values = study.axis
    groups = study_rows(study)
    chosen, nobody = chosen_by_validation(groups), f"No claim as to which {label} is best"
    if not chosen:
        unknown = "validation mIoU is not known of every run, and the test has no say in a choice"
        return Verdict("open", f"{nobody}: {unknown}.", tuple(rows))
    seeds = _by_seed(groups, list(groups), validation=True)
    place = list(groups).index(chosen[0])
    won = sum(row[place] > max([*row[:place], *row[place + 1 :]]) for row in seeds)
    sure = len(chosen) == 1 and len(seeds) >= MIN_SEEDS and won == len(seeds)
    written = listed([variant_name(study, title) for title in chosen])
    given = listed([value_text(metric_spread(groups[title], "miou")) for title in chosen])
    headline = f"Validation chooses {written} as {label}, on each of {len(seeds)} seeds"
    if not sure:
        many = f"{len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
        alone = f"validation puts {written} first, on {won} of {many}"
        headline = (
            f"{nobody}: {alone if len(chosen) == 1 else f'{written} come first on validation together'}"
        )
    headline += f"; on the test images {'it gives' if len(chosen) == 1 else 'they give'} {given} mIoU."
    texts = [_own_value(study, chosen), _on_validation(study, chosen), *_on_test(study, chosen)]
    return Verdict("wins" if sure and chosen == [study.base] else "open", headline, (*texts, *rows))


def _own_value(study: Study, chosen: Sequence[str]) -> str:
    own = f"{study.base} has {variant_name(study, study.base)}"
    if study.base not in chosen:
        return f"{own}, which is not what validation would choose here."
    return f"{own}, which validation chooses too." if len(chosen) == 1 else f"{own}, one of these."


def _on_validation(study: Study, chosen: Sequence[str]) -> str:
    groups = study_rows(study)
    seen = {title: validation_spread(group) for title, group in groups.items()}
    said = f"Validation mIoU, at the best epoch, is {value_text(seen[chosen[0]])} there"
    others = [title for title in groups if title not in chosen]
    if others:
        second = max(others, key=lambda title: seen[title].mean or 0.0)
        said += f" and {value_text(seen[second])} at {variant_name(study, second)}, the next"
    return f"{said}."


def _on_test(study: Study, chosen: Sequence[str]) -> list[str]:
    """Which value is highest on the test images, so that nobody has to look for it."""
    test = {title: metric_spread(group, "miou") for title, group in study_rows(study).items()}
    known = {title: value.mean for title, value in test.items() if value.mean is not None}
    if not known:
        return []
    best = max(known, key=lambda title: (known[title], title in chosen))
    if best in chosen:
        return ["No other value gives more on the test images."]
    value = f"{variant_name(study, best)} gives {value_text(test[best])}"
    return [f"On the test images {value}, the most; the test has no say in the choice."]


def _by_seed(groups: Rows, titles: Sequence[str], *, validation: bool = False) -> list[list[float]]:
    """mIoU of ``titles`` on each seed that all of them have."""
    found: list[dict[int, float]] = []
    for title in titles:
        scores = {
            run.seed: best_validation(run) if validation else run.result.scalars().get("miou")
            for run in groups[title]
        }
        found.append({seed: score for seed, score in scores.items() if score is not None})
    common = sorted(set.intersection(*map(set, found)))
    return [[scores[seed] for scores in found] for seed in common]


def _ordered(values: Mapping[str, float | None]) -> str:
    """Titles by rising value, such as ``A < B = C``."""
    rising = sorted(values, key=lambda title: values[title] or 0.0)
    signs = ["<" if values[one] != values[other] else "=" for one, other in pairwise(rising)]
    return rising[0] + "".join(f" {sign} {title}" for sign, title in zip(signs, rising[1:], strict=True))


def _ascending(values: Sequence[float | None]) -> bool:
    known = [value for value in values if value is not None]
    return all(one < other for one, other in pairwise(known))
