"""Stage ``report``: all enabled trials to tables, plots and one self-contained page."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from cadnet.config import (
    MethodParams,
    ProjectParams,
    load_params,
)
from cadnet.losses.contrastive import MARGIN_NG, MARGIN_OK
from cadnet.reporting.gate import gate_section
from cadnet.reporting.grids import (
    FewLabelFacts,
    Study,
    cross_section,
    few_label_section,
    misalignment_section,
    study_section,
)
from cadnet.reporting.pages import (
    Cell,
    Fold,
    Link,
    Page,
    Row,
    Section,
    Table,
    Text,
    frame_block,
    write_report,
    write_table,
)
from cadnet.reporting.published import published_ablation
from cadnet.reporting.results import ScoredTrial, tidy
from cadnet.reporting.sections import DatasetFacts, dataset_section
from cadnet.reporting.settings import Setting, compare_settings
from cadnet.reporting.tables import Methods, class_title
from cadnet.tracking import collect_provenance
from cadnet.types import SPLITS
from pipelines.stages.command import run_stage
from pipelines.stages.report_trials import ExperimentRecord, TrialReader, gate_records, track_report
from pipelines.stages.scoring import open_scored
from pipelines.stages.sheets import label_sheet, sample_pictures, study_maps
from pipelines.trials import (
    PARAMS,
    REPORTS,
    TrialName,
    ablation_trials,
    cross_trials,
    misaligned_trials,
    search_table,
    semi_trials,
    tracked,
    trials,
)

PROPOSED = "cadnet"
"""The network that the report is about; other methods are what it is compared with."""
STEPS = "ablation"
"""Name of the study of the steps towards the complete method."""
RESULTS = "results"
"""Name of the tidy table of all results."""

Flags = tuple[bool, bool, bool, bool]
"""Cross-entropy, contrastive loss, balanced contrastive loss, change-aware decoder: Table 7's columns."""


def report(params: ProjectParams) -> None:
    """Write reports/tables, reports/plots and reports/index.html, and log the tables to the parent runs."""
    reader, records = TrialReader(params), []
    for name in params.run.datasets:
        records.append(_main_record(name, reader))
    for name in params.ablation.datasets:
        records += _study_records(name, reader)
    records += [*_cross_records(reader), *few_label_records(reader)]
    sections = list({section.name: section for record in records for section in record.sections}.values())
    for section in sections:
        section.write_files(REPORTS)
    shown = {id(trial): trial for record in records for trial in record.trials}
    write_table(REPORTS / "tables" / RESULTS, tidy(list(shown.values())))
    others = [
        *_misalignment_sections(params),
        gate_section(gate_records(params)),
        search_section(params),
        paper_section(params),
    ]
    page = _page(params, [*sections, *(section for section in others if section is not None)])
    write_report(page, REPORTS / "index.html")
    track_report(records, params.run.scale)


def _page(params: ProjectParams, sections: Sequence[Section]) -> Page:
    provenance = collect_provenance(".")
    environment = provenance.environment.items()
    return Page(
        title="CADNet: change-aware defect segmentation",
        scale=params.run.scale,
        sections=sections,
        generated=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        git_commit=provenance.commit or "",
        params=PARAMS.read_text("utf-8"),
        environment={key: str(value) for key, value in environment if not isinstance(value, dict)},
        links=[Link("All results as one table (csv)", f"tables/{RESULTS}.csv")],
    )


def methods_of(found: Sequence[ScoredTrial], params: ProjectParams, reference: str = "") -> Methods:
    """The trials of a section with the titles of their methods.

    The reference, where it is not given, is the first method with the proposed network and full supervision.
    """
    ids = list(dict.fromkeys(trial.method for trial in found))
    proposed = [m for m in ids if params.methods[m].model == PROPOSED]
    plain = [m for m in proposed if params.methods[m].semi is None]
    titles = {name: method.title for name, method in params.methods.items()}
    return Methods(found, titles, reference or next(iter([*plain, *proposed, *ids]), ""), params.run.scale)


def title_of(name: str, params: ProjectParams) -> str:
    """The dataset's title for readers."""
    return params.datasets[name].title or name


