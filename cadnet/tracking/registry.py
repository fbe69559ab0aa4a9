"""Registered models: numbered versions of a product's model, and which of them the line relies on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cadnet.tracking.mlflow_run import MlflowRun
from cadnet.tracking.store import Store, call, connect, is_off, resolve_store
from cadnet.tracking.tracker import TrackingError
from cadnet.tracking.versions import (
    APPROVED,
    CHALLENGER,
    CHAMPION,
    PENDING,
    PREVIOUS,
    REJECTED,
    TAG_PRODUCT_FINGERPRINT,
    TAG_REASONS,
    TAG_STATUS,
    Version,
    address_parts,
)

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

_FOLDER = "product"


def open_registry(root: Path | str = ".") -> Registry | None:
    """Open the registry of the project at ``root``; None where tracking is switched off.

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
            found = self.find(model, fingerprint)
            if found is not None:
                return found, False
            self._require_model(model)
            place = f"{_FOLDER}/{fingerprint[:16]}"
            with tempfile.TemporaryDirectory(prefix="cadnet-") as folder:
                build(Path(folder))
                MlflowRun(self._client, run_id, resumed=True).log_artifacts(folder, place)
            # The version comes last: what a killed process leaves before it is a folder of the run.
            created = call(
                self._client.create_model_version,
                model,
                f"{self._root(run_id)}/{place}",
                run_id=run_id,
                tags={**(tags or {}), TAG_PRODUCT_FINGERPRINT: fingerprint, TAG_STATUS: PENDING},
                description=description or None,
                await_creation_for=0,
            )
            return _version(created), True

    def find(self, model: str, fingerprint: str) -> Version | None:
        """Return the version registered under ``fingerprint``, None if there is none."""
        return next((one for one in self.versions(model) if one.fingerprint == fingerprint), None)

    def versions(self, model: str) -> list[Version]:
        """Return all versions of a model, newest first; none for a name that is not registered."""
        found = call(self._client.search_model_versions, f"name='{model}'", max_results=1000)
        return sorted((_version(one) for one in found), key=lambda one: -one.number)

    def models(self) -> list[str]:
        """Names of all registered models."""
        return sorted(one.name for one in call(self._client.search_registered_models, max_results=1000))

    def version(self, model: str, number: int) -> Version | None:
        """Return a version by its number, None if there is none."""
        return next((one for one in self.versions(model) if one.number == number), None)

    def holder(self, model: str, alias: str) -> Version | None:
        """Return the version that has an alias, None if none has."""
        found = call(self._client.search_registered_models, f"name='{model}'")
        numbers = {key: int(value) for one in found for key, value in one.aliases.items()}
        if alias not in numbers:
            return None
        return self.version(model, numbers[alias])

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
            TrackingError: there is none.
        """
        with self.store.locked():
            now, before = self.holder(model, CHAMPION), self.holder(model, PREVIOUS)
            if now is None or before is None or now.number == before.number:
                raise TrackingError(f"model {model} has no champion before the present one to go back to")
            self._alias(before, CHAMPION)
            self._alias(now, PREVIOUS)
            return before

    def resolve(self, uri: str) -> Version:
        """Find the version that ``models:/<name>@<alias>`` or ``models:/<name>/<number>`` names.

        Raises:
            TrackingError: no such model, alias or version; the message says which there are.
        """
        name, kind, wanted = address_parts(uri)
        versions = self.versions(name)
        if not versions:
            known = self.models()
            there = f"registered are {', '.join(known)}" if known else "nothing is registered here yet"
            raise TrackingError(f"{uri}: no model {name!r} is registered; {there}")
        if kind == "@":
            found = self.holder(name, wanted)
        else:
            found = next((one for one in versions if str(one.number) == wanted), None)
        if found is None:
            aliases = [alias for alias in (CHAMPION, CHALLENGER, PREVIOUS) if self.holder(name, alias)]
            raise TrackingError(
                f"{uri}: {name} has no {'alias' if kind == '@' else 'version'} {wanted!r}; it has the "
                f"versions {', '.join(str(one.number) for one in reversed(versions))} and the aliases "
                f"{', '.join(aliases) or 'none'}"
            )
        return found

    def download(self, version: Version, destination: Path | str) -> Path:
        """Download a version's MLflow model; returns its folder."""
        from mlflow.artifacts import download_artifacts

        source = call(self._client.get_model_version_download_uri, version.model, str(version.number))
        Path(destination).mkdir(parents=True, exist_ok=True)
        return Path(call(download_artifacts, artifact_uri=source, dst_path=str(destination)))

    def _require_model(self, model: str) -> None:
        if model not in self.models():
            call(self._client.create_registered_model, model)

    def _root(self, run_id: str) -> str:
        return str(call(self._client.get_run, run_id).info.artifact_uri)

    def _alias(self, version: Version, alias: str) -> None:
        call(self._client.set_registered_model_alias, version.model, alias, str(version.number))

    def _tag(self, version: Version, key: str, value: str) -> None:
        call(self._client.set_model_version_tag, version.model, str(version.number), key, value)

    def _release(self, version: Version) -> None:
        """The gate has looked: the version is challenger no longer."""
        holder = self.holder(version.model, CHALLENGER)
        if holder is not None and holder.number == version.number:
            call(self._client.delete_registered_model_alias, version.model, CHALLENGER)


def _version(found: ModelVersion) -> Version:
    # Numbers are whole on SQLite and text through a server.
    return Version(found.name, int(found.version), found.run_id or "", dict(found.tags))
