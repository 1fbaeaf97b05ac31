"""Reads a page as a strict reader would: every element closed in order, every id once, every reference answered."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset({"meta", "link", "br", "hr", "img", "input"})


class Page(HTMLParser):
    """A parsed page.

    Attributes:
        elements: (tag, attributes) in order.
        ids: of all elements, in order.
        faults: what is not well-formed.
        text: all text outside the style sheet.
        headings: the level of each heading, in order.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.faults: list[str] = []
        self.text, self._open = "", list[str]()
        self.feed(str(html))  # a plain string, where markup is given
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self._open]
        self.ids = [name for _, found in self.elements if (name := found.get("id"))]
        self.headings = [int(tag[1]) for tag, _ in self.elements if tag in {"h1", "h2", "h3", "h4", "h5", "h6"}]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) < len(attrs):
            self.faults.append(f"<{tag}> has an attribute twice")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data
