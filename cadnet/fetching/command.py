"""What ``cadnet fetch-data`` says and asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cadnet.fetching.fetch import NOTE, Places, fetch, require_free
from cadnet.fetching.sources import FetchError, Source, load_sources


def run(
    name: str | None,
    *,
    accept: bool,
    file: Path | None,
    places: Places,
    say: Callable[[str], None],
    ask: Callable[[str], bool] | None,
) -> None:
    """List the datasets, or get one.

    Args:
        name: of the dataset; None lists them.
        accept: whether the licence was accepted beforehand.
        file: archive that is there already.
        places: where to.
        say: takes what is to be read.
        ask: puts a question to a person; None when there is nobody to ask.

    Raises:
        FetchError: unknown dataset, licence not accepted, or what `fetch` says.
        OSError: the disk is full or cannot be written.
    """
    sources = load_sources()
    if name is None:
        if file is not None:
            raise FetchError(f"--file needs the dataset's name before it: one of {', '.join(sources)}")
        say("\n\n".join(_entry(key, source, places) for key, source in sources.items()))
        return
    if name not in sources:
        raise FetchError(f"dataset {name!r} is unknown; choose one of {', '.join(sources)}")
    source, target = sources[name], places.target(name)
    if places.is_complete(name) and file is None:
        say(f"{name} is there: {target}. Where it came from says {target / NOTE}")
        return
    require_free(target)
    say(_terms(source))
    accepted = _accepted(name, accept, ask)
    say(_plan(name, source, places, file))
    fetch(name, source, places, accepted, file=file, shown=True, say=say)
    say(
        f"{target} is ready. To version it: dvc add {places.data} && dvc push {places.data}.dvc. "
        f"{'' if file else f'{places.downloads / source.archive} is no longer needed.'}".rstrip()
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


def _entry(name: str, source: Source, places: Places) -> str:
    lines = [f"{name}: {_terms(source)}", f"size: {source.approximate_gb:g} GB to download"]
    if places.is_complete(name):
        lines.append(f"state: there, in {places.target(name)}")
    else:
        lines += [f"state: {_state(name, places)}", f"next: cadnet fetch-data {name}"]
        lines += [_plan(name, source, places, None), source.by_hand(name)]
        lines += [f"not verified: {text}" for text in source.unverified]
    return "\n  ".join(lines).replace("\nlicence", "\n  licence").replace("\ncite", "\n  cite")


def _state(name: str, places: Places) -> str:
    target = places.target(name)
    if target.is_dir() and any(target.iterdir()):
        return f"{target} is there, but was not made by this command"
    return f"absent; belongs in {target}"


def _plan(name: str, source: Source, places: Places, file: Path | None) -> str:
    archive = places.downloads / source.archive
    partial = archive.with_name(f"{archive.name}.part")
    if file is not None or archive.is_file():
        first = f"take {file or archive}"
    elif source.address is None:
        return "plan: only by hand"
    else:
        done = f", going on after {partial.stat().st_size / 1e6:.0f} MB" if partial.is_file() else ""
        first = f"download {source.address}{done}"
    against = "the published checksum" if source.has_checksum else "the first download, if there was one"
    return f"plan: {first}, compare it with {against}, unpack it to {places.target(name)}"