def _main_record(name: str, reader: TrialReader) -> ExperimentRecord:
    params, dataset = reader.params, reader.dataset(name)
    enabled = [trial for trial in trials(params) if trial.dataset == name]
    found = reader.read(enabled, "main")
    about = params.datasets[name]
    facts = DatasetFacts(
        name,
        title_of(name, params),
        about.published,
        settings_of(name, reader, found, "main"),
        {split: int((dataset.manifest["split"] == split).sum()) for split in SPLITS},
        dataset.digest,
        about.group_title,
        about.subset_title,
    )
    pictures = sample_pictures(dataset, enabled, params)
    sheets = [figure for figure in (pictures.overlays, pictures.maps) if figure is not None]
    section = dataset_section(methods_of(found, params), facts, pictures.first, sheets)
    return ExperimentRecord(_experiment(enabled, params), name, [section], found)


def settings_of(
    name: str, reader: TrialReader, found: Sequence[ScoredTrial], about: str, **facts: Any
) -> list[Setting]:
    """The settings of trials on the dataset ``name`` beside the paper's; ``about``: main or few-label."""
    params, dataset = reader.params, reader.dataset(name)
    data, train = params.datasets[name], params.train.model_dump()
    train["random_crop"] = params.train.crop < getattr(data, "size", 0) or params.train.scale != (1.0, 1.0)
    methods: dict[str, dict[str, Any]] = {}
    for trial in found:
        method = params.methods[trial.method]
        # What has no effect is no setting.
        idle = {"momentum"} if method.recipe.optimizer != "sgd" else set()
        idle |= {"poly_power"} if method.recipe.schedule != "poly" else set()
        own = method.model_dump(exclude={"contrastive_weight": True, "recipe": idle})
        if method.contrastive_weight:
            own["lambda_2"] = method.contrastive_weight
        methods[trial.method] = own | {"params_m": trial.cost.get("params_m")}
    known = {
        "data": data.model_dump(),
        "pairs": {split: int((dataset.manifest["split"] == split).sum()) for split in SPLITS},
        "train": train,
        "loss": {"margin_ok": MARGIN_OK, "margin_ng": MARGIN_NG},
        "methods": methods,
    }
    titles = {method: params.methods[method].title for method in methods}
    return compare_settings(known | facts, {data.preparer, about}, titles)


@dataclass(frozen=True)
class Variant:
    """A method of the ablation, or the complete method it is a variant of."""

    name: str
    method: MethodParams

    @property
    def decoder(self) -> str:
        """How the decoder uses the distance map; CADNet's own default where nothing is set."""
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


def studies_of(dataset: str, params: ProjectParams) -> tuple[str, list[Study]]:
    """Return the studies that the ablation's trials on ``dataset`` allow: Table 7, the decoder, lambda_2.

    Their reference, returned first, is a method of the main grid: the first that has the ablation's network.
    """
    mine = [trial for trial in ablation_trials(params) if trial.dataset == dataset]
    variants = [Variant(name, params.methods[name]) for name in dict.fromkeys(trial.method for trial in mine)]
    networks = {variant.method.model for variant in variants}
    complete = [Variant(name, params.methods[name]) for name in params.run.methods]
    base = next((one for one in complete if one.method.model in networks), None)
    if base is None:
        return "", []
    weight = base.method.contrastive_weight
    steps = [v for v in variants if v.decoder == "none" and v.method.contrastive_weight in (0.0, weight)]
    others = [v for v in variants if v.differs_only_in(base, "decoder") and v.decoder != "none"]
    weights = [v for v in variants if v.differs_only_in(base, "contrastive_weight")]
    title = title_of(dataset, params)
    mixed = params.datasets[dataset].published is not None
    found = []
    if steps:
        found.append(_steps([*steps, base], title, published=mixed))
    if others:
        text = (
            "How the change-aware decoder uses the distance map: added to the features (the paper's choice "
            "under full supervision) or multiplied with them (its choice for few labels)."
        )
        factors = {v.name: {"decoder": v.decoder} for v in [*others, base]}
        found.append(Study("decoder", f"Decoder: add or multiply, {title}", factors, (text,)))
    if weights:
        found.append(_weights([*weights, base], title))
    return base.name, found


