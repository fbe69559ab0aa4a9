"""Stage ``register``: the best network of a product becomes a candidate's folder and a registered version."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cadnet.config import ProjectParams
from cadnet.config.operate import ProductParams
from cadnet.datasets.cache import decode_split
from cadnet.datasets.manifest import MERGED_CLASS, PreparedDataset, open_dataset
from cadnet.evaluation.curves import best_threshold
from cadnet.evaluation.evaluate import AnyDefect
from cadnet.files import read_json, value_digest, write_json
from cadnet.inference import Product, read_product, write_product
from cadnet.inference.product import PRODUCT_NAME, Card
from cadnet.models.weights import ModelDescription, load_model
from cadnet.tracking import Run, collect_provenance, track_stage
from cadnet.tracking.product_logging import repair, save_product_model
from cadnet.tracking.registry import (
    PENDING,
    TAG_PRODUCT_DIGEST,
    TAG_TRAINING,
    Registry,
    Version,
    model_name,
    open_registry,
)
from cadnet.tracking.trials import training_params
from pipelines.stages.command import run_product_stage
from pipelines.stages.references import find_references
from pipelines.stages.scoring import Scoring
from pipelines.trials import (
    CACHE,
    VERSIONS,
    TrialName,
    candidate_folder,
    dataset_folder,
    product_folder,
    registration_file,
    tracked,
    trials,
)

CARD_METRICS = ("miou", "macc", "mfscore", "iou_defect", "escape", "overkill")
"""Test metrics on the card."""


@dataclass(frozen=True)
class Candidate:
    """A trained trial, its weights' description, and what validation gave at the epoch that was kept."""

    trial: TrialName
    description: ModelDescription
    value: float

    @property
    def fingerprint(self) -> str:
        """Of its training."""
        return str(self.description.metadata["fingerprint"])


def candidates(settings: ProductParams, params: ProjectParams, dataset: PreparedDataset) -> list[Candidate]:
    """The trials of the main grid that may be registered, each with its validation metric.

    Raises:
        ValueError: a trial was trained on another state of the dataset, or its history lacks the metric.
    """
    found = []
    for trial in trials(params):
        if trial.dataset != settings.dataset or (settings.methods and trial.method not in settings.methods):
            continue
        description = ModelDescription.read(trial.model)
        if description.metadata["dataset"]["digest"] != dataset.digest:
            raise ValueError(f"{trial.model} is of another state of '{trial.dataset}'; run `make repro`")
        kept = description.metadata["best"]
        value = kept.get(settings.metric)
        if value is None:
            known = sorted(key for key, number in kept.items() if key != "epoch" and number is not None)
            raise ValueError(f"{trial} has no validation metric '{settings.metric}'; it has {known}")
        found.append(Candidate(trial, description, float(value)))
    return found


def test_metrics(trial: TrialName) -> dict[str, float]:
    """The metrics of a trial's test that a card shows, 0-1; those that are not defined are left out."""
    measured = read_json(trial.metrics)
    return {key: measured[key] for key in CARD_METRICS if measured.get(key) is not None}


def register(name: str, params: ProjectParams) -> None:
    """Make a candidate of the product's best network, register it once, and write what was chosen and why.

    What the registry has lost of the versions in use is uploaded again, from here or from the champion's
    folder; into a registry without any version the champion of that folder comes first.

    Raises:
        DatasetError: the dataset has no usable references.
        ValueError: a network was not trained on the dataset's present state, or lacks the metric.
        TrackingError: the registry cannot be used.
    """
    settings = params.products[name]
    dataset = open_dataset(dataset_folder(settings.dataset))
    found = candidates(settings, params, dataset)
    best = max(found, key=lambda one: one.value)
    with track_stage(tracked(best.trial, params), best.fingerprint, stage="register") as run:
        threshold, origin = _threshold(best, settings, params, dataset)
        references = find_references(settings, params, dataset)
        card = _card(name, best, found, (threshold, origin), len(references), params)
        product = _product(name, best, threshold, references, params, card)
        version = _registered(product, best, run, card)
    write_json(
        registration_file(name),
        {
            "product": name,
            "model": model_name(name),
            "version": version.number if version else None,
            # Another one in another registry, where the number may be the same.
            "run": version.run_id if version else None,
            "trial": {"dataset": best.trial.dataset, "method": best.trial.method, "seed": best.trial.seed},
            "training": best.fingerprint,
            "choice": {
                "trial": str(best.trial),
                "method": params.methods[best.trial.method].title,
                "metric": settings.metric,
                "candidates": {str(one.trial): one.value for one in found},
                "threshold": threshold,
                "threshold_origin": origin,
            },
        },
    )


