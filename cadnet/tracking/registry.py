"""Registered models: numbered versions of a product's model, and which of them the line relies on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cadnet.tracking.run import Run
from cadnet.tracking.store import Store, TrackingError, call, connect, is_off, resolve_store

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
"""Alias of the version that predicts."""
CHALLENGER = "challenger"
"""Alias of the version that the gate decides on."""
PREVIOUS = "previous"
"""Alias of the version that predicted before; the target of a rollback."""
ALIASES = (CHAMPION, CHALLENGER, PREVIOUS)

TAG_STATUS = "validation_status"
"""Tag of a version, with one of the next three."""
PENDING, APPROVED, REJECTED = "pending", "approved", "rejected"
TAG_REASONS = "cadnet.reasons"
TAG_PRODUCT_FINGERPRINT = "cadnet.product_fingerprint"

SCHEME = "models:/"


@dataclass(frozen=True)
class Version:
    """A registered version: ``model`` such as ``cadnet-board``, its number from 1, and its tags.

    ``run_id`` is the run it was registered from.
    """

    model: str
    number: int
    run_id: str
    tags: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """The same for equal data, parameters, code and references; "" for a version that others made."""
        return self.tags.get(TAG_PRODUCT_FINGERPRINT, "")

    @property
    def status(self) -> str:
        """Return pending, approved or rejected; "" for a version that others made."""
        return self.tags.get(TAG_STATUS, "")

    @property
    def address(self) -> str:
        """Return what :meth:`Registry.resolve` reads."""
        return f"{SCHEME}{self.model}/{self.number}"

    def __str__(self) -> str:
        return f"{self.model} version {self.number}"


def model_name(product: str) -> str:
    """Return the name of a product's registered model."""
    return f"cadnet-{product}"


def files_folder(fingerprint: str) -> str:
    """Return the folder of a run that holds the files registered under a fingerprint."""
    return f"product/{fingerprint[:16]}"


def address_parts(uri: str) -> tuple[str, str, str]:
    """Return name, "@" or "/", and alias or number of a model's address.

    Raises:
        TrackingError: ``uri`` is none.
    """
    rest = uri.removeprefix(SCHEME)
    for sign in "@/":
        name, found, wanted = rest.partition(sign)
        if found and name and wanted and uri.startswith(SCHEME):
            return name, sign, wanted
    raise TrackingError(
        f"{uri!r} is no address of a model; write models:/<name>@<alias> or models:/<name>/<number>, "
        "for example models:/cadnet-board@champion"
    )


def open_registry(root: Path | str = ".") -> Registry | None:
    """Open the registry of the project at ``root``; None if tracking is switched off.

    Raises:
        TrackingError: the store cannot be used.
    """
    return None if is_off() else Registry(resolve_store(root))