def _steps(rows: Sequence[Variant], title: str, *, published: bool) -> Study:
    """Table 7: the steps towards the complete method."""
    ordered = sorted(rows, key=lambda v: (v.flags[3], v.flags[2], v.flags[1]))
    factors = {
        v.name: dict(zip(("CE", "CL", "BCL", "CAD"), ("✓" if f else "" for f in v.flags), strict=True))
        for v in ordered
    }
    text = (
        "CE: cross-entropy; CL: contrastive loss; BCL: class-balanced contrastive loss; CAD: change-aware "
        "decoder. All rows have the same encoder, data, schedule and seeds.",
    )
    paper = published_ablation({v.flags: v.name for v in rows}) if published else None
    return Study(STEPS, f"Ablation of losses and decoder, {title}", factors, text, paper)


def _weights(rows: Sequence[Variant], title: str) -> Study:
    ordered = sorted(rows, key=lambda v: v.method.contrastive_weight)
    weights = {v.name: v.method.contrastive_weight for v in ordered}
    text = (
        "The weight lambda_2 of the balanced contrastive loss, which is a mean over pixels here. The paper "
        "says 1 without naming its norm.",
    )
    factors = {name: {"lambda_2": f"{weight:g}"} for name, weight in weights.items()}
    axis = ("weight lambda_2 of the contrastive loss", weights)
    return Study("lambda", f"Weight of the contrastive loss, {title}", factors, text, axis=axis)


def _study_records(dataset: str, reader: TrialReader) -> list[ExperimentRecord]:
    params = reader.params
    reference, studies = studies_of(dataset, params)
    if not studies:
        return []
    complete = [t for t in trials(params) if (t.dataset, t.method) == (dataset, reference)]
    variants = [trial for trial in ablation_trials(params) if trial.dataset == dataset]
    found = [*reader.read(variants, "ablation"), *reader.read(complete, "main")]
    sections, shown = [], []
    for study in studies:
        rows = [trial for method in study.factors for trial in found if trial.method == method]
        sheets = []
        if study.name == STEPS:
            named = {trial.method: trial for trial in reversed([*variants, *complete])}
            sheets.append(study_maps(reader.dataset(dataset), [named[m] for m in study.factors], params))
        name = f"{dataset}-{study.name}"
        sections.append(study_section(methods_of(rows, params, reference), study, name, sheets))
        shown += rows
    unique = list({id(trial): trial for trial in shown}.values())
    return [ExperimentRecord(_experiment(variants, params), dataset, sections, unique)]


def _cross_records(reader: TrialReader) -> list[ExperimentRecord]:
    params, grid = reader.params, cross_trials(reader.params)
    if not grid:
        return []
    found = reader.read(grid, "cross")
    names = kind_names(params.cross.datasets, params)
    proposed = [m for m in params.cross.methods if params.methods[m].model == PROPOSED]
    # The paper's decoder for kinds of defect that were not learnt.
    multiplying = [m for m in proposed if params.methods[m].options.get("decoder") == "multiply"]
    methods = methods_of(found, params, next(iter(multiplying), ""))
    section = cross_section(methods, names, letters_of(names), proposed)
    return [
        ExperimentRecord(
            _experiment([t for t in grid if t.test_dataset == name], params), name, [section], found
        )
        for name in params.cross.datasets
    ]


def kind_names(datasets: Sequence[str], params: ProjectParams) -> dict[str, str]:
    """The kind of defect that each dataset holds, or, where that does not tell them apart, its name."""
    kinds = [class_title(params.datasets[name].defect_kind) for name in datasets]
    distinct = all(kinds) and len(set(kinds)) == len(kinds)
    return dict(zip(datasets, kinds if distinct else datasets, strict=True))


def letters_of(names: Mapping[str, str]) -> dict[str, str]:
    """A capital for each dataset, or its whole name where capitals would not tell them apart."""
    capitals = [name[0].upper() for name in names.values()]
    distinct = len(set(capitals)) == len(names)
    return dict(zip(names, capitals if distinct else names.values(), strict=True))


