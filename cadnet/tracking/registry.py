"""Registered models: numbered versions of a product's model, and which of them the line relies on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cadnet.files import parse_json
from cadnet.images.files import is_safe
from cadnet.tracking.store import Store, TrackingError, call, is_off, resolve_store
from cadnet.tracking.tracker import Tracker

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.store.artifact.artifact_repo import ArtifactRepository
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
"""Alias of the version that predicts."""
CHALLENGER = "challenger"
"""Alias of the version that the gate decides on."""
PREVIOUS = "previous"
"""Alias of the version that predicted before; the target of a rollback."""
ALIASES = (PREVIOUS, CHAMPION, CHALLENGER)

TAG_STATUS = "validation_status"
"""Tag of a version, with one of the next four."""
PENDING, APPROVED, REJECTED, RETIRED = "pending", "approved", "rejected", "retired"
TAG_REASONS = "cadnet.reasons"
TAG_DECISION = "cadnet.decision"
"""The gate's decision as JSON."""
TAG_BY_HAND = "cadnet.by_hand"
"""Why somebody promoted or retired the version without the gate."""
TAG_ROLLED_BACK = "cadnet.rolled_back_to"
"""The number of the version that was made champion again instead of this one."""
TAG_PRODUCT_FINGERPRINT = "cadnet.product_fingerprint"
TAG_PRODUCT_DIGEST = "cadnet.product_digest"
"""Digest of the product that was registered; the one that is loaded must have it."""
TAG_TRAINING = "cadnet.training"
"""Fingerprint of the network's training."""
TAG_CHANGE = "cadnet.change"
"""Tag of a model while several of its entries change: what they are to be."""

SCHEME = "models:/"
MODEL_FILES = "model"
"""Folder of a version's run that holds its MLflow model."""
MOST_REASON = 1000
"""Characters of a reason that people give."""