class Registry:
    """The model registry of a tracking store.

    What changes more than one entry is ordered such that a kill between two of them leaves the old champion
    or the new one, and that doing it again completes it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._client: MlflowClient = connect(store)

    def register(
        self,
        model: str,
        fingerprint: str,
        run_id: str,
        build: Callable[[Path], None],
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> tuple[Version, bool]:
        """Register a model once; returns its version and whether it is new.

        Args:
            model: registered name.
            fingerprint: of all that decides the model; a version that has it is returned as it is.
            run_id: run that receives the files.
            build: writes an MLflow model into the empty folder it is given.
            tags: of the version, besides its fingerprint and the status pending.
            description: markdown that the version's page shows.
        """
        with self.store.locked():
            found = next((one for one in self.versions(model) if one.fingerprint == fingerprint), None)
            if found is not None:
                return found, False
            if model not in self.models():
                call(self._client.create_registered_model, model)
            run = call(self._client.get_run, run_id)
            folder = files_folder(fingerprint)
            with tempfile.TemporaryDirectory(prefix="cadnet-") as built:
                build(Path(built))
                Run(self.store, self._client, run).log_artifacts(built, folder)
            # The version comes last: what a killed process leaves before it is a folder of the run.
            created = call(
                self._client.create_model_version,
                model,
                f"{self.store.resolve(str(run.info.artifact_uri))}/{folder}",
                run_id=run_id,
                tags={**(tags or {}), TAG_PRODUCT_FINGERPRINT: fingerprint, TAG_STATUS: PENDING},
                description=description or None,
                await_creation_for=0,
            )
            return _version(created), True

    def versions(self, model: str) -> list[Version]:
        """Return all versions of a model, newest first; none for a name that is not registered."""
        found = call(self._client.search_model_versions, f"name='{model}'", max_results=1000)
        return sorted((_version(one) for one in found), key=lambda one: -one.number)

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        return sorted(one.name for one in call(self._client.search_registered_models, max_results=1000))

    def version(self, model: str, number: int) -> Version | None:
        """Return a version by its number, None if it does not exist."""
        return next((one for one in self.versions(model) if one.number == number), None)

    def holder(self, model: str, alias: str) -> Version | None:
        """Return the version that has an alias, None if none has."""
        found = call(self._client.search_registered_models, f"name='{model}'")
        numbers = {key: int(value) for one in found for key, value in one.aliases.items()}
        return self.version(model, numbers[alias]) if alias in numbers else None

    def nominate(self, version: Version) -> None:
        """Make a version the challenger."""
        self._alias(version, CHALLENGER)

    def promote(self, version: Version) -> None:
        """Make a version the champion, keeping the one before it for :meth:`rollback`."""
        with self.store.locked():
            before = self.holder(version.model, CHAMPION)
            if before is not None and before.number != version.number:
                self._alias(before, PREVIOUS)
            if TAG_REASONS in version.tags:
                # It was rejected under other limits, or by another champion.
                call(self._client.delete_model_version_tag, version.model, str(version.number), TAG_REASONS)
            self._tag(version, TAG_STATUS, APPROVED)
            # One change of one entry: at no moment is there no champion.
            self._alias(version, CHAMPION)
            self._release(version)

    def reject(self, version: Version, reasons: str) -> None:
        """Note that a version may not become champion, and why; it stays registered."""
        with self.store.locked():
            self._tag(version, TAG_REASONS, reasons)
            self._tag(version, TAG_STATUS, REJECTED)
            self._release(version)

    def rollback(self, model: str) -> Version:
        """Make the champion before this one champion again; a second rollback undoes the first.

        Raises:
            TrackingError: no version was champion before.
        """
        with self.store.locked():
            now, before = self.holder(model, CHAMPION), self.holder(model, PREVIOUS)
            if now is None or before is None or now.number == before.number:
                raise TrackingError(f"model {model} has no champion before the present one to go back to")
            self._alias(before, CHAMPION)
            self._alias(now, PREVIOUS)
            return before

    def resolve(self, uri: str) -> Version:
        """Return the version that ``models:/<name>@<alias>`` or ``models:/<name>/<number>`` names.

        Raises:
            TrackingError: no such model, alias or version; the message names those that exist.
        """
        name, kind, wanted = address_parts(uri)
        versions = self.versions(name)
        if not versions:
            raise TrackingError(f"{uri}: no model {name!r} is registered; {self._known()}")
        numbered = next((one for one in versions if str(one.number) == wanted), None)
        found = self.holder(name, wanted) if kind == "@" else numbered
        if found is None:
            aliases = [alias for alias in ALIASES if self.holder(name, alias)]
            raise TrackingError(
                f"{uri}: {name} has no {'alias' if kind == '@' else 'version'} {wanted!r}; it has the "
                f"versions {', '.join(str(one.number) for one in reversed(versions))} and the aliases "
                f"{', '.join(aliases) or 'none'}"
            )
        return found

    def download(self, version: Version, destination: Path | str) -> Path:
        """Download a version's MLflow model; returns its folder."""
        if version.fingerprint:
            # By its run, because the address that was registered does not follow a moved project.
            run = Run(self.store, self._client, call(self._client.get_run, version.run_id))
            return run.download(files_folder(version.fingerprint), destination)
        source = call(self._client.get_model_version_download_uri, version.model, str(version.number))
        Path(destination).mkdir(parents=True, exist_ok=True)
        return Path(call(self.store.artifacts(source).download_artifacts, "", str(destination)))

    def describe(self) -> str:
        """Return all models with their versions, newest first, as text."""
        lines = []
        for model in self.models():
            lines.append(model)
            holders = {alias: self.holder(model, alias) for alias in ALIASES}
            for version in self.versions(model):
                names = [alias for alias, one in holders.items() if one and one.number == version.number]
                parts = (version.status, version.tags.get("cadnet.trial", ""), ", ".join(names))
                lines.append("  ".join(filter(None, (f"  version {version.number}", *parts))))
                lines += [f"    {reason}" for reason in version.tags.get(TAG_REASONS, "").splitlines()]
        return "\n".join(lines or ["nothing is registered here yet"]) + "\n"

    def roll_back(self, name: str) -> str:
        """Roll a model back and return what happened.

        Args:
            name: of a product ("screen") or its model ("cadnet-screen").

        Raises:
            TrackingError: no such model, or no champion to go back to.
        """
        known = self.models()
        model = name if name in known else model_name(name)
        if model not in known:
            raise TrackingError(f"no model {name!r} is registered; {self._known()}")
        before, now = self.holder(model, CHAMPION), self.rollback(model)
        assert before is not None
        return (
            f"{model}: version {now.number} is champion again instead of version {before.number}; the same "
            "command once more undoes it\n"
        )

    def _known(self) -> str:
        known = self.models()
        return f"registered are {', '.join(known)}" if known else "nothing is registered here yet"

    def _alias(self, version: Version, alias: str) -> None:
        call(self._client.set_registered_model_alias, version.model, alias, str(version.number))

    def _tag(self, version: Version, key: str, value: str) -> None:
        call(self._client.set_model_version_tag, version.model, str(version.number), key, value)

    def _release(self, version: Version) -> None:
        """The gate has decided: the version is challenger no longer."""
        holder = self.holder(version.model, CHALLENGER)
        if holder is not None and holder.number == version.number:
            call(self._client.delete_registered_model_alias, version.model, CHALLENGER)


def _version(found: ModelVersion) -> Version:
    # Numbers are whole on SQLite and text through a server.
    return Version(found.name, int(found.version), found.run_id or "", dict(found.tags))
