"""Whether the registry still has what this project has noted as registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from cadnet.files import read_json
from cadnet.tracking import TrackingError
from cadnet.tracking.registry import CHAMPION, TAG_PRODUCT_DIGEST, Registry
from cadnet.tracking.store import is_off, resolve_store
from pipelines.trials import DECISION, gate_folder, product_folder, registration_file


def forget_missing(root: Path, log: Callable[[str], object]) -> list[str]:
    """Remove the notes of what the registry has lost, so that DVC runs the stages that make it again.

    Returns:
        The products of which a note was removed; for each, ``log`` gets the reason.
    """
    noted = sorted(path.stem for path in (root / registration_file("x")).parent.glob("*.json"))
    if not noted or is_off():
        return []
    forgotten: list[str] = []
    try:
        registry = Registry(resolve_store(root))
        for name in noted:
            for note, reason in _missing(registry, root, name):
                (root / note).unlink(missing_ok=True)
                log(f"{name}: {reason}")
                forgotten.append(name)
    except TrackingError as error:
        log(f"warning: whether the registry has what was registered could not be looked up: {error}")
    return forgotten


def _missing(registry: Registry, root: Path, name: str) -> Iterator[tuple[Path, str]]:
    """Yield a note that is wrong with the reason; at most one, because the stage of a note runs the next."""
    note = registration_file(name)
    try:
        registered = read_json(root / note)
        version = registry.version(str(registered["model"]), int(registered["version"] or 0))
    except (ValueError, KeyError, TypeError):
        yield note, f"{note} is damaged"
        return
    if version is None or version.run_id != registered.get("run"):
        yield note, f"{registered['model']} version {registered['version']} is not in the registry any more"
        return
    champion = registry.holder(version.model, CHAMPION)
    for one in (version, champion):
        if one is not None and not registry.has_files(one):
            yield note, f"the files of {one} are gone"
            return
    product = root / product_folder(name) / "product.json"
    digest = read_json(product).get("digest") if product.is_file() else None
    if champion is not None and digest != champion.tags.get(TAG_PRODUCT_DIGEST, digest):
        yield gate_folder(name) / DECISION, f"{product_folder(name)} is not the champion, {champion}"