@dataclass(frozen=True)
class Version:
    """A registered version: ``model`` such as ``cadnet-board``, its number from 1, and its tags.

    ``run_id`` is the run that holds its files and nothing else. Everything that is needed to load it is found
    by its number alone: tags can be edited, and no path is made of them.
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
        """Return pending, approved, rejected or retired; "" for a version that others made."""
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


def address_parts(uri: str) -> tuple[str, str, str]:
    """Return name, "@" or "/", and alias or number of a model's address.

    Raises:
        TrackingError: ``uri`` is none.
    """
    rest = uri.removeprefix(SCHEME)
    for sign in "@/":
        name, found, wanted = rest.partition(sign)
        # Downloaded versions are in folders of that name.
        if found and wanted and is_safe(name) and uri.startswith(SCHEME):
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

    What changes several entries is noted in one before (:data:`TAG_CHANGE`), so that whoever changes
    something next completes what a kill has cut off. Of the champion, which is one entry, there is the old
    one or the new at any moment. Changes exclude each other on one machine, not on two.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._tracker = Tracker(store)
        self._client: MlflowClient = self._tracker.client

    def register(
        self,
        model: str,
        fingerprint: str,
        run_id: str,
        build: Callable[[Path], None],
        tags: Mapping[str, str] | None = None,
        description: str = "",
        lost: Collection[int] = (),
    ) -> tuple[Version, bool]:
        """Register a model once; returns its version and whether it is new.

        The files go into a run of the version's own, so that they outlive the training's.

        Args:
            model: registered name.
            fingerprint: of all that decides the model; a version that has it is returned as it is.
            run_id: run of the training, which the version's run names.
            build: writes an MLflow model into the empty folder it is given.
            tags: of the version, besides its fingerprint and the status pending.
            description: markdown that the version's page shows.
            lost: numbers of versions that cannot be had any more, whatever their fingerprint.
        """
        leftovers = self._tracker.sweep_stale(model)
        with self.store.locked():
            self._settle(model)
            versions = self.versions(model)
            for leftover in set(leftovers) - {one.run_id for one in versions}:
                call(self._client.delete_run, leftover)
            kept = (one for one in versions if one.fingerprint == fingerprint and one.number not in lost)
            found = next(kept, None)
            if found is not None:
                return found, False
            if model not in self.models():
                call(self._client.create_registered_model, model)
            about = {TAG_PRODUCT_FINGERPRINT: fingerprint, "cadnet.training_run": run_id}
            run = self._tracker.create_run(model, f"{model} {fingerprint[:8]}", about)
            with tempfile.TemporaryDirectory(prefix="cadnet-") as built:
                build(Path(built))
                run.log_artifacts(built, MODEL_FILES)
            # The version comes last: what a killed process leaves before is a run that the next one deletes.
            created = call(
                self._client.create_model_version,
                model,
                f"{self.store.resolve(run.artifact_uri)}/{MODEL_FILES}",
                run_id=run.run_id,
                tags={**(tags or {}), TAG_PRODUCT_FINGERPRINT: fingerprint, TAG_STATUS: PENDING},
                description=description or None,
                await_creation_for=0,
            )
            run.finish("FINISHED")
            return _version(created), True

    def restore(self, version: Version, build: Callable[[Path], None]) -> None:
        """Put a version's files once more where it says that they are; ``build`` as in :meth:`register`."""
        repository, folder = self._place(version)
        with tempfile.TemporaryDirectory(prefix="cadnet-") as built:
            build(Path(built))
            call(repository.log_artifacts, built, folder)

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
        numbers = self._aliases(model)
        return self.version(model, numbers[alias]) if alias in numbers else None

    def settle(self, model: str) -> None:
        """Complete a change that a kill has cut off; whatever changes something does so before."""
        with self.store.locked():
            self._settle(model)

    def in_use(self, model: str, fingerprint: str) -> list[Version]:
        """Return the versions that have an alias or a fingerprint, newest first."""
        numbers = set(self._aliases(model).values())
        return [
            one
            for one in self.versions(model)
            if one.number in numbers or (fingerprint and one.fingerprint == fingerprint)
        ]

    def nominate(self, version: Version) -> None:
        """Make a version the challenger."""
        with self.store.locked():
            self._settle(version.model)
            self._alias(version.model, CHALLENGER, version.number)

    def decided(self, version: Version, decision: str, pages: Path) -> None:
        """Record the gate's decision, JSON, with the version, and its ``pages`` beside the files."""
        self._tag(version, TAG_DECISION, decision)
        repository, _ = self._place(version)
        call(repository.log_artifacts, str(pages), "gate")

    def promote(self, version: Version, reason: str = "") -> None:
        """Make a version the champion, keeping the one before it for :meth:`rollback`.

        Args:
            version: pending, or rejected under other limits or by another champion.
            reason: why, where a person and not the gate decided.
        """
        with self.store.locked():
            self._settle(version.model)
            now = self._aliases(version.model)
            aliases: dict[str, int | None] = {CHAMPION: version.number}
            if now.get(CHAMPION, version.number) != version.number:
                aliases[PREVIOUS] = now[CHAMPION]
            elif now.get(PREVIOUS) == version.number:
                aliases[PREVIOUS] = None
            tags = {
                TAG_STATUS: APPROVED,
                TAG_BY_HAND: reason or None,
                TAG_REASONS: None,
                TAG_ROLLED_BACK: None,
            }
            self._change(version.model, aliases | self._released(version), {version.number: tags})

    def reject(self, version: Version, reasons: str) -> None:
        """Note that a version may not become champion, and why; it stays registered."""
        with self.store.locked():
            self._settle(version.model)
            # A rerun decides again, so that this needs no note.
            self._tag(version, TAG_REASONS, reasons)
            self._tag(version, TAG_STATUS, REJECTED)
            for alias, number in self._released(version).items():
                self._alias(version.model, alias, number)

    def rollback(
        self, model: str, to: int | None = None, check: Callable[[Version], object] = lambda _: None
    ) -> tuple[Version, Version | None]:
        """Make an earlier champion champion again; again and again is the same as once.

        Args:
            model: registered name.
            to: number of the version; None takes the champion before this one.
            check: called with the version before anything changes; what it raises leaves all as it is.

        Returns:
            The champion, and the version that it replaces; None where it had been champion already.

        Raises:
            TrackingError: there is no such version, it was never approved, or no version was champion before.
        """
        with self.store.locked():
            self._settle(model)
            now = self.holder(model, CHAMPION)
            wanted = self._rollback_target(model, to, now)
            check(wanted)
            if now is not None and now.number == wanted.number:
                return wanted, None
            tags: dict[int, Mapping[str, str | None]] = {wanted.number: {TAG_ROLLED_BACK: None}}
            if now is not None:
                tags[now.number] = {TAG_ROLLED_BACK: str(wanted.number)}
            self._change(model, {CHAMPION: wanted.number, PREVIOUS: None}, tags)
            return wanted, now

    def _rollback_target(self, model: str, to: int | None, now: Version | None) -> Version:
        if to is None:
            before = self.holder(model, PREVIOUS)
            if before is not None and (now is None or now.number != before.number):
                return before
            undone = {one.tags.get(TAG_ROLLED_BACK) for one in self.versions(model)}
            if now is not None and str(now.number) in undone:
                return now
            raise TrackingError(
                f"model {model} has no champion before the present one to go back to; --to VERSION names one"
            )
        wanted = self.resolve(f"{SCHEME}{model}/{to}")
        if wanted.status != APPROVED:
            raise TrackingError(
                f"{wanted} is {wanted.status or 'not of this project'} and was no champion; "
                f"cadnet promote {model} --version {to} --reason TEXT makes it one all the same"
            )
        return wanted

    def retire(self, version: Version, reason: str, successor: Version | None = None) -> None:
        """Take a version out of use for good; only :meth:`promote` brings it back.

        Args:
            version: the champion, or any other.
            reason: why.
            successor: becomes champion where ``version`` was; None leaves the model without one.
        """
        with self.store.locked():
            self._settle(version.model)
            now = self._aliases(version.model)
            aliases: dict[str, int | None] = {
                alias: None for alias, number in now.items() if number == version.number and alias in ALIASES
            }
            if CHAMPION in aliases and successor is not None:
                aliases |= {CHAMPION: successor.number, PREVIOUS: None}
            tags = {TAG_STATUS: RETIRED, TAG_BY_HAND: reason}
            self._change(version.model, aliases, {version.number: tags})

    def resolve(self, uri: str) -> Version:
        """Return the version that ``models:/<name>@<alias>`` or ``models:/<name>/<number>`` names.

        Raises:
            TrackingError: no such model, alias or version; the message names those that exist.
        """
        name, kind, wanted = address_parts(uri)
        versions = self.versions(name)
        if not versions:
            known = self.models()
            if name in known:
                raise TrackingError(
                    f"{uri}: {name} has no version any more; `make repro` registers one again"
                )
            raise TrackingError(f"{uri}: no model {name!r} is registered; {_named(known)}")
        numbered = next((one for one in versions if str(one.number) == wanted), None)
        found = self.holder(name, wanted) if kind == "@" else numbered
        if found is None:
            aliases = sorted(self._aliases(name))
            raise TrackingError(
                f"{uri}: {name} has no {'alias' if kind == '@' else 'version'} {wanted!r}; it has the "
                f"versions {', '.join(str(one.number) for one in reversed(versions))} and the aliases "
                f"{', '.join(aliases) or 'none'}"
            )
        return found

    def model_of(self, name: str) -> str:
        """Return the registered model of a product ("screen") or model ("cadnet-screen").

        Raises:
            TrackingError: no such model is registered.
        """
        known = self.models()
        model = name if name in known else model_name(name)
        if model not in known:
            raise TrackingError(f"no model {name!r} is registered; {_named(known)}")
        return model

    def has_files(self, version: Version) -> bool:
        """Whether anything lies where a version says that its files are; their content is not read."""
        repository, folder = self._place(version)
        try:
            return bool(call(repository.list_artifacts, folder))
        except TrackingError:
            return False

    def download(self, version: Version, destination: Path | str) -> Path:
        """Download a version's MLflow model into a folder; returns where it lies in it.

        Raises:
            TrackingError: files are missing, or the store does not answer.
        """
        Path(destination).mkdir(parents=True, exist_ok=True)
        repository, folder = self._place(version)
        return Path(call(repository.download_artifacts, folder, str(destination)))

    def describe(self) -> str:
        """Return all models with their versions, newest first, as text."""
        lines = []
        for model in self.models():
            lines.append(model)
            aliases = self._aliases(model)
            for version in self.versions(model):
                names = [alias for alias in ALIASES if aliases.get(alias) == version.number]
                parts = (version.status, version.tags.get("cadnet.trial", ""), ", ".join(names))
                lines.append("  ".join(filter(None, (f"  version {version.number}", *parts))))
                back = version.tags.get(TAG_ROLLED_BACK)
                notes = [f"rolled back to version {back}"] if back else []
                notes += [f"by hand: {reason}" for reason in [version.tags.get(TAG_BY_HAND)] if reason]
                lines += [f"    {one}" for one in (*notes, *version.tags.get(TAG_REASONS, "").splitlines())]
        return "\n".join(lines or ["nothing is registered here yet"]) + "\n"

    def _place(self, version: Version) -> tuple[ArtifactRepository, str]:
        """The repository that a version's files are in, and their folder there."""
        source = call(self._client.get_model_version_download_uri, version.model, str(version.number))
        # Not by the run, which may have been deleted.
        base, _, folder = self.store.relocated(source).rpartition("/")
        return self.store.artifacts(base), folder

    def _registered(self, model: str) -> RegisteredModel | None:
        return next(iter(call(self._client.search_registered_models, f"name='{model}'")), None)

    def _aliases(self, model: str) -> dict[str, int]:
        """The numbers of the versions that have aliases."""
        found = self._registered(model)
        return {} if found is None else {key: int(value) for key, value in found.aliases.items()}

    def _released(self, version: Version) -> dict[str, int | None]:
        """What a decision on a version changes: it is challenger no longer."""
        is_challenger = self._aliases(version.model).get(CHALLENGER) == version.number
        return {CHALLENGER: None} if is_challenger else {}

    def _change(
        self,
        model: str,
        aliases: Mapping[str, int | None],
        tags: Mapping[int, Mapping[str, str | None]],
    ) -> None:
        """Change aliases and tags of versions, None removing one, such that a kill leaves a note of it."""
        note = json.dumps({"aliases": aliases, "tags": tags}, ensure_ascii=False)
        call(self._client.set_registered_model_tag, model, TAG_CHANGE, note)
        self._settle(model)

    def _settle(self, model: str) -> None:
        """Do what the note of a change says, and remove the note; doing it twice does no harm."""
        found = self._registered(model)
        if found is None or TAG_CHANGE not in found.tags:
            return
        try:
            change = parse_json(found.tags[TAG_CHANGE])
            aliases = {key: None if to is None else int(to) for key, to in change["aliases"].items()}
            tags = {int(number): dict(values) for number, values in change["tags"].items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TrackingError(
                f"the tag {TAG_CHANGE} of model {model} is damaged; delete it on MLflow's page, then look at "
                "`cadnet models`"
            ) from error
        versions = {one.number: one for one in self.versions(model)}
        for number in tags.keys() & versions.keys():
            for key, value in tags[number].items():
                self._tag(versions[number], key, value)
        for alias in ALIASES:
            # A version may have been deleted meanwhile.
            if alias in aliases and aliases[alias] in (None, *versions):
                self._alias(model, alias, aliases[alias])
        call(self._client.delete_registered_model_tag, model, TAG_CHANGE)

    def _alias(self, model: str, alias: str, number: int | None) -> None:
        if number is not None:
            call(self._client.set_registered_model_alias, model, alias, str(number))
        elif alias in self._aliases(model):
            call(self._client.delete_registered_model_alias, model, alias)

    def _tag(self, version: Version, key: str, value: str | None) -> None:
        if value is not None:
            call(self._client.set_model_version_tag, version.model, str(version.number), key, value)
        elif key in version.tags:
            call(self._client.delete_model_version_tag, version.model, str(version.number), key)


def _named(known: list[str]) -> str:
    return f"registered are {', '.join(known)}" if known else "nothing is registered here yet"


def _version(found: ModelVersion) -> Version:
    # Numbers are whole on SQLite and text through a server.
    return Version(found.name, int(found.version), found.run_id or "", dict(found.tags))
