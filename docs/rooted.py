"""Documents of the project's root that are pages of the site too."""

from __future__ import annotations

import re

#: the document -> the page
PAGES = {"README.md": "index.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md",
         "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)#]*)(#[^)]*)?\)")


def as_page(text: str) -> str:
    """A document of the root as a page: what is below ``docs`` is linked from there, the rest is named only."""
    def link(found: re.Match[str]) -> str:
        words, target, place = found[1], found[2], found[3] or ""
        if target in PAGES:
            return f"[{words}]({PAGES[target]}{place})"
        if target.startswith("docs/"):
            return f"[{words}]({target.removeprefix('docs/')}{place})"
        return words

    return _LINK.sub(link, text)
