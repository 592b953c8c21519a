"""Ctrl-C and SIGTERM at seeded moments of batches and single calls: nothing is left, whatever the moment."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.runtime.test_ending import NOTHING, Case, Gated, gated

__all__ = ["gated"]
ENDS = 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(ENDS))
def test_a_signal_at_any_moment_leaves_nothing(gated: Gated, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    checkpoint = tmp_path / "done.txt"
    config: dict[str, Any] = {
        "verb": dice.choice(["invoke_many", "invoke_frame", "warm", "invoke"]),
        "transport": dice.choice(["fast", "core", "botocore"]),
        "read": dice.choice([0.2, 1.0, 60.0]),
        "ordered": dice.random() < 0.5,
        "slow_first": dice.random() < 0.5,
        "checkpoint": str(checkpoint),
    }
    number, said = dice.choice([signal.SIGINT, signal.SIGTERM]), dice.randint(1, 8)
    with Case(gated, tmp_path, config) as case:
        case.until_blocked()
        # As many words as there will be before the process only waits, at most.
        most = {"invoke": 1 if config["read"] > 2 else 3, "warm": 3}.get(config["verb"], 4)
        for count in range(1, min(said, most) + 1):
            case.process.until(lambda _, count=count: len(case.process.said) >= count)
        case.signal(number)
        report = case.process.result()
        assert not case.gate.exists()
        assert {name: report[name] for name in NOTHING} == NOTHING
        assert case.process.errors == ""
    assert report["by"] == ("KeyboardInterrupt" if number == signal.SIGINT else "SystemExit")
    if config["verb"] == "invoke_many" and checkpoint.exists():
        kept = [int(line) for line in checkpoint.read_text().split()]
        assert kept == report["done"][: len(kept)]
        assert len(report["done"]) - len(kept) <= 1
