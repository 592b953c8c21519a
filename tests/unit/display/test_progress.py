"""The argument `progress`: what a function is called with, and what the bars of tqdm show."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from mme_sdk.display.progress import Progress, check_progress, reporting
from mme_sdk.errors import InvalidInputError, MissingExtraError


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        self.time += 0.5
        return self.time


@pytest.mark.parametrize("nothing", [False, None])
def test_nothing_is_shown_unasked(nothing: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(nothing, "warm", "scoring") as report:
        assert report is None
    assert capsys.readouterr() == ("", "")


def test_a_function_is_called_with_sums() -> None:
    reported: list[Progress] = []
    with reporting(
        reported.append, "register_many", "s3://a/b/", unit="model", total=3, timeout=60, now=Clock()
    ) as report:
        assert report is not None
        report(doing="packing")
        report(size=10, model="a", model_done=10, model_total=15)
        report(size=5, model="a", model_done=5, model_total=15)
        report(done=1, model="a")
        report(done=1, failed=1, doing="")
    assert [(one.doing, one.done, one.failed, one.size, one.model_done) for one in reported] == [
        ("packing", 0, 0, 0, 0),
        ("packing", 0, 0, 10, 10),
        ("packing", 0, 0, 15, 15),
        ("packing", 1, 0, 15, 0),
        ("", 2, 1, 15, 0),
    ]
    assert [one.elapsed for one in reported] == [0.5, 1.0, 1.5, 2.0, 2.5]
    assert {(one.operation, one.subject, one.unit, one.total, one.timeout) for one in reported} == {
        ("register_many", "s3://a/b/", "model", 3, 60)
    }


async def _awaited(_: Progress) -> None: ...


class _Awaited:
    async def __call__(self, seen: Progress) -> None: ...


@pytest.mark.parametrize("wrong", ["yes", 1, 0, [], _awaited, _Awaited()])
def test_what_cannot_be_called_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="progress must be"):
        check_progress(wrong)
    with pytest.raises(InvalidInputError, match="progress must be"), reporting(wrong, "warm", "scoring"):
        pytest.fail("the operation began")


def test_a_bar_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with (
        pytest.raises(MissingExtraError, match="progress=True needs tqdm") as caught,
        reporting(True, "warm", "scoring"),
    ):
        pytest.fail("the operation began")
    assert "mme-sdk[progress]" in str(caught.value.hint)


def test_a_wait_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(True, "create", "scoring", timeout=900) as report:
        assert report is not None
        report(status="Creating", doing="provisioning 0 of 2 instances")
        report(status="InService", doing="InService")
    shown = capsys.readouterr().err
    assert "create scoring, provisioning 0 of 2 instances [00:00]" in shown
    assert shown.rstrip().endswith("create scoring, InService [00:00]")
    assert "%" not in shown  # a bar that never moves


def test_counts_are_shown_as_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with reporting(True, "warm", "scoring", unit="model", total=2) as report:
        assert report is not None
        report(doing="loading 1 of 2")
        report(done=1, doing="loading 2 of 2")
        report(done=1, failed=1, doing="", size=2_500_000)
    last = capsys.readouterr().err.rstrip().rpartition("\r")[2]
    assert last.startswith("warm scoring: 100%")
    assert "2/2" in last
    assert "model/s" in last
    assert last.endswith(", 2.5 MB, 1 failed]")


class Terminal:
    """A standard error that is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_models_have_bars_of_their_own_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with reporting(True, "register_many", "s3://a/", unit="model", total=4) as report:
        assert report is not None
        report(model="big", model_done=4_000_000, model_total=8_000_000, size=4_000_000)
        assert "big" not in terminal.text  # one model needs no bar beside the main one
        report(model="huge", model_done=1_000_000, model_total=9_000_000, size=1_000_000)
        assert "huge:  11%" in terminal.text
        assert "1.00M/9.00M" in terminal.text
        report(model="huge", model_done=8_000_000, model_total=9_000_000, size=8_000_000)
        report(model="third", model_done=1_000_000, model_total=9_000_000, size=1_000_000)
        report(model="third", done=1, failed=1)
        drawn = terminal.text.count("third:")
        report(model="huge", done=1)
    assert "2/4" in terminal.text
    assert "third:   0%" not in terminal.text  # its bar goes when it fails
    assert terminal.text.count("third:") == drawn
    assert "TB/s" not in terminal.text


def test_an_error_of_the_function_ends_the_operation() -> None:
    def fail(_: Progress) -> None:
        raise ZeroDivisionError

    with reporting(fail, "warm", "scoring") as report:
        assert report is not None
        with pytest.raises(ZeroDivisionError):
            report(done=1)


def test_a_notebook_without_widgets_shows_text_that_is_not_red(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class OutStream(io.StringIO):
        """The stderr of a kernel."""

    OutStream.__module__ = "ipykernel.iostream"
    red = OutStream()
    monkeypatch.setattr(sys, "stderr", red)
    with reporting(True, "warm", "scoring", unit="model", total=2) as report:
        assert report is not None
        report(done=2)
    assert "2/2" in capsys.readouterr().out
    assert red.getvalue() == ""
