"""A whole ``params.yaml``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cadnet.config.base import Name, Params
from cadnet.config.datasets import DatasetParams
from cadnet.config.operate import ProductParams, ValidateParams
from cadnet.config.semi import OFF, SemiParams, check_protocol
from cadnet.config.training import EvaluateParams, MethodParams, Recipe, TrainParams

Seed = Annotated[int, Field(ge=0)]


class GridParams(Params):
    """A grid of trainings: every method on every dataset with every seed. An empty list switches it off."""

    datasets: tuple[Name, ...] = ()
    methods: tuple[Name, ...] = ()
    seeds: tuple[Seed, ...] = ()

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        for key in ("datasets", "methods", "seeds"):
            values: tuple[Any, ...] = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key} {list(values)} names something twice; remove the repetition")
        return self

    @property
    def trials(self) -> tuple[tuple[str, str, int], ...]:
        """The grid's trials as (dataset, method, seed), in order."""
        return tuple(product(self.datasets, self.methods, self.seeds))


class RunParams(GridParams):
    """The main grid, and what all grids are called."""

    scale: str
    """Shown in every title, for example 'small scale: 128 px, 10 epochs'."""
    datasets: Annotated[tuple[Name, ...], Field(min_length=1)]
    methods: Annotated[tuple[Name, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]


class SearchParams(Params):
    """What was tried before the recipes were settled: the same number of trainings for every method."""

    dataset: Name
    """The methods are scored on its validation split; the test split is not looked at."""
    recipes: dict[Name, Annotated[tuple[Recipe, ...], Field(min_length=1)]]
    """The candidates for each family of ``methods``."""
    seed: Seed = 0


class MisalignmentParams(Params):
    """The study of pairs that are apart (paper, limitation 1)."""

    methods: tuple[Name, ...] = ()
    """Methods of the main grid that are scored so; none switches the study off."""
    shifts: tuple[Annotated[float, Field(ge=0)], ...] = (0, 1, 2, 4, 8)
    """Pixels on images of 512 px, which scale with the images."""
    angles: tuple[Annotated[float, Field(ge=0, le=45)], ...] = (0, 0.5, 1, 2)
    """Degrees about the middle."""


class ProjectParams(Params):
    """A whole ``params.yaml``."""

    run: RunParams
    ablation: GridParams = GridParams()
    """Variants of a method of the main grid, on datasets of it (paper Table 7)."""
    cross: GridParams = GridParams()
    """Trained on each of its datasets and tested on each (paper Fig. 6)."""
    semi: SemiParams = OFF
    """Few labels of a kind of defect that the networks have not learnt (paper Table 6)."""
    misalignment: MisalignmentParams = MisalignmentParams()
    prepare: Annotated[tuple[Name, ...], Field(min_length=1)]
    """The datasets that are prepared and validated; grids name datasets of it."""
    products: dict[Name, ProductParams] = Field(default_factory=dict)
    """What is registered after the main grid, by the product's name."""
    datasets: dict[Name, DatasetParams]
    methods: dict[Name, MethodParams]
    train: TrainParams
    search: SearchParams | None = None
    evaluate: EvaluateParams = EvaluateParams()
    validation: ValidateParams = Field(default=ValidateParams(), alias="validate")

    @property
    def grids(self) -> dict[str, GridParams]:
        """The supervised grids by their key in the file."""
        return {"run": self.run, "ablation": self.ablation, "cross": self.cross}

    @model_validator(mode="after")
    def _references_exist(self) -> Self:
        candidates = self.search.recipes if self.search else {}
        registered = self.products.items()
        checks: list[tuple[str, Iterable[str], Iterable[str]]] = [
            *((f"{key}.datasets", grid.datasets, self.datasets) for key, grid in self.grids.items()),
            *((f"{key}.methods", grid.methods, self.methods) for key, grid in self.grids.items()),
            ("prepare", self.prepare, self.datasets),
            *((key, names, self.datasets) for key, names in self._single_datasets.items()),
            ("semi.methods", self.semi.methods, self.methods),
            *((f"products.{key}.methods", one.methods, self.run.methods) for key, one in registered),
            ("misalignment.methods", self.misalignment.methods, self.run.methods),
            ("search.recipes", candidates, {method.family for method in self.methods.values()}),
        ]
        for what, names, known in checks:
            missing = sorted(set(names) - set(known))
            if missing:
                raise ValueError(f"{what} names {missing}, which is not defined; defined: {sorted(known)}")
        return self

    @property
    def _single_datasets(self) -> dict[str, list[str]]:
        """Keys that name one dataset, each with its name if it is used."""
        searched = [self.search.dataset] if self.search else []
        before, after = ([self.semi.pretrain], [self.semi.dataset]) if self.semi.trials else ([], [])
        accepted = {f"products.{key}.acceptance": [one.acceptance] for key, one in self.products.items()}
        return {"search.dataset": searched, "semi.pretrain": before, "semi.dataset": after, **accepted}

    @model_validator(mode="after")
    def _prepared(self) -> Self:
        """What a stage reads another one makes."""
        if len(set(self.prepare)) < len(self.prepare):
            raise ValueError(f"prepare {list(self.prepare)} names something twice; remove the repetition")
        # A grid that is off needs no data, whatever it names.
        used = {f"{key}.datasets": [trial[0] for trial in grid.trials] for key, grid in self.grids.items()}
        for what, names in (used | self._single_datasets).items():
            missing = sorted(set(names) - set(self.prepare))
            if missing:
                raise ValueError(f"{what} names {missing}, which `prepare` does not; add it there")
        return self

    @model_validator(mode="after")
    def _few_label_protocol(self) -> Self:
        if self.semi.trials:
            check_protocol(self.semi, self.datasets)
        return self

    @model_validator(mode="after")
    def _products_are_made(self) -> Self:
        """What is registered the main grid trains, and nothing learns what the gate looks at."""
        trained = {trial[0] for grid in self.grids.values() for trial in grid.trials}
        trained |= {self.semi.pretrain, self.semi.dataset} if self.semi.trials else set()
        for key, entry in self.products.items():
            if entry.dataset not in self.run.datasets:
                raise ValueError(
                    f"products.{key}.dataset is '{entry.dataset}', which run.datasets does not name; add it "
                    "there, or remove the product"
                )
            if entry.acceptance in trained:
                raise ValueError(
                    f"products.{key}.acceptance is '{entry.acceptance}', which a grid trains on; give a "
                    "dataset of its own"
                )
        return self

    @model_validator(mode="after")
    def _keys_without_dots(self) -> Self:
        for what in ("datasets", "methods", "products"):
            dotted = [name for name in getattr(self, what) if "." in name]
            if dotted:
                # DVC reads a parameter's name as a path whose parts are joined by dots.
                raise ValueError(f"{what} has {dotted}: names must not hold a dot; write - or _ instead")
        return self

    @model_validator(mode="after")
    def _made_once(self) -> Self:
        """Two stages of the graph must not make the same thing."""
        trials = Counter(trial for grid in self.grids.values() for trial in grid.trials)
        twice = ["/".join(map(str, trial)) for trial, number in trials.items() if number > 1]
        if twice:
            raise ValueError(f"{twice} is in more than one of {list(self.grids)}; name it in one")
        foreign = sorted(set(self.ablation.datasets) - set(self.run.datasets))
        if foreign:
            raise ValueError(f"ablation.datasets names {foreign}, which run.datasets does not; add it there")
        return self
