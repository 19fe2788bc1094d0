"""Links between pages lead somewhere, and the front page is short."""

import re

import pytest

from tests.docs.markdown import ROOT, anchors, broken, pages


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_anchors_exist(page):
    assert broken(page, page.read_text("utf-8")) == []


def test_a_wrong_link_is_found():
    page = ROOT / "README.md"
    text = "# A\n[a](#a) [b](#b) [c](docs/none.md)\n```\n[d](none)\n```\n[e](docs/liif.md#citation)"
    assert broken(page, text) == ["#b", "docs/none.md"]
    assert broken(page, "[f](docs/liif.md#what)") == ["docs/liif.md#what"]


def test_anchors_are_those_of_github():
    text = "# Keys of a `YAML`, here\n## [A link](b.md)\n### A\n### A\n```\n# comment\n```"
    assert anchors(text) == {"keys-of-a-yaml-here", "a-link", "a", "a-1"}


def test_every_page_is_reached_from_the_front_page():
    front = (ROOT / "README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name}" in front, page


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 200


def test_paths_that_pages_name_exist():
    """Scripts, configs and other files in commands and in text."""
    folders = "scripts|configs|benchmarks|weights|tests"
    named = re.compile(rf"\b((?:{folders})/[\w./-]+\.(?:py|sh|yaml|md))")
    for page in pages():
        if page.name in ("CHANGELOG.md", "CONTRIBUTING.md", "NOTES.md"):  # the past; what to add
            continue
        for path in named.findall(page.read_text("utf-8")):
            assert (ROOT / path).exists() or (page.parent / path).exists(), f"{page}: {path}"