def _threshold(
    best: Candidate, settings: ProductParams, params: ProjectParams, dataset: PreparedDataset
) -> tuple[float, str]:
    """The product's threshold and where it comes from."""
    if settings.threshold is not None:
        return settings.threshold, "set in params.yaml"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network, _ = load_model(best.trial.model)
    scoring = Scoring((MERGED_CLASS,), params.evaluate, device)
    decoded = decode_split(dataset.as_one_class(), "val", CACHE)
    counts, _ = scoring.count(AnyDefect(network).to(device), decoded, f"threshold from {dataset.name}")
    return best_threshold(counts), "highest IoU on validation images"


def _product(
    name: str,
    best: Candidate,
    threshold: float,
    references: Mapping[str, Path],
    params: ProjectParams,
    card: str,
) -> Product:
    settings, data = params.products[name], params.datasets[best.trial.dataset]
    return write_product(
        candidate_folder(name),
        name=name,
        model=best.trial.model,
        references=references,
        size=params.train.crop,
        threshold=threshold,
        min_pixels=settings.min_pixels,
        alignment=data.product_alignment,
        metrics={settings.metric: best.value, "test": test_metrics(best.trial)},
        params=_params(best, params),
        card=card,
    )


def _registered(product: Product, best: Candidate, run: Run, card: str) -> Version | None:
    """The version that the product is registered as; none without tracking."""
    registry = open_registry()
    if registry is None:
        return None
    model, champion = model_name(product.name), product_folder(product.name)
    if not registry.versions(model) and (champion / PRODUCT_NAME).is_file():
        before = read_product(champion)
        trained = ModelDescription.read(champion).metadata.get("fingerprint", "")
        version = _version(registry, before, trained, run, {}, "")
        registry.promote(version, f"taken from {champion}, because the registry had no versions")
    fingerprint = product_fingerprint(product, best.fingerprint)
    copies = sorted(path.parent for path in VERSIONS.glob(f"*/model/artifacts/*/{PRODUCT_NAME}"))
    lost = repair(registry, model, fingerprint, [product.folder, champion, *copies])
    tags = {"cadnet.trial": str(best.trial)}
    version = _version(registry, product, best.fingerprint, run, tags, card, [one.number for one in lost])
    if version.status == PENDING:
        registry.nominate(version)
    return version


def _version(
    registry: Registry,
    product: Product,
    training: str,
    run: Run,
    tags: Mapping[str, str],
    card: str,
    lost: Collection[int] = (),
) -> Version:
    version, _ = registry.register(
        model_name(product.name),
        product_fingerprint(product, training),
        run.run_id,
        lambda folder: save_product_model(folder, product.folder),
        {**tags, TAG_TRAINING: training, TAG_PRODUCT_DIGEST: product.digest},
        card,
        lost,
    )
    return version


def product_fingerprint(product: Product, training: str) -> str:
    """Digest of all that decides what a product says: training, references, threshold, sizes.

    Weights count by their training: on a GPU the same training ends with other last digits.
    """
    references = {reference.name: reference.sha256 for reference in product.references}
    alignment = None if product.alignment is None else product.alignment.model_dump()
    decisions = [product.threshold, product.min_pixels, product.size, alignment]
    return value_digest(product.name, training, references, decisions)


def _params(best: Candidate, params: ProjectParams) -> dict[str, Any]:
    return training_params(params.methods[best.trial.method], params.train, best.trial.seed)


def _card(
    name: str,
    best: Candidate,
    found: list[Candidate],
    threshold: tuple[float, str],
    references: int,
    params: ProjectParams,
) -> str:
    settings, about = params.products[name], best.description.metadata
    provenance = collect_provenance(".")
    return Card(
        product=name,
        method=params.methods[best.trial.method].title,
        scale=params.run.scale,
        class_names=tuple(best.description.class_names),
        data=f"It was trained on `{settings.dataset}`, digest `{about['dataset']['digest'][:16]}`.",
        validation=(settings.metric, best.value),
        candidates=len(found),
        threshold=threshold[0],
        threshold_origin=threshold[1],
        min_pixels=settings.min_pixels,
        size=params.train.crop,
        references=references,
        test=test_metrics(best.trial),
        provenance={
            "trial": str(best.trial),
            "training": best.fingerprint[:16],
            "commit": provenance.commit or "",
            "version of cadnet": best.description.project_version,
        },
        params=_params(best, params),
    ).markdown()


def main() -> None:
    """Entry of ``python -m pipelines.stages.register``."""
    run_product_stage("Register the best network of a product.", register)


if __name__ == "__main__":
    main()
