"""Reading what a page holds, with the parser of the standard library."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Read(HTMLParser):
    """The elements of a page, its links, names and texts; what is not closed in order is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """What a reader reads."""
        return " ".join(self.texts)

    def values(self, name: str) -> list[str]:
        """Those of an attribute."""
        return [value for _, attribute, value in self.attributes if attribute == name]


def check_self_contained(text: str) -> Read:
    """The page, which must hold all that it shows: no script, nothing from elsewhere, links that lead somewhere."""
    page = Read(text)
    assert "script" not in page.tags
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert all(value.startswith("data:image/png;base64,") for value in page.values("src"))
    names = page.values("id")
    assert len(names) == len(set(names))
    assert page.values("href")
    assert all(value.startswith("#") and value[1:] in names for value in page.values("href"))
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text
    return page
