"""Write one of the profiles in ``params/`` into ``params.yaml``.

``params/paper.yaml`` is the base; every other profile is a patch of it (JSON merge patch, RFC 7396: mappings
merge, null removes a key, everything else replaces). A complete file is a patch too, so that
saved edits are a profile.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections import OrderedDict
from collections.abc import Collection, MutableMapping
from contextlib import suppress
from copy import deepcopy
from itertools import combinations
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from cadnet.config import ConfigError, ProjectParams, parse_params
from cadnet.files import write_text
from pipelines.trials import PARAMS

PROFILES = Path("params")
BASE = "paper"


def compose(name: str, folder: Path = PROFILES) -> str:
    """Return ``params.yaml`` as a profile has it: its own heading, then the patched base with its comments.

    Raises:
        ConfigError: no such profile, or it or the base is not YAML.
    """
    known = _known(folder)
    if name not in known:
        raise ConfigError(f"there is no profile '{name}'; choose one of {sorted(known)}")
    text = known[name].read_text("utf-8")
    if name == BASE:
        return text
    yaml = _yaml()
    try:
        base, patch = yaml.load(known[BASE].read_text("utf-8")), yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"{known[name]} or {known[BASE]} is not YAML: {error}") from error
    if not isinstance(patch, MutableMapping):
        raise ConfigError(
            f"{known[name]} is empty or holds no sections; name what it changes in {known[BASE]}"
        )
    _merge(base, patch)
    stream = io.StringIO()
    yaml.dump(base, stream)
    return _heading(text) + stream.getvalue().removeprefix(_heading(known[BASE].read_text("utf-8")))


def without(text: str, names: Collection[str]) -> str:
    """Return a parameter file in which no grid runs on the datasets ``names`` and none prepares them."""
    if not names:
        return text
    yaml = _yaml()
    params = yaml.load(text)
    for section, key in ((params, "prepare"), (params["run"], "datasets")):
        for name in set(names) & set(section[key]):
            section[key].remove(name)
    stream = io.StringIO()
    yaml.dump(params, stream)
    return stream.getvalue()


def to_fetch(text: str) -> list[str]:
    """The datasets of the main grid in a parameter file that people fetch themselves."""
    params = parse_params(text, PARAMS)
    return [name for name in params.run.datasets if params.datasets[name].preparer in ("pku_pcb", "mvtec_ad")]


def load_profile(name: str, folder: Path = PROFILES) -> ProjectParams:
    """Return the checked parameters of a profile.

    Raises:
        ConfigError: as :func:`compose`, or keys or values are wrong; all of them are listed.
    """
    return parse_params(compose(name, folder), folder / f"{name}.yaml")


def switch(name: str, force: bool = False) -> list[str]:
    """Write a profile into ``params.yaml``, without datasets whose raw data are not there, which it returns.

    Raises:
        ConfigError: no such profile, the profile is wrong, or ``params.yaml`` holds edits that no profile has
            and ``force`` is not set.
    """
    text = compose(name)
    parse_params(text, PROFILES / f"{name}.yaml")
    present = PARAMS.read_text("utf-8") if PARAMS.is_file() else ""
    if present and not force and profile_of(present) is None:
        raise ConfigError(
            f"{PARAMS} holds your own edits, which the switch would overwrite; save it as "
            f"{PROFILES}/<name>.yaml (then it is a profile too) or repeat with --force"
        )
    params = parse_params(text, PARAMS)
    missing = [one for one in to_fetch(text) if not Path(params.datasets[one].raw).exists()]
    left = without(text, missing)
    try:
        parse_params(left, PARAMS)
    except ConfigError:
        # The rest cannot do without: then preparing says what is missing.
        missing, left = [], text
    write_text(PARAMS, left)
    return missing


def profile_of(text: str, folder: Path = PROFILES) -> str | None:
    """Return the profile that ``text`` is, composed or as its file has it; None if it is of no profile.

    Datasets may have been left out because their raw data were not there.
    """
    for name, path in _known(folder).items():
        own = path.read_text("utf-8")
        # Composing takes a moment, and only a text with the profile's heading can be its own.
        # Another profile that is broken must not keep anyone from switching.
        with suppress(ConfigError):
            if not text.startswith(_heading(own)):
                continue
            whole = compose(name, folder)
            known = to_fetch(whole)
            parts = (some for count in range(len(known) + 1) for some in combinations(known, count))
            if text == own or any(text == without(whole, some) for some in parts):
                return name
    return None


def _yaml() -> YAML:
    """A reader and writer that keeps comments and quotes."""
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _known(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _merge(base: MutableMapping[str, Any], patch: MutableMapping[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            if key in base:
                # The library's own deletion fails in a mapping that others take by `<<`.
                OrderedDict.__delitem__(base, key)  # type: ignore[arg-type]
        elif isinstance(value, MutableMapping) and isinstance(base.get(key), MutableMapping):
            if any(base[key] is taken.get(key) for taken in getattr(base, "merge", ())):
                # Taken by `<<`: changed in place it would change where it was taken from, too.
                base[key] = CommentedMap(deepcopy(dict(base[key])))
            _merge(base[key], value)
        else:
            base[key] = value


def _heading(text: str) -> str:
    """The comment lines a file begins with."""
    lines = text.splitlines(keepends=True)
    count = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:count])


def main() -> None:
    """Entry of ``python -m pipelines.profile``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="default, paper, ...: a file of params/ without .yaml")
    parser.add_argument("--force", action="store_true", help="overwrite edits in params.yaml")
    arguments = parser.parse_args()
    try:
        missing = switch(arguments.name, arguments.force)
    except (ConfigError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    sys.stdout.write(f"params.yaml is now the profile '{arguments.name}'\n")
    for name in missing:
        sys.stdout.write(
            f"without '{name}', whose raw data are not here: `make fetch-data`, then this again\n"
        )


if __name__ == "__main__":
    main()
