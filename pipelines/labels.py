"""Choose the training samples of the few-label grid that are labelled at each fraction, or unlabelled.

    python -m pipelines.labels [--seed 0] [--replace]

The list belongs to the parameters in force and goes to ``semi.labels``; it is committed, so that everyone
trains with the same labels. Nothing has to be prepared for it: the ids of SynLCD's samples follow from the
parameters. It is outside ``splits/``, because a new file there would prepare every dataset again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from cadnet.config import ConfigError, ProjectParams, SemiParams, SynLCDParams, load_params
from cadnet.datasets.label_lists import LabelList, draw_label_list, read_label_list
from cadnet.files import write_text
from cadnet.synthesis.generator import sample_name
from cadnet.writing.splits import read_splits
from pipelines.stages.command import run_stage
from pipelines.trials import PARAMS


def generate(params: ProjectParams, seed: int = 0, *, replace: bool = False) -> str:
    """Choose the label list of ``semi`` and write it, unless the same file exists.

    Args:
        params: the grid may be off.
        seed: decides which samples are taken; noted in the list.
        replace: whether another list may be overwritten.

    Returns:
        One line that says how many samples of each pattern are labelled and unlabelled.

    Raises:
        ConfigError: ``semi`` is incomplete or its dataset is not SynLCD, or another list exists.
        DatasetError: a fraction is so small that it adds no sample.
        FileNotFoundError: the dataset has no split list.
    """
    semi = params.semi
    rows = training_rows(_synlcd(params))
    path = Path(semi.labels)
    chosen = draw_label_list(rows, semi.fractions, semi.unlabelled, seed)
    text = f"# {_note(semi, seed)}\n" + chosen.to_csv(index=False, lineterminator="\n")
    if not path.is_file() or path.read_text("utf-8") != text:
        if path.exists() and not replace:
            raise ConfigError(
                f"{path} holds another list than seed {seed} and {PARAMS} give; repeat with --replace to "
                "overwrite it, which fine-tunes every network again, or name another file in semi.labels"
            )
        write_text(path, text)
    return f"{path}, seed {seed}, {_counts(read_label_list(path), rows)}"


def training_rows(params: SynLCDParams) -> pd.DataFrame:
    """Return the training samples that a SynLCD dataset has or will have, before it is generated.

    Returns:
        The manifest's columns ``sample_id, split, group, has_defect``.

    Raises:
        FileNotFoundError: no split list.
        PreparationError: the split list is wrong.
    """
    kinds = ((True, params.defective_per_pattern), (False, params.clean_per_pattern))
    return pd.DataFrame(
        [
            {
                "sample_id": sample_name(params.subset, pattern, index, defective),
                "split": split,
                "group": pattern,
                "has_defect": defective,
            }
            for pattern, split in read_splits(params.split_list, "pattern").items()
            if split == "train"
            for defective, count in kinds
            for index in range(count)
        ],
        columns=["sample_id", "split", "group", "has_defect"],
    )


def _synlcd(params: ProjectParams) -> SynLCDParams:
    """Return the dataset of the grid; raise ConfigError where a parameter of the list is missing."""
    semi = params.semi
    for key in ("dataset", "labels", "fractions"):
        if not getattr(semi, key):
            raise ConfigError(f"semi.{key} in {PARAMS} is empty, so there is no list to choose; fill it in")
    dataset = params.datasets.get(semi.dataset)
    if not isinstance(dataset, SynLCDParams):
        fault = "is not SynLCD" if dataset else "is not defined"
        raise ConfigError(
            f"semi.dataset '{semi.dataset}' in {PARAMS} {fault}; name a subset such as synlcd-line"
        )
    return dataset


def _note(semi: SemiParams, seed: int) -> str:
    fractions = ", ".join(map(str, semi.fractions))
    return f"seed {seed}, {semi.dataset}, labelled {fractions}, unlabelled {semi.unlabelled}"


def _counts(labels: LabelList, rows: pd.DataFrame) -> str:
    """Return, as text, how many samples of each pattern are labelled and unlabelled."""
    patterns: dict[str, list[str]] = {}
    for pattern, samples in rows.groupby("group")["sample_id"]:
        members = set(samples)
        counts = [f"{len(members.intersection(labels.labelled(f)))} at {f}" for f in labels.fractions]
        unlabelled = len(members.intersection(labels.unlabelled))
        text = f"of {len(members)} samples labelled {', '.join(counts)}, unlabelled {unlabelled}"
        patterns.setdefault(text, []).append(str(pattern))
    return "; ".join(f"each pattern of {', '.join(names)}: {text}" for text, names in patterns.items())


def main() -> None:
    """Entry of ``python -m pipelines.labels``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0, help="decides which samples are taken")
    parser.add_argument("--replace", action="store_true", help="overwrite another list")
    arguments = parser.parse_args()

    def body() -> None:
        sys.stdout.write(generate(load_params(PARAMS), arguments.seed, replace=arguments.replace) + "\n")

    run_stage(body)


if __name__ == "__main__":
    main()
