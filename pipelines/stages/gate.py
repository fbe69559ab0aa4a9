"""Stage ``gate``: whether the registered network of a product replaces the one in use."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cadnet.config import ProjectParams
from cadnet.datasets.cache import DecodedSplit, decode_split
from cadnet.datasets.manifest import DatasetError, PreparedDataset, open_dataset
from cadnet.evaluation.counts import Counts
from cadnet.evaluation.gate import decide
from cadnet.files import atomic_directory, file_digest, parse_json, read_json, write_json, write_text
from cadnet.inference import Predictor, Product, read_product
from cadnet.inference.acceptance import acceptance_counts, measure
from cadnet.inference.product import copy_product
from cadnet.reporting.gate import Acceptance, Choice, GateRecord, render_gate
from cadnet.tracking import track_stage
from cadnet.tracking.champion import Folders, install_champion, leave_empty
from cadnet.tracking.product_logging import fetch_version
from cadnet.tracking.registry import (
    APPROVED,
    CHAMPION,
    RETIRED,
    TAG_BY_HAND,
    TAG_DECISION,
    TAG_TRAINING,
    Registry,
    Version,
    open_registry,
)
from cadnet.writing.progress import open_progress
from pipelines.stages.command import run_product_stage
from pipelines.stages.scoring import device_name
from pipelines.trials import (
    CACHE,
    DECISION,
    PRODUCTS,
    VERSIONS,
    TrialName,
    candidate_folder,
    dataset_folder,
    gate_folder,
    product_folder,
    registration_file,
    tracked,
)

PAGE = "index.html"


def gate(name: str, params: ProjectParams) -> None:
    """Decide on the product's registered version, promote or reject it, and write the decision and its page.

    The product's folder becomes the champion's. A version that was approved is not decided on again: whoever
    has gone back to the champion before it would get it again every night. Nor is a retired one.

    Raises:
        DatasetError: the acceptance set has other classes, or images that were trained on.
        ValueError: champion and challenger cannot be compared.
        TrackingError: the registry cannot be used.
    """
    registered = read_json(registration_file(name))
    trial = TrialName(**registered["trial"])
    with track_stage(tracked(trial, params), registered["training"], stage="gate"):
        registry = open_registry()
        if registry is None:
            candidate = read_product(candidate_folder(name))
            record = _decided(name, params, Choice(**registered["choice"]), candidate)
            if record.passed:
                copy_product(candidate, product_folder(name))
            elif not product_folder(name).is_dir():
                leave_empty(product_folder(name))
        else:
            record = _settled(name, params, registered, registry)
            install_champion(registry, name, Folders(PRODUCTS, VERSIONS))
    with atomic_directory(gate_folder(name)) as folder:
        _write(folder, record)


def _settled(name: str, params: ProjectParams, registered: dict[str, Any], registry: Registry) -> GateRecord:
    """Decide on the registered version unless that is done, act on it, and return the decision."""
    registry.settle(registered["model"])
    version = registry.version(registered["model"], registered["version"] or 0)
    if version is None:
        raise ValueError(
            f"{registered['model']} has no version {registered['version']}; register it again: "
            f"dvc repro -f -s register@{name}"
        )
    is_settled = version.status in (APPROVED, RETIRED)
    if not is_settled:
        registry.nominate(version)
    if is_settled and (decision := version.tags.get(TAG_DECISION)):
        record = GateRecord.from_dict(parse_json(decision))
    else:
        # Nobody's champion before it where it is settled already: it may be champion itself.
        holder = None if is_settled else registry.holder(version.model, CHAMPION)
        champion = None if holder is None else (holder, fetch_version(registry, holder, VERSIONS))
        product = fetch_version(registry, version, VERSIONS)
        record = _decided(name, params, Choice(**registered["choice"]), product, version, champion)
        with tempfile.TemporaryDirectory(prefix="cadnet-") as folder:
            _write(Path(folder), record)
            # Before anything changes, so that no promotion is without its reasons.
            registry.decided(version, json.dumps(record.to_dict()), Path(folder))
    if is_settled:
        by_hand = version.tags.get(TAG_BY_HAND, "")
        return replace(record, in_use=version.status == APPROVED if by_hand else None, by_hand=by_hand)
    if record.passed:
        registry.promote(version)
    else:
        registry.reject(version, record.decision.reasons)
    return record


def _decided(
    name: str,
    params: ProjectParams,
    choice: Choice,
    product: Product,
    version: Version | None = None,
    champion: tuple[Version, Product] | None = None,
) -> GateRecord:
    """Measure challenger and champion, where there are versions, on the acceptance set and decide."""
    settings = params.products[name]
    dataset = open_dataset(dataset_folder(settings.acceptance))
    refuse_trained_on(dataset, settings.split, open_dataset(dataset_folder(settings.dataset)))
    decoded = decode_split(dataset, settings.split, CACHE)
    _require_classes(product, dataset)
    limits = settings.gate
    with open_progress(True, len(decoded.rows), 0, f"gate of {name}") as bar:
        challenger = measure(product, decoded, limits, bar.advance)
    before = None
    if version is not None and champion is not None:
        before = _champion_counts(champion[1], decoded, dataset)
        trainings = {one.tags.get(TAG_TRAINING, str(one)) for one in (version, champion[0])}
        if len(trainings) == 1:
            limits = limits.model_copy(update={"mode": "not_worse"})
    decision = decide(challenger, before, dataset.classes, decoded.rows, limits, params.evaluate.defect_sizes)
    return GateRecord(
        product=name,
        model=None if version is None else version.model,
        version=None if version is None else version.number,
        champion=None if champion is None else champion[0].number,
        decision=decision,
        acceptance=Acceptance(
            settings.acceptance,
            settings.split,
            dataset.digest,
            len(decoded.rows),
            int(decoded.rows["has_defect"].sum()),
        ),
        choice=choice,
        scale=params.run.scale,
        device=device_name("cuda" if torch.cuda.is_available() else "cpu"),
        decided=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _champion_counts(product: Product, decoded: DecodedSplit, dataset: PreparedDataset) -> Counts:
    _require_classes(product, dataset)
    with open_progress(True, len(decoded.rows), 0, "champion") as bar:
        return acceptance_counts(Predictor(product, alignment=False), decoded, bar.advance)


def _require_classes(product: Product, dataset: PreparedDataset) -> None:
    if product.class_names != dataset.classes:
        raise DatasetError(
            f"product {product.name!r} has the classes {list(product.class_names)}, its acceptance set "
            f"'{dataset.name}' has {list(dataset.classes)}; give a set of the same classes, and a product "
            "with other classes another name"
        )


def refuse_trained_on(acceptance: PreparedDataset, split: str, trained: PreparedDataset) -> None:
    """Check that the gate looks at no image that training or the choice of a network has seen.

    Raises:
        DatasetError: it would; the message names one.
    """
    seen = _digests(trained, trained.manifest)
    judged = _digests(acceptance, acceptance.split(split))
    shared = {name: seen[digest] for digest, name in judged.items() if digest in seen}
    if shared:
        first, other = next(iter(shared.items()))
        raise DatasetError(
            f"{len(shared)} images of the acceptance set '{acceptance.name}' are in '{trained.name}' too, "
            f"for example {first} as {other}; take them out of one of the two"
        )


def _digests(dataset: PreparedDataset, rows: pd.DataFrame) -> dict[str, str]:
    """Images with defects among ``rows`` by the digest of their bytes; clean ones tell nothing."""
    names = rows.loc[rows["has_defect"].astype(bool), "image"]
    return {file_digest(dataset.root / name): str(name) for name in names}


def _write(folder: Path, record: GateRecord) -> None:
    write_json(folder / DECISION, record.to_dict())
    write_text(folder / PAGE, render_gate(record))


def main() -> None:
    """Entry of ``python -m pipelines.stages.gate``."""
    run_product_stage("Decide whether a product's new network is used.", gate)


if __name__ == "__main__":
    main()
