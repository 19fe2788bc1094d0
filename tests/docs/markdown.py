"""Markdown pages as a reader on GitHub has them: links, anchors and code blocks."""

import re
import unicodedata
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)", re.DOTALL)
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def pages() -> list[Path]:
    """All Markdown pages of the repository."""
    found = [*ROOT.glob("*.md"), *(p for d in ROOT.iterdir() if seen(d) for p in d.rglob("*.md"))]
    return sorted(found)


def seen(folder: Path) -> bool:
    """Whether a folder is of the repository: not hidden, and no images or runs."""
    return folder.is_dir() and folder.name[0] != "." and folder.name not in ("load", "save")


def prose(text: str) -> str:
    """A page without its code blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", text))


def links(text: str) -> list[str]:
    return LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """The anchors of the headings: no capitals or punctuation, hyphens; doubles are numbered."""
    found: set[str] = set()
    for heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        kept = (c for c in words if c in " -_" or unicodedata.category(c)[0] in "LN")
        name = "".join(kept).replace(" ", "-")
        number = 1
        unique = name
        while unique in found:
            unique, number = f"{name}-{number}", number + 1
        found.add(unique)
    return found


def broken(page: Path, text: str) -> list[str]:
    """The relative links of a page that lead nowhere."""
    wrong = []
    for link in links(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        there = target.exists()
        if there and anchor:
            there = anchor in anchors(target.read_text("utf-8") if path else text)
        if not there:
            wrong.append(link)
    return wrong
