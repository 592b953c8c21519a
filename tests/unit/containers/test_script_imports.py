"""The libraries that the fork server imports for a script."""

from __future__ import annotations

from pathlib import Path

from mme_sdk.local.containers.python.script import script_imports


def test_libraries_of_all_scripts_are_found_and_others_are_not(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "inference.py").write_text(
        "import json\nfrom sklearn.svm import SVC\nimport torch\n# import xgboost\nimportlightgbm = 1\n"
    )
    (tmp_path / "code" / "helper.py").write_text("def f():\n    import pandas as pd\n")
    (tmp_path / "model.txt").write_text("import scipy\n")
    assert script_imports(tmp_path) == ["pandas", "sklearn"]


def test_an_archive_without_scripts_needs_none(tmp_path: Path) -> None:
    (tmp_path / "code.py").mkdir()
    assert script_imports(tmp_path) == []
