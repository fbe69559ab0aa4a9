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
from collections.abc import MutableMapping
from contextlib import suppress
from copy import deepcopy
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
    yaml = YAML()
    yaml.width = 120
    yaml.preserve_quotes = True
    yaml.indent(mapping=2, sequence=4, offset=2)
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


def load_profile(name: str, folder: Path = PROFILES) -> ProjectParams:
    """Return the checked parameters of a profile.

    Raises:
        ConfigError: as :func:`compose`, or keys or values are wrong; all of them are listed.
    """
    return parse_params(compose(name, folder), folder / f"{name}.yaml")


def switch(name: str, force: bool = False) -> None:
    """Write a profile into ``params.yaml``.

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
    write_text(PARAMS, text)


def profile_of(text: str, folder: Path = PROFILES) -> str | None:
    """Return the profile that ``text`` is, composed or as its file has it; None if it is of no profile."""
    for name, path in _known(folder).items():
        own = path.read_text("utf-8")
        # Composing takes a moment, and only a text with the profile's heading can be its own.
        # Another profile that is broken must not keep anyone from switching.
        with suppress(ConfigError):
            if text.startswith(_heading(own)) and text in (compose(name, folder), own):
                return name
    return None


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
        switch(arguments.name, arguments.force)
    except (ConfigError, FileNotFoundError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from error
    sys.stdout.write(f"params.yaml is now the profile '{arguments.name}'\n")


if __name__ == "__main__":
    main()
