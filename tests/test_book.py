"""The built book: it opens from disk with the network off, its links resolve, and readers can use it."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import sdclib
import study
from study.provenance import PROJECT_ROOT

pytestmark = pytest.mark.slow
BOOK = PROJECT_ROOT / "book"
PARTS = yaml.safe_load((BOOK / "_toc.yml").read_text(encoding="utf-8"))["parts"]
CHAPTERS = ["intro", *(chapter["file"] for part in PARTS for chapter in part["chapters"])]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Build the book from the committed notebooks, warnings as errors, into a path that shells would take apart."""
    pytest.importorskip("jupyter_book", reason="needs the extra 'book'")
    out = tmp_path_factory.mktemp("mein Büch")
    tool = Path(sys.executable).with_name("jupyter-book")
    command = [tool, "build", "book", "--path-output", out, "-W", "-n", "--keep-going", "--quiet"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra 'test'")
    if CHROMIUM is None:
        pytest.skip("no Chromium installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def show(html, browser):
    """Open a page of the book, wide, with the network off; contexts are closed after the test."""
    contexts = []

    def show(name, **options):
        contexts.append(browser.new_context(offline=True, viewport={"width": 1400, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.goto((html / f"{name}.html").as_uri())
        return page

    yield show
    for context in contexts:
        context.close()


# The lowest contrast of text in tables and captions against what is painted behind it, by WCAG's formula.
CONTRAST = """() => {
  const parse = text => { const n = text.match(/[\\d.]+/g).map(Number); return [n.slice(0, 3), n[3] ?? 1]; };
  const over = ([top, alpha], below) => top.map((value, i) => alpha * value + (1 - alpha) * below[i]);
  const behind = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
    return layers.reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const luminance = rgb => {
    const [r, g, b] = rgb.map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const cells = "main :is(td, th, figcaption, caption)";
  const low = [];
  for (const element of document.querySelectorAll(`${cells}, ${cells} *`)) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
    if (!element.offsetParent) continue;
    const below = behind(element);
    const [a, b] = [luminance(over(parse(getComputedStyle(element).color), below)), luminance(below)];
    low.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim().slice(0, 40)]);
  }
  return low.sort((a, b) => a[0] - b[0]);
}"""
CUT = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60))"
IMAGES = """all => all.map(i => ({
  alt: i.alt, width: i.naturalWidth, shown: i.clientWidth / i.clientHeight, natural: i.naturalWidth / i.naturalHeight
}))"""


@pytest.fixture(scope="module")
def visited(html, browser):
    """What every page shows on a phone in light and dark, and every request that any page made."""
    pages, requests, errors = {}, [], []
    for scheme in ("light", "dark"):
        size = {"width": 390, "height": 900}
        context = browser.new_context(offline=True, viewport=size, color_scheme=scheme)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        reference = ["genindex", *sorted(f"api/{path.stem}" for path in (html / "api").glob("*.html"))]
        for name in [*CHAPTERS, *(reference if scheme == "light" else ())]:
            page.goto((html / f"{name}.html").as_uri())
            page.evaluate("() => window.MathJax?.startup?.promise")
            pages[scheme, name] = {
                "theme": page.evaluate("document.documentElement.dataset.theme"),
                "width": page.evaluate("document.documentElement.scrollWidth"),
                "maths": page.locator("mjx-container").count(),
                "text": page.locator("main").inner_text(),
                "prose": " ".join(page.locator("main :is(p, li):not(:has(code, math, p))").all_inner_texts()),
                "images": page.locator("main img").evaluate_all(IMAGES),
                "captions": page.locator("main figure:has(img) figcaption").count(),
                "contrast": page.evaluate(CONTRAST),
                "cut": page.locator("main pre").evaluate_all(CUT),
            }
        page.goto((html / "search.html").as_uri() + "?q=calibration")
        page.wait_for_selector("#search-results .search-summary:has-text('finished')", timeout=30_000)
        pages[scheme, "search"] = page.locator("#search-results li").all_inner_texts()
        context.close()
    found = pages.pop(("light", "search")) + pages.pop(("dark", "search"))
    return {"pages": pages, "requests": requests, "errors": errors, "search": found}


def test_no_request_leaves_a_page(visited):
    assert len(visited["requests"]) > 1000
    assert [url for url in visited["requests"] if not url.startswith(("file:", "data:", "blob:"))] == []
    assert visited["errors"] == []


def test_maths_is_rendered(visited):
    for name, least in {
        "sdc_step_by_step": 8,
        "similarity_collapse": 3,
        "api/sdclib.losses.calibration": 10,
    }.items():
        page = visited["pages"]["light", name]
        assert page["maths"] >= least
        assert [raw for raw in ("\\(", "\\[", "\\frac", "$$", ":math:") if raw in page["text"]] == []


def test_a_number_and_its_percent_sign_stay_on_one_line(visited):
    prose = " ".join(page["prose"] for page in visited["pages"].values())
    assert prose.count("95\u00a0%") > 50
    assert re.findall(r".{20}\d %", prose) == []


def test_figures_have_captions_alternative_texts_and_their_proportions(visited):
    for (scheme, name), page in visited["pages"].items():
        assert page["captions"] == len(page["images"]), name
        for image in page["images"]:
            # An image without an alternative text gets its file's path for one.
            assert len(image["alt"]) > 20, image
            assert "_images/" not in image["alt"]
            assert image["width"] > 0
            if scheme == "light":  # a card in the dark has a margin
                assert image["shown"] == pytest.approx(image["natural"], rel=0.03)
    assert sum(len(page["images"]) for page in visited["pages"].values()) > 50


def test_no_page_is_wider_than_a_phone(visited):
    assert {name: page["width"] for name, page in visited["pages"].items() if page["width"] > 390} == {}
    assert {name: page["cut"] for name, page in visited["pages"].items() if page["cut"]} == {}


def test_text_of_tables_and_captions_has_contrast(visited):
    assert all(page["theme"] == scheme for (scheme, _), page in visited["pages"].items())
    assert sum(len(page["contrast"]) for page in visited["pages"].values()) > 1000
    lowest = {name: page["contrast"][0] for name, page in visited["pages"].items() if page["contrast"]}
    assert {name: low for name, low in lowest.items() if low[0] < 4.5} == {}


def test_search_finds_pages(visited):
    assert any("similarity distribution calibration" in result for result in visited["search"])


def becomes(page, value, expected):
    """Wait up to five seconds, as tables are drawn a little after a click."""
    for _ in range(50):
        if value() == expected:
            return
        page.wait_for_timeout(100)
    assert value() == expected


def test_tables_sort_by_click_and_by_keyboard(show):
    page = show("main_results")
    table = page.locator("main table.dataTable", has=page.locator("th", has_text="64 bits")).first
    header = table.locator("th", has_text="64 bits")
    column = header.evaluate("cell => cell.cellIndex")

    def shown():
        script = "(rows, i) => rows.map(r => r.cells[i].textContent)"
        cells = table.locator("tbody tr").evaluate_all(script, column)
        return [float(cell.split(" ± ")[0]) for cell in cells if cell]

    before = shown()
    assert len(before) > 15
    header.click()
    becomes(page, lambda: (header.get_attribute("aria-sort"), shown()), ("ascending", sorted(before)))
    header.get_by_role("button").press("Enter")
    down = ("descending", sorted(before, reverse=True))
    becomes(page, lambda: (header.get_attribute("aria-sort"), shown()), down)
    header.click()
    becomes(page, shown, before)
    box = page.locator("main .dt-container", has=page.locator("th", has_text="64 bits")).first
    box.get_by_role("searchbox").fill("LSH")
    becomes(page, lambda: set(table.locator("tbody th").all_inner_texts()), {"LSH", "LSH (centred)"})


def test_sorting_knows_intervals_signs_gaps_spans_and_headers_of_two_rows(html, tmp_path, browser):
    rows = ["9.5 ± 0.4", "", "62.5 ± 12.0", "\u22121.5", "NaN", "1,024"]
    first = "<th rowspan=6>group</th>"
    body = "".join(f"<tr>{'' if i else first}<td>{text}</td></tr>" for i, text in enumerate(rows))
    head = "<tr><th></th><th>value</th></tr><tr><th>kind</th><th></th></tr>"
    scripts = [(html / "_static" / f"{name}.js").as_uri() for name in ("itables", "tables")]
    (tmp_path / "t.html").write_text(
        '<!DOCTYPE html><meta charset="utf-8"><main class="bd-content"><table class="dataframe">'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></main>"
        + "".join(f'<script src="{script}"></script>' for script in scripts),
        encoding="utf-8",
    )
    page = browser.new_page()
    page.goto((tmp_path / "t.html").as_uri())
    header = page.locator("th.dt-orderable-asc", has_text="value")
    cells = page.locator("tbody td")
    up = ["\u22121.5", "9.5 ± 0.4", "62.5 ± 12.0", "1,024", "", "NaN"]
    header.click()
    becomes(page, cells.all_text_contents, up)
    assert page.locator("thead th").all_inner_texts() == ["kind", "value"]
    assert page.locator("tbody th").count() == len(rows)
    header.click()
    becomes(page, cells.all_text_contents, [*up[3::-1], *up[4:]])
    page.close()


def test_an_explorer_follows_its_menu_and_its_legend(show):
    page = show("main_results")
    drawn = page.locator(".sdc-explorer .plotly-graph-div")

    def choose(name):
        drawn.locator(".updatemenu-header").click()
        drawn.locator(".updatemenu-dropdown-button", has_text=name).click()
        return drawn.evaluate("figure => figure.data.map(trace => trace.text.join())")

    at_first = drawn.evaluate("figure => figure.data.map(trace => trace.text.join())")
    assert len(at_first) > 15
    assert set(at_first) == {"64"}
    drawn.locator(".legendtoggle").first.click()
    assert set(choose("16 bits")) == {"16"}
    assert set(choose("all code lengths")) == {"16,32,64,128"}
    page.wait_for_function(
        "document.querySelector('.plotly-graph-div').data[0].visible === 'legendonly'", timeout=5000
    )


def test_pages_are_light_and_show_tables_without_scripts(html, show):
    assert {path.name for path in html.glob("*.html") if path.stat().st_size > 3e6} == set()
    page = show("main_results", java_script_enabled=False)
    assert page.locator("main table.dataframe").first.is_visible()
    assert page.locator("main table.dataframe tbody tr").count() > 50


class Links(HTMLParser):
    """What a page points to, and which anchors it has."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links = {"", "top"}, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.anchors |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        link = attributes.get({"a": "href", "link": "href", "img": "src", "script": "src"}.get(tag, ""))
        if link is not None and not urlsplit(link).scheme and not link.startswith("//"):
            self.links.append(link)


def parse_pages(html):
    paths = [path for path in html.resolve().rglob("*.html") if "_static" not in path.parts]
    return {path: Links(path.read_text(encoding="utf-8")) for path in paths}


def broken_links(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (
                target in pages and unquote(parts.fragment) not in pages[target].anchors
            ):
                broken.append((path.name, link))
    return broken


def test_every_link_and_anchor_resolves(html):
    pages = parse_pages(html)
    links = [link for page in pages.values() for link in page.links]
    assert len(links) > 5000
    assert any("_downloads/" in link for link in links)
    assert broken_links(pages) == []


def test_the_link_check_finds_what_is_broken(tmp_path):
    text = '<a href="b.html#x">x</a><a href="#here">y</a><a href="c.csv">z</a><p id="here"></p><a href="https://x.org">'
    (tmp_path / "b.html").write_text(text)
    assert broken_links(parse_pages(tmp_path)) == [("b.html", "b.html#x"), ("b.html", "c.csv")]


def test_the_reference_has_every_public_name_and_links_in_docstrings(html):
    pages = {path.stem: page for path, page in parse_pages(html / "api").items()}
    missing = []
    for root in (sdclib, study):
        for module in (import_module(m.name) for m in walk_packages(root.__path__, f"{root.__name__}.")):
            for name in getattr(module, "__all__", ()):
                member = getattr(module, name)
                code = isinstance(member, type) or hasattr(member, "__code__")
                home = member.__module__ if code else module.__name__
                if home.startswith(("sdclib", "study")) and f"{home}.{name}" not in pages[home].anchors:
                    missing.append(f"{home}.{name}")
    assert missing == []
    links = pages["sdclib.methods.sdc"].links
    assert "sdclib.methods.presets.html#sdclib.methods.presets.SDCSettings" in links
    assert not any("set_fit_request" in anchor for page in pages.values() for anchor in page.anchors)


def test_the_contents_name_every_chapter():
    notebooks = {path.stem for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb")}
    assert set(CHAPTERS) == notebooks | {path.stem for path in BOOK.glob("*.md")}
