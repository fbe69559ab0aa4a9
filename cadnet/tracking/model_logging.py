"""The trained model as part of its run: weights without pickle, and a description."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cadnet.files import file_digest, read_json
from cadnet.tracking.tracker import Run, Tracker, TrackingError

FOLDER = "model"
WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"
TAG_WEIGHTS_DIGEST = "cadnet.model_sha256"


def log_model(run: Run, weights: Path | str, description: Path | str) -> str:
    """Record a model under ``model/`` of the run; returns the SHA-256 of its weights, which is a tag too.

    Args:
        run: where to.
        weights: a safetensors file, whatever its name.
        description: a JSON file that says how to build the network the weights belong to.

    Raises:
        FileNotFoundError: one of the files is missing.
        ValueError: the weights are not safetensors, or the description is not JSON.
    """
    weights, description = Path(weights), Path(description)
    _require_safetensors(weights)
    read_json(description)
    digest = file_digest(weights)
    with tempfile.TemporaryDirectory(prefix="cadnet-") as folder:
        for source, name in ((weights, WEIGHTS), (description, DESCRIPTION)):
            target = Path(folder) / name
            try:
                # No second copy of large weights where source and temporary folder share a disk.
                target.hardlink_to(source.resolve())
            except OSError:
                shutil.copyfile(source, target)
        run.log_artifacts(folder, FOLDER)
    run.set_tags({TAG_WEIGHTS_DIGEST: digest})
    return digest


def fetch_model(tracker: Tracker, run_id: str, destination: Path | str) -> Path:
    """Download the model of a run; returns the folder with ``weights.safetensors`` and ``model.json``.

    Raises:
        TrackingError: no such run, no model in it, or weights other than those recorded.
    """
    run = tracker.find_run(run_id)
    folder = run.download(FOLDER, destination)
    expected = run.tags().get(TAG_WEIGHTS_DIGEST)
    if expected != file_digest(folder / WEIGHTS):
        raise TrackingError(
            f"{folder / WEIGHTS} is not what run {run_id} recorded (SHA-256 differs); train the trial again"
        )
    return folder


def _require_safetensors(path: Path) -> None:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"model weights {path} do not exist")
    try:
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a safetensors file ({error}); save the weights with safetensors"
        ) from error
