"""Names of the grids' trials and of the files that each stage reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cadnet.config import ProjectParams
from cadnet.tracking.trials import Trial

PARAMS = Path("params.yaml")
CACHE = Path("cache")
"""Decoded splits; may be deleted at any time."""
CHECKPOINTS = Path("checkpoints")
"""State of unfinished trainings."""
REPORTS = Path("reports")
GATES = REPORTS / "gate"
PRODUCTS = Path("products")
VERSIONS = CACHE / "registry"
"""Downloaded versions; may be deleted at any time."""
DECISION = "decision.json"
"""The decision as JSON, in the product's folder below :data:`GATES`."""


def dataset_folder(dataset: str) -> Path:
    """Return the folder of a prepared dataset."""
    return Path("datasets") / dataset


def validation_folder(dataset: str) -> Path:
    """Return the folder of the verdict on a prepared dataset."""
    return REPORTS / "validate" / dataset


def product_folder(product: str) -> Path:
    """Return the folder of a product's champion, which only a promotion changes."""
    return PRODUCTS / product


def candidate_folder(product: str) -> Path:
    """Return the folder of a product's best network, whatever the gate says of it."""
    return Path("candidates") / product


def registration_file(product: str) -> Path:
    """Return the file that says which trial was registered as the product, and why."""
    return REPORTS / "register" / f"{product}.json"


def gate_folder(product: str) -> Path:
    """Return the folder of the last decision on a product."""
    return GATES / product


def search_table(dataset: str) -> Path:
    """Return the table of the search for recipes."""
    return Path("params/search") / f"{dataset}.csv"


VERDICT = "summary.json"
"""The verdict as JSON."""


@dataclass(frozen=True)
class TrialName:
    """One trial of a grid: what was trained on what with which seed, and what it is scored on.

    ``test`` names the dataset whose test split scores the trial, where that is a cross-test; "" is its own.
    ``fraction`` is the labelled fraction of the training samples, in (0, 1], that the trial of the few-label
    grid is fine-tuned with; 0 is the network as it comes from pretraining, None is a trial of another grid.
    """

    dataset: str
    method: str
    seed: int
    test: str = ""
    fraction: float | None = None

    @property
    def path(self) -> Path:
        """Relative path shared by all files of the training."""
        return Path(self.dataset) / self._within

    @property
    def scored_path(self) -> Path:
        """Relative path shared by all files of the evaluation."""
        return Path(f"{self.dataset}-on-{self.test}" if self.test else self.dataset) / self._within

    @property
    def _within(self) -> Path:
        label = "" if self.fraction is None else f"label{fraction_text(self.fraction)}"
        return Path(self.method) / label / f"s{self.seed}"

    def __str__(self) -> str:
        return self.scored_path.as_posix()

    @property
    def test_dataset(self) -> str:
        """The dataset whose test split scores the trial."""
        return self.test or self.dataset

    @property
    def model(self) -> Path:
        """Trained weights, their description and the training history."""
        return Path("models") / self.path

    @property
    def history(self) -> Path:
        """One row per epoch, for `dvc plots`."""
        return REPORTS / "history" / self.path.with_suffix(".csv")

    @property
    def metrics(self) -> Path:
        """Headline test numbers, for `dvc metrics`."""
        return REPORTS / "metrics" / self.scored_path.with_suffix(".json")

    @property
    def curves(self) -> Path:
        """Precision-recall and F-threshold curves, for `dvc plots`."""
        return REPORTS / "curves" / self.scored_path.with_suffix(".csv")

    @property
    def misaligned(self) -> Path:
        """Scores on pairs that are apart, for each shift and angle."""
        return REPORTS / "evaluation" / f"{self.dataset}-misaligned" / self._within.with_suffix(".csv")

    @property
    def evaluation(self) -> Path:
        """Everything the test measured: full result, counts and cost."""
        return REPORTS / "evaluation" / self.scored_path


