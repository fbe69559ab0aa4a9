"""The command ``cadnet fetch-data``: listing datasets, terms and plan, asking for acceptance."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cadnet.fetching.fetch import NOTE, Folders, fetch, require_free
from cadnet.fetching.sources import FetchError, Source, load_sources


def run(
    name: str | None,
    *,
    accept: bool,
    file: Path | None,
    folders: Folders,
    log: Callable[[str], None],
    ask: Callable[[str], bool] | None,
) -> None:
    """List the datasets, or get one.

    Args:
        name: of the dataset; None lists them.
        accept: whether the licence was accepted beforehand.
        file: archive that was downloaded already.
        folders: of raw data and downloads.
        log: called with each message.
        ask: asks the user a question; None without a terminal.

    Raises:
        FetchError: unknown dataset, licence not accepted, or as `fetch`.
        OSError: the disk is full or cannot be written.
    """
    sources = load_sources()
    if name is None:
        if file is not None:
            raise FetchError(f"--file needs the dataset's name before it: one of {', '.join(sources)}")
        log("\n\n".join(_entry(key, source, folders) for key, source in sources.items()))
        return
    if name not in sources:
        raise FetchError(f"dataset {name!r} is unknown; choose one of {', '.join(sources)}")
    source, target = sources[name], folders.target(name)
    if folders.is_complete(name) and file is None:
        log(f"{name} exists in {target}; its origin is in {target / NOTE}")
        return
    require_free(target)
    log(_terms(source))
    accepted = _accepted(name, accept, ask)
    log(_plan(name, source, folders, file))
    fetch(name, source, folders, accepted, file=file, shown=True, log=log)
    log(
        f"{target} is ready. To version it: dvc add {folders.data} && dvc push {folders.data}.dvc. "
        f"{'' if file else f'{folders.downloads / source.archive} is no longer needed.'}".rstrip()
    )


def _accepted(name: str, accept: bool, ask: Callable[[str], bool] | None) -> str:
    if accept:
        return "by --accept-licence"
    if ask is None:
        raise FetchError(
            f"the licence of {name} is not accepted and there is no terminal to ask; if you accept it, add "
            "--accept-licence (with make: ACCEPT=yes)"
        )
    if not ask("Do you accept these terms?"):
        raise FetchError("the terms were not accepted; nothing was done")
    return "at the terminal"


def _terms(source: Source) -> str:
    where = f" ({source.licence_address})" if source.licence_address else ""
    return f"{source.title}: {source.about}\nlicence: {source.licence}{where}\ncite: {source.citation}"


def _entry(name: str, source: Source, folders: Folders) -> str:
    lines = [f"{name}: {_terms(source)}", f"size: {source.approximate_gb:g} GB to download"]
    if folders.is_complete(name):
        lines.append(f"state: complete, in {folders.target(name)}")
    else:
        lines += [f"state: {_state(name, folders)}", f"next: cadnet fetch-data {name}"]
        lines += [_plan(name, source, folders, None), source.by_hand(name)]
        lines += [f"not verified: {text}" for text in source.unverified]
    return "\n  ".join(lines).replace("\nlicence", "\n  licence").replace("\ncite", "\n  cite")


def _state(name: str, folders: Folders) -> str:
    target = folders.target(name)
    if target.is_dir() and any(target.iterdir()):
        return f"{target} exists, but was not made by this command"
    return f"absent; belongs in {target}"


def _plan(name: str, source: Source, folders: Folders, file: Path | None) -> str:
    archive = folders.downloads / source.archive
    partial = archive.with_name(f"{archive.name}.part")
    if file is not None or archive.is_file():
        first = f"take {file or archive}"
    elif source.address is None:
        return "plan: by hand only"
    else:
        done = f", resuming after {partial.stat().st_size / 1e6:.0f} MB" if partial.is_file() else ""
        first = f"download {source.address}{done}"
    against = "the published checksum" if source.has_checksum else "the first download, if there was one"
    return f"plan: {first}, compare it with {against}, unpack it to {folders.target(name)}"
