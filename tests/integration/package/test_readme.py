"""What the README shows is run as it stands."""

import re

from sklearn.linear_model import LogisticRegression
from skops.io import dump

from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()


def test_the_ten_lines_answer(tmp_path, monkeypatch, capsys):
    (tmp_path / "build" / "fraud").mkdir(parents=True)
    dump(
        LogisticRegression().fit([[0.0, 1.0], [1.0, 90.0], [0.0, 12.0], [1.0, 70.0]], [0, 1, 0, 1]),
        tmp_path / "build" / "fraud" / "model.skops",
    )
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert re.fullmatch(r"\[0\] (True|False) \d+\.\d{3} s\n", capsys.readouterr().out)


def test_the_commands_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"make ([a-z]+)", README)
    assert "demo" in named
    assert "test" in named
    assert [target for target in named if f"\n{target}:" not in makefile] == []
