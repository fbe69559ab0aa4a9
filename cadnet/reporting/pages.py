"""The environment in which both pages are rendered."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def page_environment() -> Environment:
    """Return the templates of this package: escaped, and an undefined name is an error."""
    return Environment(
        loader=PackageLoader("cadnet.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
