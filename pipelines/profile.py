"""Switch ``params.yaml`` to one of the profiles in ``params/``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cadnet.config import ConfigError, load_params
from cadnet.files import write_bytes
from pipelines.trials import PARAMS

PROFILES = Path("params")


def switch(name: str, force: bool = False) -> None:
    """Copy ``params/<name>.yaml`` over ``params.yaml``.

    Raises:
        ConfigError: no such profile, the profile is wrong, or ``params.yaml`` holds edits that no profile has
            and ``force`` is not set.
    """
    known = {path.stem: path for path in sorted(PROFILES.glob("*.yaml"))}
    if name not in known:
        raise ConfigError(f"there is no profile '{name}'; choose one of {sorted(known)}")
    load_params(known[name])
    present = PARAMS.read_bytes() if PARAMS.is_file() else b""
    if present and not force and present not in {path.read_bytes() for path in known.values()}:
        raise ConfigError(
            f"{PARAMS} holds your own edits, which the switch would overwrite; save it as "
            f"{PROFILES}/<name>.yaml (then it is a profile too) or repeat with --force"
        )
    write_bytes(PARAMS, known[name].read_bytes())


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
