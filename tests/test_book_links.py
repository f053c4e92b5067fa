"""Links and the reference of the built book, and what ends its build."""

import os
import re
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from scripts.build_book import api_pages, chapters, execute, stage
from tests.built_book import BOOK, built_book


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return built_book(tmp_path_factory.getbasetemp() / "mein Büch")


class Links(HTMLParser):
    """What a page points to, and which anchors it has."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.images = {"", "top"}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        link = attributes.get({"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag, ""))
        if link is not None and not urlsplit(link).scheme and not link.startswith("//"):
            self.links.append(link)
            if tag == "img":
                self.images.append(link)


@pytest.fixture(scope="module")
def parsed(html):
    """Links and anchors of every built page."""
    return {
        path.relative_to(html).as_posix(): Links(path.read_text(encoding="utf-8"))
        for path in html.glob("*.html")
    }


def broken_links(html, parsed):
    broken = []
    for name, page in parsed.items():
        for link in page.links:
            target, anchor = unquote(urlsplit(link).path) or name, unquote(urlsplit(link).fragment)
            if not (html / target).is_file() or (target in parsed and anchor not in parsed[target].anchors):
                broken.append((name, link))
    return broken


def test_every_link_and_anchor_resolves(html, parsed):
    links = [link for page in parsed.values() for link in page.links]
    assert len(links) > 2000
    assert any("_downloads/" in link for link in links)
    assert any("#sdclib." in link for link in links)
    assert broken_links(html, parsed) == []


def test_the_link_check_finds_what_is_broken(tmp_path):
    text = '<a href="b.html#x">x</a><a href="#here">y</a><a href="c.csv">z</a><p id="here"></p><a href="https://x.org">'
    for name in ("a.html", "b.html"):
        (tmp_path / name).write_text(text)
    pages = {name: Links(text) for name in ("a.html", "b.html")}
    assert broken_links(tmp_path, pages) == [
        (name, link) for name in ("a.html", "b.html") for link in ("b.html#x", "c.csv")
    ]


def test_pages_are_light_with_their_images(html, parsed):
    for name, page in parsed.items():
        size = sum((html / path).stat().st_size for path in {name, *map(unquote, page.images)})
        assert size < 3_000_000, name


def test_every_public_name_is_in_the_reference(parsed):
    pytest.importorskip("sphinx", reason="needs the extra 'book'")
    from scripts.docstrings import Names

    anchors = set().union(*(page.anchors for name, page in parsed.items() if name.startswith("api_")))
    wanted = {f"{home}.{path.rpartition('.')[2]}" for path, home in Names().home.items()}
    assert len(wanted) > 300
    assert wanted - anchors == set()


def test_names_in_docstrings_become_links(html):
    text = (html / "api_methods.html").read_text(encoding="utf-8")
    assert re.search(r'href="api_features.html#sdclib.views.load_views"', text)
    assert re.search(r'href="#sdclib.methods.BaseHasher.fit"', text)
    assert "set_fit_request" not in text


def test_the_layout_names_every_module_and_the_contents_every_page_of_the_reference():
    pytest.importorskip("sphinx", reason="needs the extra 'book'")
    from scripts.docstrings import modules

    pages = api_pages(BOOK / "layout.md")
    named = [module for _, listed in pages.values() for module in listed]
    assert set(named) == set(modules()) - {"sdclib"}, "name each module once in book/layout.md"
    assert len(named) == len(set(named))
    assert [name for name in chapters(BOOK) if name.startswith("api_")] == list(pages)


def test_a_notebook_that_fails_ends_the_build_and_is_named(tmp_path):
    pytest.importorskip("papermill", reason="needs the extra 'book'")
    for name, code in (("good", "1"), ("bad", "1 / 0")):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    with pytest.raises(SystemExit, match=r"(?s)bad\.ipynb.*ZeroDivisionError"):
        execute(tmp_path, tmp_path / "out", ["good", "bad"])
    assert (tmp_path / "out" / "good.ipynb").is_file()


def test_a_chapter_that_is_missing_is_named(tmp_path):
    os.makedirs(tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match=r"_toc\.yml: expected .*\.md in .* or .*\.ipynb, found neither"
    ):
        stage(BOOK, tmp_path / "none", tmp_path / "src")


def test_no_page_has_the_name_of_a_page_of_sphinx(tmp_path):
    (tmp_path / "_toc.yml").write_text("parts: [{chapters: [{file: train}, {file: search}]}]")
    with pytest.raises(ValueError, match=r"_toc.yml: .*'search'"):
        chapters(tmp_path)
