"""Reads a page as a browser would, and knows what every page must hold to."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


class Reader(HTMLParser):
    """Collects tags, and notices tags that are closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader


def assert_loads_nothing(page: str) -> None:
    """No script, and no address that a browser would open by itself."""
    for tag, attributes in read(page).tags:
        assert tag not in {"script", "iframe", "object", "embed"}
        for name in ("src", "srcset", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
        if tag == "link":
            assert (attributes["href"] or "").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style and "@import" not in style


def assert_accessible(page: str) -> None:
    """Pictures have texts, ids are unique, and what refers to an id finds it."""
    reader = read(page)
    images = [attributes for tag, attributes in reader.tags if tag == "img"]
    assert all(len(image["alt"] or "") > 20 for image in images)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in reader.tags:
        for name in ("aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
        if (attributes.get("href") or "").startswith("#"):
            assert (attributes["href"] or "")[1:] in ids
    assert page.count("<figure") == page.count("<figcaption>")
    assert page.startswith("<!doctype html>") and '<html lang="en">' in page
