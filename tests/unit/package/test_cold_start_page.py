"""The figures of `docs/cold-start.md` are those of its data files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable

import pytest

from tests.support.paths import ROOT

PAGE = " ".join((ROOT / "docs" / "cold-start.md").read_text(encoding="utf-8").split())
Record = dict[str, str]


def read(name: str) -> list[Record]:
    lines = (ROOT / "docs" / "benchmarks" / f"cold-start-{name}.csv").read_text(encoding="utf-8").splitlines()
    command, date, *rows = lines
    assert command.startswith("# python benchmarks/")
    assert len(date) == len("# 2026-01-01")
    assert command.removeprefix("# ").split(" --write")[0] in PAGE
    return list(csv.DictReader(rows))


HERDS, FLEET, BOUND, EMBEDDED = read("herds"), read("fleet"), read("probe-bound"), read("embedded")
OTHERS = ("boto3 standard", "boto3 legacy", "full jitter")
FIRST, LEARNED, LEASES = "mme_sdk, first load", "mme_sdk, learned", "mme_sdk, learned, leases"


def values(records: list[Record], field: str, **wanted: str | tuple[str, ...]) -> list[float]:
    """Return a field of the records that match."""

    def matches(record: Record) -> bool:
        return all(record[name] in ((value,) if isinstance(value, str) else value) for name, value in wanted.items())

    found = [float(record[field]) for record in records if matches(record)]
    assert found
    return found


def extra(endpoint: str, policies: str | tuple[str, ...], *processes: str) -> list[float]:
    return values(HERDS, "extra loads", endpoint=endpoint, policy=policies, processes=processes, instances="4")


def late(policy: str) -> list[float]:
    """Return how late one process found the model, in percent of the load."""
    return [
        100 * first - 100
        for first in values(HERDS, "first success / load", endpoint="immediate", policy=policy, processes="1")
    ]


def early_probes(load: float) -> int:
    return math.ceil(math.log(load / 1.2) / math.log(1.3) - 1)


def extra_loads(probes: int) -> float:
    return 3 * (1 - 0.75**probes)


def span(found: list[float], digits: int = 1) -> str:
    return f"{min(found):.{digits}f} to {max(found):.{digits}f}"


def at_once(field: str, policy: str, processes: str) -> float:
    (found,) = values(FLEET, field, endpoint="immediate", policy=policy, processes=processes)
    return found


REQUESTS = {"endpoint": "immediate", "processes": "1", "instances": "4", "load s": "300"}
SEVERAL = ("4", "16")
COSTLY = [float(each["extra loads, cost 0.3"]) / float(each["extra loads"]) for each in BOUND]

CLAIMS: dict[str, Callable[[], str]] = {
    "others when held": lambda: f"boto3 and full jitter cause {span(extra('held', OTHERS, '1', '4', '16'))}",
    "leases when held": lambda: f"With leases they cause at most {max(extra('held', LEASES, *SEVERAL)):.1f}",
    "jitter's requests": lambda: (
        f"full jitter needs {values(HERDS, 'attempts per caller', policy='full jitter', **REQUESTS)[0]:.1f} requests"
    ),
    "our requests": lambda: (
        f"`mme_sdk` {span(values(HERDS, 'attempts per caller', policy=(FIRST, LEARNED), **REQUESTS))}."
    ),
    "late, learned": lambda: f"a known load time {span(late(LEARNED), 0)} % late",
    "late, first": lambda: f"never seen is found {span(late(FIRST), 0)} % late",
    "one process": lambda: f"One process that knows the load time causes {span(extra('immediate', LEARNED, '1'))}",
    "several processes": lambda: f"without leases cause {span(extra('immediate', LEARNED, *SEVERAL))}",
    "several with leases": lambda: f"with leases {span(extra('immediate', LEASES, *SEVERAL))}",
    "a fleet that holds": lambda: f"close together: {span(values(FLEET, 'p95 s', endpoint='held'))} s",
    "a fleet, jitter": lambda: f"its 95th percentile is {at_once('p95 s', 'full jitter', '1'):.0f} s",
    "a fleet, one process": lambda: f"succeeds with {at_once('p95 s', 'mme_sdk', '1'):.0f} s",
    "a fleet, eight": lambda: (
        f"for {at_once('success %', 'mme_sdk', '8'):.0f} % of the calls; with leases, for "
        f"{at_once('success %', 'mme_sdk, leases', '8'):.0f} %"
    ),
    "formula": lambda: "{:.2f} for one early probe, {:.2f} for two and {:.2f} for five".format(
        *map(extra_loads, (1, 2, 5))
    ),
    "bounds": lambda: "{} probe at 2 s, {} at 20 s and {} at 300 s".format(*map(early_probes, (2, 20, 300))),
    "loads of bounds": lambda: "{:.2f}, {:.1f} and {:.1f} extra loads".format(
        *(extra_loads(early_probes(load)) for load in (2, 20, 300))
    ),
    "default cost": lambda: f"keeps the median delay at {span(values(BOUND, 'median late %'), 0)} %",
    "higher cost": lambda: (
        f"causes {min(COSTLY):.0%} to {max(COSTLY):.0%} of these extra loads".replace("%", " %")
        + f", with a median delay of {span(values(BOUND, 'median late %, cost 0.3'), 0)} %"
    ),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_figure_is_that_of_the_data(name: str) -> None:
    assert CLAIMS[name]() in PAGE


def test_statements_without_figures_hold() -> None:
    assert max(extra("held", (FIRST, LEARNED), "1")) == 0
    long = {"endpoint": "immediate", "load s": ("20", "90", "300")}
    assert max(values(HERDS, "success %", policy=("boto3 standard", "boto3 legacy"), **long)) == 0
    assert min(values(HERDS, "success %", policy=("full jitter", FIRST, LEARNED, LEASES), **long)) == 100
    assert min(values(FLEET, "success %", endpoint="held")) == 100


def test_ten_percent_and_a_tenth_of_a_load_need_a_variation_of_eight_percent() -> None:
    for instances in ("2", "4", "16"):
        least = values(BOUND, "least extra loads", instances=instances, sigma=("0.05", "0.10"))
        assert least[0] < 0.1
        crossing = 0.05 + 0.05 * (0.1 - least[0]) / (least[1] - least[0])
        assert 0.065 < crossing < 0.11


def test_the_table_is_that_of_the_data() -> None:
    for record in EMBEDDED:
        assert "| " + " | ".join(record.values()) + " |" in PAGE
