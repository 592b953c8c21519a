"""What the documentation site is made from: tasks, reference, navigation, links, YAML."""

from __future__ import annotations

import importlib
import json
import re

import pytest
import yaml

from scripts import docs_site
from tests.support.paths import ROOT
from tests.support.site.tasks import tasks

DOCS = ROOT / "docs"


def test_there_are_twelve_tasks_and_twelve_questions_of_public_threads() -> None:
    assert len({task for task, _, _ in tasks()}) == 24


@pytest.mark.parametrize(("task", "words", "page"), tasks())
def test_the_page_of_a_task_has_each_word_of_the_search(task: str, words: str, page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8").lower()
    plural = {word: word.removesuffix("s") for word in words.lower().split()}
    assert [word for word, stem in plural.items() if stem not in text] == [], task


@pytest.mark.parametrize(("task", "words", "page"), tasks()[:12])
def test_the_page_of_a_task_has_a_word_of_the_search_in_its_title(task: str, words: str, page: str) -> None:
    title = re.findall(r"^# (.+)$", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.MULTILINE)[0].lower()
    assert any(word.lower() in title for word in words.split()), task


def test_the_reference_has_every_public_package() -> None:
    found = {f"mme_sdk.{path.parent.name}" for path in (ROOT / "mme_sdk").glob("*/__init__.py")}
    assert found - docs_site.packages().keys() == {f"mme_sdk.{name}" for name in docs_site.INNER}


@pytest.mark.parametrize("package", sorted(docs_site.packages()))
def test_the_names_of_a_package_are_read_without_importing_it(package: str) -> None:
    assert docs_site.public_names(package) == list(importlib.import_module(package).__all__)


class Config:
    """The part of mkdocs' configuration that the hook changes."""

    def __init__(self) -> None:
        text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
        self.nav = yaml.safe_load(f"nav:{text}")["nav"]


def test_each_page_is_in_the_navigation_once() -> None:
    navigation = repr(docs_site.on_config(Config()).nav)
    pages = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    assert {page: navigation.count(f"'{page}'") for page in pages} == dict.fromkeys(pages, 1)


def test_only_a_page_without_a_place_is_placed() -> None:
    navigation = repr(Config().nav)
    page = "benchmarks/invoke.md"
    assert page not in docs_site.unplaced("benchmarks", navigation)
    assert page in docs_site.unplaced("benchmarks", navigation.replace(f"'{page}'", ""))


PAGES = {
    "invoke.md",
    "howto/kms.md",
    "index.md",
    "tutorials/first_hour.md",
    "tutorials/plot-1.png",
    "project/contributing.md",
}


@pytest.mark.parametrize(
    ("link", "source", "page", "wanted"),
    [
        ("](invoke.md#tables)", "docs/index.md", "index.md", "](invoke.md#tables)"),
        ("](docs/invoke.md#tables)", "CONTRIBUTING.md", "project/contributing.md", "](../invoke.md#tables)"),
        ("](../CONTRIBUTING.md)", "docs/architecture.md", "architecture.md", "](project/contributing.md)"),
        ("](../examples/first_hour.ipynb)", "docs/index.md", "index.md", "](tutorials/first_hour.md)"),
        ("](../examples/endpoints)", "docs/index.md", "index.md", f"]({docs_site.REPOSITORY}examples/endpoints)"),
        ("](plot-1.png)", "examples/first_hour.ipynb", "tutorials/first_hour.md", "](plot-1.png)"),
        ("](missing.md)", "docs/index.md", "index.md", "](missing.md)"),  # the strict build refuses it
        ("](https://aws.amazon.com/)", "docs/index.md", "index.md", "](https://aws.amazon.com/)"),
    ],
)
def test_a_link_leads_to_a_page_or_to_the_repository(link: str, source: str, page: str, wanted: str) -> None:
    assert docs_site.rewritten(link, source=source, page=page, pages=PAGES) == wanted


def test_a_notebook_becomes_a_page_with_its_pictures() -> None:
    cells = json.loads((ROOT / "examples" / "hot_model.ipynb").read_text(encoding="utf-8"))["cells"]
    text, pictures = docs_site.notebook_page("hot_model")
    assert text.startswith("# A hot model\n")
    assert text.count("```python\n") == sum(cell["cell_type"] == "code" for cell in cells)
    shown = [output for cell in cells for output in cell.get("outputs", ()) if "image/png" in output.get("data", {})]
    assert len(pictures) == len(shown) > 0
    assert all(f"]({name})" in text and content.startswith(b"\x89PNG") for name, content in pictures.items())


@pytest.mark.parametrize("page", sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")))
def test_the_yaml_of_a_page_is_valid(page: str) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL):
        whole = re.sub(
            r'^--8<-- "(.+)"$', lambda found: (ROOT / found[1]).read_text("utf-8"), block, flags=re.MULTILINE
        )
        assert isinstance(yaml.safe_load(whole), dict)


def test_there_are_thirty_how_to_pages() -> None:
    assert len(docs_site.how_tos()) >= 30


def test_nothing_asks_the_theme_for_another_host() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    assert not re.search(r"^(repo_url|\s+analytics|.*mermaid)", settings, re.MULTILINE)
