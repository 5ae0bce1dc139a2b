"""docs/index.md lists every page, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_every_page_is_listed_once() -> None:
    named = re.findall(r"\]\(([^)#]+)\)", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert all((DOCS / name).exists() for name in named)
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert pages <= set(named) and len(named) == len(set(named))


def test_the_readme_leads_to_it() -> None:
    assert "docs/index.md" in (DOCS.parent / "README.md").read_text(encoding="utf-8")
