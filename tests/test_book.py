"""The book opens from disk with the network off: maths, figures, search, and no request that leaves the page."""

import os
import subprocess
import sys

import pytest

from scripts.browser import find_chromium, launch, page_url
from scripts.build_book import chapters, stage
from sdclib.provenance import PROJECT_ROOT

BOOK, NOTEBOOKS = PROJECT_ROOT / "book", PROJECT_ROOT / "notebooks"


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Build the real book from the committed notebooks and their outputs."""
    pytest.importorskip("jupyter_book", reason="needs the extra 'book'")
    out = tmp_path_factory.mktemp("book")
    command = [sys.executable, "scripts/build_book.py", "--no-execute", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("intro.html")
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def visited(html):
    """What each page showed, and every request that any page made."""
    pytest.importorskip("playwright", reason="needs the extra 'test'")
    if find_chromium() is None:
        pytest.skip("no Chromium installed")
    seen, requests, errors = {}, [], []
    with launch() as browser:
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        for name in ["intro", *chapters(BOOK)]:
            page.goto(page_url(html, f"{name}.html"))
            page.wait_for_load_state("load")
            page.wait_for_timeout(1000)
            seen[name] = {
                "maths": page.locator("mjx-container").count(),
                "text": page.locator("main").inner_text(),
                "images": page.locator("main img").evaluate_all(
                    "all => all.map(i => ({width: i.naturalWidth, alt: i.alt, src: i.getAttribute('src')}))"
                ),
                "captions": page.locator("main figcaption").count(),
                "size": (html / f"{name}.html").stat().st_size,
            }
        page.goto(page_url(html, "search.html?q=calibration"))
        page.wait_for_selector("#search-results li", timeout=15_000)
        seen["search"] = page.locator("#search-results li").all_inner_texts()
        context.close()
    return {"pages": seen, "requests": requests, "errors": errors}


def test_no_request_leaves_the_page(visited):
    assert visited["requests"]
    outside = [url for url in visited["requests"] if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == []
    assert visited["errors"] == []


def test_maths_is_rendered(visited):
    pages = visited["pages"]
    assert pages["intro"]["maths"] >= 8
    assert pages["similarity_collapse"]["maths"] >= 3
    for name in ("intro", "similarity_collapse"):
        for raw in ("\\(", "\\[", "\\frac", "$$"):
            assert raw not in pages[name]["text"], f"{name} shows {raw}"


def test_figures_are_shown_with_captions_and_alternative_texts(visited):
    with_figures = (
        "features",
        "sdc_step_by_step",
        "main_results",
        "similarity_collapse",
        "train",
        "how_to_read_map",
    )
    for name in with_figures:
        images = visited["pages"][name]["images"]
        assert len(images) >= 1
        assert all(image["width"] > 0 for image in images), images
        # An image without an alternative text gets its file's path for one.
        assert all(len(image["alt"]) > 20 and "_images/" not in image["alt"] for image in images), images
        assert visited["pages"][name]["captions"] == len(images)


def test_images_keep_their_proportions_on_a_phone(html):
    pytest.importorskip("playwright", reason="needs the extra 'test'")
    if find_chromium() is None:
        pytest.skip("no Chromium installed")
    with launch() as browser:
        page = browser.new_context(viewport={"width": 390, "height": 844}, offline=True).new_page()
        page.goto(page_url(html, "sdc_step_by_step.html"))
        page.wait_for_load_state("load")
        ratios = page.locator("main img").evaluate_all(
            "all => all.map(i => [i.clientWidth / i.clientHeight, i.naturalWidth / i.naturalHeight])"
        )
    assert len(ratios) >= 3
    for shown, natural in ratios:
        assert shown == pytest.approx(natural, rel=0.03)


def test_search_finds_pages(visited):
    assert any("similarity distribution calibration" in result for result in visited["pages"]["search"])


def test_pages_are_light(visited):
    for name, page in visited["pages"].items():
        if name != "search":
            assert page["size"] < 3_000_000, name


def test_a_chapter_that_is_missing_is_named(tmp_path):
    os.makedirs(tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match=r"_toc\.yml: expected .*\.md in .* or .*\.ipynb, found neither"
    ):
        stage(BOOK, tmp_path / "none", tmp_path / "src")
