"""SynLCD as a prepared dataset."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

import cadnet.images
import cadnet.synthesis
from cadnet.config import SynLCDParams
from cadnet.files import file_digest
from cadnet.synthesis.generator import PALETTE, SynLCDGenerator, classes_of, sample_name
from cadnet.synthesis.patterns import load_patterns
from cadnet.writing.dataset import write_dataset
from cadnet.writing.splits import read_splits
from cadnet.writing.units import Output, Plan, PreparationError, Unit, mask_pixels, tools

CHUNK_PIXELS = 8 * 512 * 512
"""Pixels per task: small enough for smooth progress, a quick Ctrl-C and little loss after a kill."""


class SampleKey(NamedTuple):
    """Which sample to generate; the unit of a reference has none."""

    pattern: str
    number: int
    defective: bool


class SampleRenderer:
    """Generates samples; a unit without a payload is the pattern of its name, written as reference."""

    def __init__(self, params: SynLCDParams, patterns: dict[str, np.ndarray], splits: dict[str, str]) -> None:
        self._params, self._patterns, self._splits = params, patterns, splits

    @cached_property
    def _generator(self) -> SynLCDGenerator:
        return SynLCDGenerator(self._patterns, self._params)

    def render(self, unit: Unit, output: Output) -> None:
        """Generate the sample or reference of ``unit``.

        Raises:
            ValueError: no defect is visible on a pattern.
        """
        if unit.payload is None:
            output.image("references", unit.unit_id, self._generator.reference(unit.unit_id))
            return
        key: SampleKey = unit.payload
        sample = self._generator.sample(*key)
        output.row(
            sample_id=sample.sample_id,
            image=output.image("images", sample.sample_id, sample.image),
            reference=f"references/{key.pattern}.png",
            mask=output.image("masks", sample.sample_id, sample.mask),
            split=self._splits[key.pattern],
            subset=self._params.subset,
            group=key.pattern,
            has_defect=key.defective,
            width=self._params.size,
            height=self._params.size,
            **mask_pixels(sample.mask, classes_of(self._params)),
        )


def write_synlcd(
    params: SynLCDParams,
    out: Path | str,
    workers: int = 1,
    progress: bool = False,
) -> Path:
    """Generate a whole SynLCD subset in the folder ``out``; see :func:`cadnet.writing.dataset.write_dataset`.

    Raises:
        PreparationError: as there, and for a wrong split list or a pattern that no defect is visible on.
        PatternError: clean patterns are missing or unusable.
        FileNotFoundError: no split list.
    """
    return write_dataset(plan_synlcd(params), out, workers, progress)


def plan_synlcd(params: SynLCDParams) -> Plan:
    """Describe the dataset of ``params``; raises as :func:`write_synlcd`."""
    splits = read_splits(params.split_list, "pattern")
    patterns = load_patterns(params.patterns, params.size, list(splits))
    samples = tuple(_samples(params, list(splits)))
    if not samples:
        raise PreparationError("defective_per_pattern and clean_per_pattern are both 0; raise one of them")
    classes = classes_of(params)
    return Plan(
        preparer="synlcd",
        name=f"synlcd-{params.subset}",
        classes=classes,
        palette=PALETTE[: len(classes)],
        units=(*(Unit(name) for name in splits), *samples),
        renderer=SampleRenderer(params, patterns, splits),
        description={
            "params": params.model_dump(mode="json", exclude={"patterns", "split_list"}),
            "splits": splits,
            "sources": {name: file_digest(Path(params.patterns) / f"{name}.png") for name in splits},
        },
        tools=tools(cadnet.synthesis, cadnet.images),
        chunk=min(64, max(1, CHUNK_PIXELS // params.size**2)),
    )


def _samples(params: SynLCDParams, patterns: list[str]) -> Iterator[Unit]:
    for pattern in patterns:
        for defective, count in ((True, params.defective_per_pattern), (False, params.clean_per_pattern)):
            for index in range(count):
                name = sample_name(params.subset, pattern, index, defective)
                yield Unit(name, SampleKey(pattern, index, defective))
