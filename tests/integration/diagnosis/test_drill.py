"""The operator's drill of `examples/operate` names each fault, mends it by the finding's command, and ends healthy."""

from __future__ import annotations

import importlib
from types import ModuleType

import attrs
import pytest

from mme_sdk.fleet import RoutingName
from tests.support.paths import ROOT


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples" / "operate"))
    return importlib.import_module("main")


def test_a_fault_is_named_and_mended(main: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["failing_model"])
    shown = capsys.readouterr().out
    assert "$ mme models rollback fraud live --models s3://ml-models/prod/" in shown
    assert shown.count("mme diagnose finds nothing any more") == 1
    assert shown.rstrip().splitlines()[-1].startswith("Healthy: ")


@pytest.mark.slow
@pytest.mark.parametrize("routing", ["sticky", "sticky_to_memory"])
def test_the_command_against_thrashing_mends_it_wherever_evicted_models_go(
    main: ModuleType, capsys: pytest.CaptureFixture[str], routing: RoutingName
) -> None:
    main.main(["thrashing"], attrs.evolve(main.SETTINGS, routing=routing))
    shown = capsys.readouterr().out
    assert "$ mme endpoints scale scoring 2 --variant AllTraffic --replace" in shown
    assert shown.count("mme diagnose finds nothing any more") == 1


@pytest.mark.slow
def test_all_six_faults_are_named_and_mended(main: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(main.FAULTS) == 6
    main.main()
    shown = capsys.readouterr().out
    for kind in main.FAULTS:
        assert f"=== {kind}: " in shown
    assert shown.count("    $ mme ") == 6
    assert shown.count("mme diagnose finds nothing any more") == 6
