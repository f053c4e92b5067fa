"""The built book: it opens from disk with the network off, its links resolve, and what ends its build."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

from scripts.browser import find_chromium, launch, page_url
from scripts.build_book import api_pages, chapters, execute, stage
from study.provenance import PROJECT_ROOT

BOOK = PROJECT_ROOT / "book"


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    """Build the real book from the committed notebooks and their outputs, in a path that shells would take apart."""
    pytest.importorskip("jupyter_book", reason="needs the extra 'book'")
    out = tmp_path_factory.mktemp("mein Büch")
    command = [sys.executable, "scripts/build_book.py", "--no-execute", "--out", str(out)]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("intro.html")
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium for all tests of this file."""
    pytest.importorskip("playwright", reason="needs the extra 'test'")
    if find_chromium() is None:
        pytest.skip("no Chromium installed")
    with launch() as started:
        yield started


@pytest.fixture
def new_page(browser):
    """Make pages of contexts with the network off; they are closed after the test."""
    contexts = []

    def new(width=1400, **options):
        contexts.append(
            browser.new_context(offline=True, viewport={"width": width, "height": 900}, **options)
        )
        return contexts[-1].new_page()

    yield new
    for context in contexts:
        context.close()


def show(page, html, name):
    page.goto(page_url(html, f"{name}.html"))
    page.wait_for_load_state("load")
    page.evaluate("() => window.MathJax?.startup?.promise")


@pytest.fixture(scope="module")
def visited(html, browser):
    """What each page showed, and every request that any page made."""
    seen, requests, errors = {}, [], []
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    for name in ["intro", *chapters(BOOK)]:
        show(page, html, name)
        seen[name] = {
            "maths": page.locator("mjx-container").count(),
            "text": page.locator("main").inner_text(),
            "prose": " ".join(page.locator("main :is(p, li):not(:has(code, math, p))").all_inner_texts()),
            "images": page.locator("main img").evaluate_all(
                "all => all.map(i => ({width: i.naturalWidth, alt: i.alt, src: i.getAttribute('src')}))"
            ),
            "captions": page.locator("main figure:has(img) figcaption").count(),
        }
    page.goto(page_url(html, "search.html?q=calibration"))
    page.wait_for_selector("#search-results .search-summary:has-text('finished')", timeout=30_000)
    found = page.locator("#search-results li").all_inner_texts()
    context.close()
    return {"pages": seen, "requests": requests, "errors": errors, "search": found}