def misaligned_trials(params: ProjectParams) -> list[TrialName]:
    """Return the trials of the main grid that are scored on misaligned pairs, too."""
    return [trial for trial in trials(params) if trial.method in params.misalignment.methods]


def trials(params: ProjectParams) -> list[TrialName]:
    """Return the trials of the main grid, in order."""
    return [TrialName(*names) for names in params.run.trials]


def ablation_trials(params: ProjectParams) -> list[TrialName]:
    """Return the trials of the ablation, without the complete method, which is of the main grid."""
    return [TrialName(*names) for names in params.ablation.trials]


def cross_trials(params: ProjectParams) -> list[TrialName]:
    """Return the cross-tests: each training of the grid scored on each of its datasets, its own too."""
    grid = params.cross
    return [
        TrialName(dataset, method, seed, test)
        for dataset, test, method, seed in product(grid.datasets, grid.datasets, grid.methods, grid.seeds)
    ]


def semi_trials(params: ProjectParams) -> list[TrialName]:
    """Return the trials of the few-label grid, a method's pretrained network before its fine-tuned ones."""
    return [
        TrialName(dataset, method, seed, fraction=fraction)
        for dataset, method, fraction, seed in params.semi.trials
    ]


def trained_on(trial: TrialName, params: ProjectParams) -> str:
    """Name of the dataset the trial learns from; a pretrained network of the few-label grid has another."""
    return params.semi.pretrain if trial.fraction == 0 else trial.dataset


def takes_one_class(trial: TrialName, params: ProjectParams) -> bool:
    """Whether all defects are one class to the trial.

    So they are in the few-label grid, and in the cross grid to a method that knows no more: there all
    methods are compared on defects as such.
    """
    crossed = (trial.dataset, trial.method, trial.seed) in params.cross.trials
    return trial.fraction is not None or (crossed and params.methods[trial.method].one_class)


def fraction_text(fraction: float) -> str:
    """Return a labelled fraction as DVC writes it into names and paths: "0.05", "1.0"; "0" for none."""
    return str(float(fraction)) if fraction else "0"


def training_stage(trial: TrialName, params: ProjectParams) -> str:
    """Name of the DVC stage that trains the trial."""
    if trial.fraction is not None:
        fraction = f"-{fraction_text(trial.fraction)}" if trial.fraction else ""
        return f"{'finetune' if fraction else 'pretrain'}@{trial.method}{fraction}-{trial.seed}"
    grid = _grid(trial, params)
    suffix = "" if grid == "run" else f"-{grid}"
    return f"train{suffix}@{trial.dataset}-{trial.method}-{trial.seed}"


def _grid(trial: TrialName, params: ProjectParams) -> str:
    """The supervised grid that trains the trial; the main one for a trial that none has, run by hand."""
    own = (trial.dataset, trial.method, trial.seed)
    return next((name for name, grid in params.grids.items() if own in grid.trials), "run")


def validation_stage(dataset: str) -> str:
    """Name of the DVC stage that validates a dataset."""
    return f"validate@{dataset}"


def tracked(trial: TrialName, params: ProjectParams) -> Trial:
    """The trial as the tracking store names it.

    A cross-test is an experiment of the dataset it is scored on, its variant says what it was trained on. In
    the few-label grid the variant is the labelled fraction in %: ``label5``.
    """
    dataset = trial.test_dataset
    known = params.datasets.get(dataset)
    subset = known.defect_kind if known else ""
    if trial.test:
        task, variant = "cross", f"from-{trial.dataset}"
    elif trial.fraction is not None:
        task, variant = "semi", f"label{100 * trial.fraction:g}"
    else:
        task = "ablation" if _grid(trial, params) == "ablation" else "supervised"
        variant = ""
    return Trial(
        dataset, trial.method, trial.seed, task=task, scale=params.run.scale, variant=variant, subset=subset
    )