def few_label_records(reader: TrialReader) -> list[ExperimentRecord]:
    """All trials of the few-label grid as one comparison; empty where the grid is off."""
    params, grid = reader.params, semi_trials(reader.params)
    if not grid:
        return []
    semi, found = params.semi, reader.read(grid, "few-label")
    methods = methods_of(found, params)
    names = kind_names([semi.pretrain, semi.dataset], params)
    model = params.methods[methods.reference].model
    facts = FewLabelFacts(
        semi.unlabelled,
        names[semi.pretrain],
        names[semi.dataset],
        [m for m in semi.methods if params.methods[m].semi is not None and params.methods[m].model == model],
        _few_label_text(params, names),
        settings_of(semi.dataset, reader, found, "few-label", semi=semi.model_dump()),
    )
    dataset = open_scored(grid[0], semi.dataset, params)
    section = few_label_section(
        methods, facts, [label_sheet(dataset, grid, supervised_trials(params), params)]
    )
    return [ExperimentRecord(_experiment(grid, params), semi.dataset, [section], found)]


def supervised_trials(params: ProjectParams) -> dict[str, TrialName]:
    """Trials that learnt all labels of what the few-label grid is tested on, by title: CADNet and SegFormer.

    Of that very dataset where a grid has them, else of one with all kinds of defect on the same screens.
    """
    tested = params.datasets[params.semi.dataset]
    known = [*trials(params), *(TrialName(*names) for names in params.cross.trials)]
    apart = {"subset", "seed", "defective_per_pattern", "clean_per_pattern"}
    alike = [
        name
        for name, about in params.datasets.items()
        if about.defect_kind == "mixed"
        and about.model_dump(exclude=apart) == tested.model_dump(exclude=apart)
    ]
    found: dict[str, TrialName] = {}
    for model in ("segformer", PROPOSED):
        mine = [trial for trial in known if params.methods[trial.method].model == model]
        ordered = [trial for name in (params.semi.dataset, *alike) for trial in mine if trial.dataset == name]
        if ordered:
            title = params.methods[ordered[0].method].title
            found[f"{title}, all labels"] = ordered[0]
    return found


def _few_label_text(params: ProjectParams, names: Mapping[str, str]) -> tuple[str, ...]:
    semi, batch = params.semi, params.train.batch_size
    before, after = names[semi.pretrain], names[semi.dataset]
    return (
        f"Every method learns all labels of {before} defects first, and then, from those weights, a fraction "
        f"of the labels of {after} defects: {semi.epochs} epochs of {semi.steps} steps of {batch} labelled "
        f"samples, whatever the fraction. Semi-supervised methods see {batch} unlabelled samples besides in "
        f"each step, out of {100 * semi.unlabelled:g} % of the training samples. The labelled samples are "
        "the same for all methods and seeds, each fraction holding the smaller ones, drawn evenly from the "
        "display patterns.",
        f"All are tested on {after} defects of display patterns that no training has seen. Weights and "
        "thresholds are chosen on the validation pattern, which has all its labels: without fine-tuning on "
        f"that of {before}, else on that of {after}.",
    )


def _experiment(grid: Sequence[TrialName], params: ProjectParams) -> str:
    """The experiment of trials that are scored on one dataset."""
    return tracked(grid[0], params).experiment


def _misalignment_sections(params: ProjectParams) -> list[Section]:
    grid = misaligned_trials(params)
    missing = [str(trial.misaligned) for trial in grid if not trial.misaligned.is_file()]
    if missing:
        raise FileNotFoundError(f"there is no {', '.join(missing)}; run `make repro` or `dvc repro` first")
    sections = []
    for name in dict.fromkeys(trial.dataset for trial in grid):
        mine = [trial for trial in grid if trial.dataset == name]
        tables = [pd.read_csv(t.misaligned).assign(method=t.method, seed=t.seed) for t in mine]
        found, titles = pd.concat(tables), {key: method.title for key, method in params.methods.items()}
        siamese = [t.method for t in mine if params.methods[t.method].model == PROPOSED]
        proposed = next(iter(siamese), mine[0].method)
        about = f"{name}-misaligned", title_of(name, params), params.run.scale
        sections.append(misalignment_section(found, titles, proposed, *about))
    for section in sections:
        section.write_files(REPORTS)
    return sections


