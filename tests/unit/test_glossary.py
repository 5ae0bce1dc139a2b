"""One word for one thing: the glossary tells each once."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/glossary.md"


def test_each_word_is_told_once() -> None:
    """In its own row, or within that of another word, in italics."""
    rows = [line.split("|")[1:3] for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    told = [word.strip() for first, _ in rows for word in first.split(",") if first.strip() != "word"]
    told += [word for _, meaning in rows for word in re.findall(r"\*([^*]+)\*", meaning)]
    assert len(told) > 50
    twice = {word: count for word, count in Counter(told).items() if count > 1}
    assert not twice
