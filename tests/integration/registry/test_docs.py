"""Run the code of docs/registry.md from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mme_sdk
from mme_sdk.registry import ModelRegistry
from tests.support.paths import ROOT


def test_the_page_runs_as_it_stands(models: ModelRegistry, tmp_path: Path, monkeypatch: Any) -> None:
    page = (ROOT / "docs/registry.md").read_text()
    for name in ("fraud", "fraud-new", "churn", "scores"):
        (tmp_path / "build" / name).mkdir(parents=True)
        (tmp_path / "build" / name / "model.ubj").write_text(name)
    monkeypatch.chdir(tmp_path)

    class Client:
        """A client whose prefixes are in the test's bucket."""

        def __init__(self, **settings: Any) -> None:
            pass

        def models(self, uri: str) -> ModelRegistry:
            return ModelRegistry(models._aws, uri.replace("s3://ml-models/prod/", models.uri))

    monkeypatch.setattr(mme_sdk, "MMEClient", Client)
    names: dict[str, Any] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for block in blocks:
        exec(
            compile(block.replace("s3://ml-models/stage/", models.uri.replace("prod", "stage")), "page", "exec"), names
        )
    assert len(blocks) == 7
    assert names["models"].resolve("fraud@live").version == "v3"
    assert sorted(names["report"].registered) == ["fraud", "fraud-new"]
