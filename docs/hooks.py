"""The pages of the site that follow from code or results; mkdocs calls this while it builds (`make site`).

Nothing here is written into the folder of the documentation, so that none of it can go stale.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

from docs import evidence, reference, rooted, which
from scrimp.evidence import claims, page, results

ROOT = Path(__file__).parent.parent


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the families of methods and the packages into the navigation: a page each, not one a method."""
    families = sorted(path.parent.name for path in Path(config.docs_dir).glob("methods/*/README.md"))
    methods = ["methods/README.md", {"What tuning can do": "methods/capabilities.md"},
               *({family: f"methods/{family}/README.md"} for family in families)]
    packages = ["reference/index.md", {"Verbs": "reference/verbs.md"},
                *({name: f"reference/{name}.md"} for name in reference.packages())]
    grown = {"Methods": methods, "Reference": packages}
    config.nav = [{title: grown.get(title, inside) for title, inside in entry.items()} for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, text in made(ROOT):
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A bar in code within a table is written ``\\|`` for others; here it stands as it is."""
    return re.sub(r"`[^`\n]*`", lambda code: code[0].replace("\\|", "|"), markdown)


def made(root: Path) -> Iterator[tuple[str, str]]:
    """Name and content of each page that is made."""
    for name, target in rooted.PAGES.items():
        yield target, rooted.as_page((root / name).read_text(encoding="utf-8"))
    tried = claims.all_claims()
    standings = results.standings(tried)
    yield "evidence.md", evidence.page(standings)
    yield "evidence-plots.html", page.render(standings)
    methods = {claim.name: which.shown(claim) for claim in tried}
    yield "which-method.md", which.page(standings, methods, (root / "docs/selection-curves.md").read_text("utf-8"))
    yield from reference.pages()


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site in which a public name is missing."""
    inventory = zlib.decompress(Path(config.site_dir, "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    there = {line.split(" ", 1)[0] for line in inventory.splitlines()}
    if missing := sorted(reference.public() - there):
        raise PluginError(f"{len(missing)} public names are not in the reference: {', '.join(missing[:10])}")
