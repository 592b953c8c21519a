"""What the README shows is run as it stands."""

import re
import tomllib

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_first_snippet_prints_what_is_shown(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == shown


def test_its_links_work_on_a_package_index():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["metadata"]["hooks"]
    text = README
    for one in settings["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(one["pattern"], one["replacement"], text)
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_commands_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"make ([a-z]+)", README)
    assert "demo" in named
    assert "test" in named
    assert [target for target in named if f"\n{target}:" not in makefile] == []
