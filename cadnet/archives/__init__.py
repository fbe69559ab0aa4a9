"""Unpacking zip and tar archives that strangers made."""

from __future__ import annotations

from cadnet.archives.limits import ArchiveError, Limits
from cadnet.archives.unpacking import (
    ARCHIVE_SUFFIXES,
    extract,
    extract_into,
    extracted,
    find_root,
    is_archive,
    remove_leftovers,
)

__all__ = [
    "ARCHIVE_SUFFIXES",
    "ArchiveError",
    "Limits",
    "extract",
    "extract_into",
    "extracted",
    "find_root",
    "is_archive",
    "remove_leftovers",
]
