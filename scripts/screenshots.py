"""Take screenshots of every page of the built book: light and dark, wide and phone.

python -m scripts.screenshots FOLDER [--html book/_build/html]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.browser import launch, page_url

SIZES = {"wide": (1400, 1000), "phone": (390, 844)}


def main() -> None:
    """Parse the command line and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--html", type=Path, default=Path("book/_build/html"))
    parser.add_argument("--full", action="store_true", help="the whole page rather than the first screen")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    pages = sorted(
        p.name for p in arguments.html.glob("*.html") if p.stem not in ("index", "genindex", "search")
    )
    with launch() as browser:
        for size, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
                )
                page = context.new_page()
                for name in pages:
                    page.goto(page_url(arguments.html, name))
                    page.wait_for_timeout(1500)
                    path = arguments.folder / f"{Path(name).stem}-{size}-{scheme}.png"
                    page.screenshot(path=path, full_page=arguments.full)
                    print(path)
                context.close()


if __name__ == "__main__":
    main()
