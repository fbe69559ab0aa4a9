"""What ``cadnet models`` and ``cadnet rollback`` say and do."""

from __future__ import annotations

from cadnet.tracking.registry import Registry
from cadnet.tracking.store import resolve_store
from cadnet.tracking.tracker import TrackingError
from cadnet.tracking.versions import CHALLENGER, CHAMPION, PREVIOUS, TAG_REASONS, model_name


def list_models(store: str | None = None) -> str:
    """Return the registered models with their versions, newest first, as text.

    Raises:
        TrackingError: the store cannot be used.
    """
    registry = Registry(resolve_store(".", store))
    lines = []
    for model in registry.models():
        lines.append(model)
        aliases: dict[int, list[str]] = {}
        for alias in (CHAMPION, CHALLENGER, PREVIOUS):
            if (holder := registry.holder(model, alias)) is not None:
                aliases.setdefault(holder.number, []).append(alias)
        for version in registry.versions(model):
            names = ", ".join(aliases.get(version.number, ()))
            what = "  ".join(
                part for part in (version.status, version.tags.get("cadnet.trial", ""), names) if part
            )
            lines.append(f"  version {version.number}  {what}".rstrip())
            lines += [f"    {reason}" for reason in version.tags.get(TAG_REASONS, "").splitlines()]
    return "\n".join(lines or ["nothing is registered here yet"]) + "\n"


def roll_back(name: str, store: str | None = None) -> str:
    """Make the champion before the present one champion again; returns what happened.

    Args:
        name: of a product ("screen") or its model ("cadnet-screen").
        store: address of the tracking store; else ``MLFLOW_TRACKING_URI``, else ``mlflow.db``.

    Raises:
        TrackingError: no such model, none to go back to, or the store cannot be used.
    """
    registry = Registry(resolve_store(".", store))
    known = registry.models()
    model = name if name in known else model_name(name)
    if model not in known:
        there = f"registered are {', '.join(known)}" if known else "nothing is registered here yet"
        raise TrackingError(f"no model {name!r} is registered; {there}")
    before = registry.holder(model, CHAMPION)
    now = registry.rollback(model)
    assert before is not None
    return (
        f"{model}: version {now.number} is champion again instead of version {before.number}; the same "
        "command once more undoes it\n"
    )
