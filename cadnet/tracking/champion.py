"""The folder that holds the champion's product, and changing the champion by hand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from cadnet.files import atomic_directory, write_text
from cadnet.inference.product import CARD_NAME, copy_product
from cadnet.tracking.product_logging import fetch_version
from cadnet.tracking.registry import (
    APPROVED,
    CHAMPION,
    MOST_REASON,
    PREVIOUS,
    SCHEME,
    Registry,
    Version,
    model_name,
)
from cadnet.tracking.store import TrackingError


class Folders(NamedTuple):
    """``products``: a folder for each product, which is the champion; ``cache``: of downloaded versions."""

    products: Path = Path("products")
    cache: Path = Path("cache/registry")


def install_champion(registry: Registry, product: str, folders: Folders) -> None:
    """Make the product's folder the champion's, or without one a folder that says so.

    Raises:
        TrackingError: the champion's files cannot be had.
    """
    champion = registry.holder(model_name(product), CHAMPION)
    if champion is None:
        leave_empty(folders.products / product)
    else:
        copy_product(fetch_version(registry, champion, folders.cache), folders.products / product)


def leave_empty(folder: Path) -> None:
    """Make a product's folder one without a product that says why."""
    with atomic_directory(folder) as made:
        write_text(
            made / CARD_NAME,
            "No network is in use for this product: none has passed the gate, or the last one was retired. "
            "The newest network is in `candidates/`, the reasons are in `reports/gate/` and in the list of "
            "`cadnet models`.\n",
        )


def promote_by_hand(registry: Registry, name: str, number: int, reason: str, folders: Folders) -> str:
    """Make a version champion without the gate; returns what happened.

    Args:
        registry: where it is registered.
        name: of a product ("screen") or its model ("cadnet-screen").
        number: of the version.
        reason: why; the version keeps it.
        folders: where the champion's product is put.

    Raises:
        TrackingError: no such version, it cannot be had, or no reason is given.
    """
    version = _named_version(registry, name, number, reason)
    fetch_version(registry, version, folders.cache)
    registry.promote(version, f"promoted: {reason}")
    return f"{version} is champion\n" + _installed(registry, version.model, folders)


def roll_back(registry: Registry, name: str, to: int | None, folders: Folders) -> str:
    """Make an earlier champion champion again; returns what happened. Repeating it changes nothing.

    Args:
        registry: where it is registered.
        name: of a product or its model.
        to: number of the version; None takes the champion before this one.
        folders: where the champion's product is put.

    Raises:
        TrackingError: no such model or version, or no champion to go back to, or it cannot be had.
    """
    model = registry.model_of(name)
    now, before = registry.rollback(model, to, lambda one: fetch_version(registry, one, folders.cache))
    if before is None:
        text = f"{now} is champion already; cadnet rollback {name} --to VERSION makes another one it\n"
    else:
        text = (
            f"{now} is champion again instead of version {before.number}; "
            f"cadnet rollback {name} --to {before.number} undoes it\n"
        )
    return text + _installed(registry, model, folders)


def retire(registry: Registry, name: str, number: int, reason: str, folders: Folders) -> str:
    """Take a version out of use for good; returns what happened. Repeating it changes nothing.

    Where it was champion, the one before becomes it, if that can be had; else the model has none until a
    network passes the gate.

    Args:
        registry: where it is registered.
        name: of a product or its model.
        number: of the version.
        reason: why; the version keeps it.
        folders: where the champion's product is put.

    Raises:
        TrackingError: no such version, or no reason is given.
    """
    version = _named_version(registry, name, number, reason)
    registry.retire(version, f"retired: {reason}", _successor(registry, version, folders))
    champion = registry.holder(version.model, CHAMPION)
    now = f"version {champion.number} is champion" if champion else "there is no champion"
    return f"{version} is retired; {now}\n" + _installed(registry, version.model, folders)


def _named_version(registry: Registry, name: str, number: int, reason: str) -> Version:
    if not reason.strip() or len(reason) > MOST_REASON:
        raise TrackingError(f"--reason must say why, in at most {MOST_REASON} characters")
    return registry.resolve(f"{SCHEME}{registry.model_of(name)}/{number}")


def _successor(registry: Registry, version: Version, folders: Folders) -> Version | None:
    before = registry.holder(version.model, PREVIOUS)
    if before is None or before.number == version.number or before.status != APPROVED:
        return None
    try:
        fetch_version(registry, before, folders.cache)
    except TrackingError:
        return None
    return before


def _installed(registry: Registry, model: str, folders: Folders) -> str:
    """Bring the product's folder up to date where this project has one."""
    product = model.removeprefix(model_name(""))
    folder = folders.products / product
    if not folder.is_dir():
        return ""
    install_champion(registry, product, folders)
    return f"{folder} is up to date\n"