def paper_section(params: ProjectParams) -> Section:
    """Which of the paper's tables and figures the page holds, and why others are missing."""
    shown = {params.datasets[name].published for name in params.run.datasets} - {None}
    rows = {}
    for what, table, preparer in (
        ("Table 3, Figs 8 and 9", "table3_synlcd", "synlcd"),
        ("Table 4, Fig. 10", "table4_pcb", "pku_pcb"),
        ("Table 5, Fig. 11", "table5_mvtec", "mvtec_ad"),
    ):
        raws = [Path(about.raw) for about in params.datasets.values() if about.preparer == preparer]
        absent = [str(raw) for raw in raws if not raw.exists()]
        missing = f"no: there are no raw data at {absent[0]}, see `make fetch-data`" if absent else ""
        rows[what] = "yes" if table in shown else missing or "no: not in run.datasets"
    grids = {
        "Table 6, Figs 1 and 12": ("semi", params.semi.trials),
        "Table 7, Fig. 7": ("ablation", params.ablation.trials),
        "Fig. 6": ("cross", params.cross.trials),
    }
    rows |= {what: "yes" if found else f"no: the grid {key} is off" for what, (key, found) in grids.items()}
    cells = [Row(what, [Cell(text)]) for what, text in rows.items()]
    fold = Fold("Tables and figures of the paper", [Table("", ["On this page"], cells, "Paper", texts=True)])
    return Section("paper", "What of the paper is here", blocks=[fold])


def search_section(params: ProjectParams) -> Section | None:
    """Search space, budget and outcome by family of networks; None when nothing was searched."""
    path = search_table(params.search.dataset) if params.search else None
    if path is None or not path.is_file():
        return None
    table = pd.read_csv(path)
    rates = [
        f"{str(o).upper().replace('ADAMW', 'AdamW')} {float(lr):g}"
        for o, lr in zip(table["optimizer"], table["lr"], strict=True)
    ]
    table = table.assign(candidate=rates)
    trainings = sorted(set(table.groupby("method").size()))
    facts = [
        f"trainings of each method: {' to '.join(map(str, trainings))}",
        *(
            f"{key}: {', '.join(dict.fromkeys(table[key].astype(str)))}"
            for key in ("epochs", "pairs", "scale")
        ),
        "searched: optimiser and learning rate; batch, augmentation, data order and length are the same",
        "scores: validation patterns; the test patterns were not looked at",
    ]
    untried = [params.methods[m].title for m in params.run.methods if m not in set(table["method"])]
    if untried:
        facts.append(f"not searched, with the recipe of their family: {', '.join(untried)}")
    tables = []
    for family, rows in table.groupby("family", sort=False):
        wide = rows.pivot_table(index="method", columns="candidate", values="val_miou", sort=False) * 100
        wide.loc["mean"] = wide.mean()
        titles = {name: method.title for name, method in params.methods.items()}
        wide.insert(0, "Method", [titles.get(str(name), str(name)) for name in wide.index])
        chosen = (params.methods[name].recipe for name in params.run.methods if name in wide.index)
        taken = {f"{one.optimizer.upper().replace('ADAMW', 'AdamW')} {one.lr:g}" for one in chosen}
        wide = wide.rename(columns={name: f"{name} (taken)" for name in taken})
        caption = f"Validation mIoU in percent by candidate, family {family}"
        tables.append(frame_block(caption, wide.reset_index(drop=True).rename_axis(columns=None)))
    blocks = [Fold("Search space, budget and outcome", [Text(facts, items=True), *tables])]
    return Section("search", "How the recipes were chosen", blocks=blocks)


def main() -> None:
    """Entry of ``python -m pipelines.stages.report``."""
    run_stage(lambda: report(load_params(PARAMS)))
    sys.stdout.write(f"report: open {REPORTS / 'index.html'}\n")


if __name__ == "__main__":
    main()
