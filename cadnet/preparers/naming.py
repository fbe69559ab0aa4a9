"""Names of samples after the files they are made from."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")
_SLUG_LENGTH = 40


def is_safe(name: str) -> bool:
    """Whether ``name`` can be a file name on any system: ASCII letters, digits, ``_``, ``.`` and ``-``."""
    return _SAFE.fullmatch(name) is not None


def slug(name: str, key: str) -> str:
    """Return what is left of ``name`` in ASCII letters, digits, ``_`` and ``-``, with a digest of ``key``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9_]+", "-", plain).strip("-")[:_SLUG_LENGTH].strip("-")
    return f"{words or 'x'}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def safe_name(name: str) -> str:
    """Return ``name`` where it is safe, else a slug of it."""
    return name if is_safe(name) else slug(name, name)
