"""The reference of the documentation site: each public name is on it, and it is made without the extras."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

from scripts import docs_site
from tests.support.paths import ROOT
from tests.support.site.public_names import promised

WITHOUT_EXTRAS = """
import sys
for name in sys.argv[1:]:
    sys.modules[name] = None
from scripts import docs_site
print(len(list(docs_site.reference_pages())))
"""


def modules(requirements: list[str]) -> set[str]:
    """The top-level modules of requirements, as far as they have the names of their distributions."""
    return {re.split(r"[^\w.-]", one)[0].replace("-", "_").lower() for one in requirements}


def test_the_reference_is_made_without_the_extras_that_the_site_does_not_install() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert '".[cli]"' in (ROOT / "Makefile").read_text(encoding="utf-8")  # what .venv-docs has besides its requirements
    absent = set().union(*(modules(wanted) for wanted in extras.values())) - modules(extras["cli"]) - {"mme_sdk"}
    assert {"aiohttp", "cbor2", "trustme", "pandas"} <= absent
    command = [sys.executable, "-c", WITHOUT_EXTRAS, *sorted(absent)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > len(docs_site.packages())


def test_the_snapshot_has_each_public_package() -> None:
    assert {package for package, _ in promised()} == docs_site.packages().keys()


def test_each_name_of_the_public_api_is_in_the_reference() -> None:
    pages = {title: text for title, _, text in docs_site.reference_pages()}
    top = {name for package, name in promised() if package == "mme_sdk"}
    assert len(promised()) > 200
    missing = []
    for package, name in promised():
        described = f"::: {package}.{name}\n" in pages[f"reference/{package}.md"]
        linked = name in top and f"[`{name}`][mme_sdk.{name}]" in pages[f"reference/{package}.md"]
        if not described and not linked and name not in {"errors", "policies"}:  # they have pages of their own
            missing.append(f"{package}.{name}")
    assert missing == []