def test_no_request_leaves_the_page(visited):
    assert visited["requests"]
    outside = [url for url in visited["requests"] if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == []
    assert visited["errors"] == []


def test_maths_is_rendered(visited):
    pages = visited["pages"]
    least = {"intro": 8, "similarity_collapse": 3, "api_training": 30}
    for name, count in least.items():
        assert pages[name]["maths"] >= count
        for raw in ("\\(", "\\[", "\\frac", "$$", ":math:"):
            assert raw not in pages[name]["text"], f"{name} shows {raw}"


def test_a_number_and_its_percent_sign_stay_on_one_line(visited):
    prose = " ".join(page["prose"] for page in visited["pages"].values())
    assert prose.count("95\u00a0%") > 50
    assert re.findall(r".{20}\d %", prose) == []


def test_figures_are_shown_with_captions_and_alternative_texts(visited):
    with_figures = {name for name, page in visited["pages"].items() if page["images"]}
    assert with_figures >= {
        "features",
        "sdc_step_by_step",
        "main_results",
        "search_at_scale",
        "own_embeddings",
        "train",
    }
    for name in with_figures:
        images = visited["pages"][name]["images"]
        assert all(image["width"] > 0 for image in images), images
        # An image without an alternative text gets its file's path for one.
        assert all(len(image["alt"]) > 20 and "_images/" not in image["alt"] for image in images), images
        assert visited["pages"][name]["captions"] == len(images), name


def test_images_keep_their_proportions_on_a_phone(html, new_page):
    page = new_page(width=390)
    show(page, html, "sdc_step_by_step")
    ratios = page.locator("main img").evaluate_all(
        "all => all.map(i => [i.clientWidth / i.clientHeight, i.naturalWidth / i.naturalHeight])"
    )
    assert len(ratios) >= 3
    for shown, natural in ratios:
        assert shown == pytest.approx(natural, rel=0.03)


def test_no_page_is_wider_than_a_phone(html, new_page):
    page = new_page(width=390)
    wide = {}
    for name in ["intro", *chapters(BOOK), "genindex"]:
        show(page, html, name)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[name] = width
    assert wide == {}


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
  const chosen = `${cells}, ${cells} *, .sdc-says, .sdc-legend *`;
  const low = [];
  for (const element of document.querySelectorAll(chosen)) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
    if (!element.offsetParent) continue;
    const below = behind(element);
    const [a, b] = [luminance(over(parse(getComputedStyle(element).color), below)), luminance(below)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    low.push([ratio, element.tagName, element.textContent.trim().slice(0, 40)]);
  }
  return low.sort((a, b) => a[0] - b[0]).slice(0, 3).concat([[low.length]]);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_of_tables_and_captions_has_contrast(html, new_page, scheme):
    page = new_page(color_scheme=scheme)
    checked, low = 0, {}
    for name in ["intro", *chapters(BOOK)]:
        show(page, html, name)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        *lowest, (count,) = page.evaluate(CONTRAST)
        checked += count
        if lowest and lowest[0][0] < 4.5:
            low[name] = lowest
    assert checked > 500
    assert low == {}


def test_search_finds_pages(visited):
    assert any("similarity distribution calibration" in result for result in visited["search"])


def test_tables_sort_by_click_and_by_keyboard(html, new_page):
    page = new_page()
    show(page, html, "main_results")
    table = page.locator("main table.dataframe", has=page.locator("th", has_text="64 bits")).first
    header = table.locator("th", has_text="64 bits")
    column = header.evaluate("cell => cell.cellIndex")

    def shown():
        cells = table.locator("tbody tr").evaluate_all(
            "(rows, i) => rows.map(r => r.cells[i].textContent)", column
        )
        return [float(cell.split(" ± ")[0]) for cell in cells if cell]

    before = shown()
    assert len(before) > 5
    assert header.get_attribute("aria-sort") is None
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert shown() == sorted(before)
    header.locator("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert shown() == sorted(before, reverse=True)
    header.locator("button").press("Space")
    assert header.get_attribute("aria-sort") is None
    assert shown() == before


def test_every_table_of_results_can_be_sorted(html, new_page):
    page = new_page()
    tables = 0
    for name in chapters(BOOK):
        show(page, html, name)
        plain = page.locator("main table.dataframe").evaluate_all(
            "all => all.filter(t => t.tBodies[0]?.rows.length > 1)"
            ".map(t => t.querySelectorAll('button.sdc-sort').length)"
        )
        tables += len(plain)
        assert 0 not in plain, name
    assert tables >= 10


def test_sorting_knows_intervals_signs_gaps_and_spans(tmp_path, new_page):
    rows = ["9.5 ± 0.4", "", "62.5 ± 12.0", "\u22121.5", "NaN", "1,024", "float"]
    body = "".join(
        f"<tr>{'<th rowspan=7>group</th>' if i == 0 else ''}<td>{text}</td></tr>"
        for i, text in enumerate(rows)
    )
    head = "<tr><th></th><th>value</th></tr><tr><th>kind</th><th></th></tr>"
    script = (BOOK / "_static" / "sortable.js").as_uri()
    (tmp_path / "t.html").write_text(
        f'<meta charset="utf-8"><main><table class="dataframe"><thead>{head}</thead>'
        f"<tbody>{body}</tbody></table></main>"
        f'<script src="{script}"></script>',
        encoding="utf-8",
    )
    page = new_page()
    page.goto((tmp_path / "t.html").as_uri())
    assert page.locator("thead tr").count() == 1
    assert page.locator("thead th").all_inner_texts() == ["kind", "value"]

    def shown():
        return page.locator("tbody td").all_text_contents()

    button = page.get_by_role("button", name="value")
    button.click()
    assert shown() == ["\u22121.5", "9.5 ± 0.4", "62.5 ± 12.0", "1,024", "float", "", "NaN"]
    assert page.locator("tbody th").count() == len(rows)
    button.click()
    assert shown() == ["float", "1,024", "62.5 ± 12.0", "9.5 ± 0.4", "\u22121.5", "", "NaN"]


def test_headers_of_two_rows_sort_where_they_are_named(html, new_page):
    page = new_page()
    show(page, html, "tuning")
    buttons = page.locator("main table.dataframe thead button.sdc-sort").all_inner_texts()
    assert "method" in buttons
    assert "0.01" in buttons
    assert "" not in buttons


def test_the_interactive_plot_follows_its_selector_and_the_keyboard(html, new_page):
    page = new_page()
    show(page, html, "main_results")
    figure = page.locator("figure.sdc-scatter")
    points = figure.locator(".sdc-plot > svg .sdc-point")
    texts = lambda: points.locator("title").all_text_contents()  # noqa: E731
    select = figure.get_by_role("combobox", name="Code length")
    at_first = texts()
    assert len(at_first) > 5
    assert all(f", {select.input_value()} bits." in text for text in at_first)
    select.select_option("16")
    assert texts() != at_first
    assert all(", 16 bits." in text for text in texts())
    select.select_option("all")
    assert len(texts()) > 2 * len(at_first)
    points.nth(3).focus()
    assert figure.locator(".sdc-says").inner_text() == texts()[3]
    page.keyboard.press("Tab")
    assert figure.locator(".sdc-says").inner_text() == texts()[4]
    before = len(texts())
    name = figure.locator(".sdc-legend button").first
    name.press("Enter")
    assert name.get_attribute("aria-pressed") == "false"
    assert len(texts()) < before
    assert not any(text.startswith(f"{name.inner_text()}, ") for text in texts())


def test_the_interactive_plot_is_a_table_without_scripts(html, new_page):
    page = new_page(java_script_enabled=False)
    page.goto(page_url(html, "main_results.html"))
    table = page.locator("figure.sdc-scatter table")
    assert table.is_visible()
    assert table.locator("tbody tr").count() > 20
    assert page.locator("figure.sdc-scatter svg").count() == 0


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
    assert re.search(r'href="api_features.html#sdclib.extract.views.load_views"', text)
    assert re.search(r'href="#sdclib.methods.BaseHasher.fit"', text)
    assert "set_fit_request" not in text


def test_the_layout_names_every_module_and_the_contents_every_page_of_the_reference():
    pytest.importorskip("sphinx", reason="needs the extra 'book'")
    from scripts.docstrings import modules

    pages = api_pages(BOOK / "layout.md")
    named = [module for _, listed in pages.values() for module in listed]
    assert set(named) == set(modules()) - {"sdclib", "study"}, "name each module once in book/layout.md"
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
