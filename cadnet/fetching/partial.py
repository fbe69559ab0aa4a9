"""A file that is still being downloaded, and what is known about where it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cadnet.files import read_json, write_json


class Partial:
    """``<target>.part`` and ``<target>.part.json``, which survive the process."""

    def __init__(self, target: Path, address: str) -> None:
        self._target, self._address = target, address
        self.path = target.with_name(target.name + ".part")
        self._state_path = target.with_name(target.name + ".part.json")
        self._state = self._read_state()
        if self._state.get("address") != address:
            # The rest of another file would be glued to this one.
            self.reset()

    @property
    def length(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def total(self) -> int | None:
        """Bytes of the whole file, None when the server did not say."""
        total = self._state.get("total")
        return total if isinstance(total, int) else None

    def headers(self, checked: bool) -> dict[str, str]:
        """What to ask the server for: the rest if the file is still the same, the whole otherwise.

        Args:
            checked: a published checksum will tell whether the parts belong together, so that the rest may be
                asked for although the server gave nothing to recognise the file by.
        """
        validator = self._state.get("validator")
        if self.length == 0 or not (validator or checked):
            return {}
        headers = {"Range": f"bytes={self.length}-"}
        return headers | {"If-Range": validator} if isinstance(validator, str) else headers

    def begin(self, headers: Mapping[str, str], total: int | None) -> None:
        """Note what the server says about the file whose bytes follow."""
        etag = headers.get("ETag", "")
        # A weak tag does not promise the same bytes, and servers must not go on by it.
        strong = etag if etag and not etag.startswith("W/") else None
        validator = strong or headers.get("Last-Modified")
        self._state = {"address": self._address, "validator": validator, "total": total}
        write_json(self._state_path, self._state)

    def reset(self) -> None:
        """Forget everything."""
        self.path.unlink(missing_ok=True)
        self._state_path.unlink(missing_ok=True)
        self._state = {}

    def finish(self) -> None:
        """Give the complete file its name."""
        descriptor = os.open(self.path, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.path.replace(self._target)
        self._state_path.unlink(missing_ok=True)

    def _read_state(self) -> dict[str, Any]:
        try:
            state = read_json(self._state_path)
        except (FileNotFoundError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}
