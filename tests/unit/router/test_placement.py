"""Which cell a model has: the same for every client, balanced by weight, and moved only if its cell goes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.errors import InvalidInputError
from mme_sdk.router.balance import balanced
from mme_sdk.router.placement import Placement, score

MODELS = [f"tenant-{number}" for number in range(2_000)]
weights = st.dictionaries(st.text("abcdefgh-", min_size=1, max_size=8), st.floats(0.25, 4.0), min_size=2, max_size=6)


def homes(placement: Placement, models: list[str] = MODELS) -> dict[str, tuple[str, ...]]:
    return {model: placement.of(model).homes for model in models}


def test_scores_are_the_same_in_every_process_and_version() -> None:
    # Literals: another hash, or another order of its bytes, moves the models of every fleet.
    assert score("scoring-a", "fraud", 1.0) == pytest.approx(0.6467210577814666, rel=1e-12)
    assert score("scoring-a", "fraud", 2.5) == pytest.approx(2.5 * 0.6467210577814666, rel=1e-12)
    placement = Placement({"scoring-a": 1.0, "scoring-b": 1.0, "scoring-c": 2.0})
    assert "".join(placement.of(f"m{number}").homes[0][-1] for number in range(24)) == "cacbbbcacbccccbbcbacaccc"


@given(weights, st.data())
@settings(max_examples=25, deadline=None)
def test_if_a_cell_goes_only_its_models_move(cells: dict[str, float], data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(cells)))
    models = MODELS[:100]
    before = homes(Placement(cells), models)
    after = homes(Placement({name: weight for name, weight in cells.items() if name != gone}), models)
    assert all(after[model] == before[model] for model in models if before[model] != (gone,))
    # They go where calls go if the cell fails, so that both meet a loaded model.
    assert all(after[model] == Placement(cells).of(model).others[:1] for model in models if before[model] == (gone,))


@given(weights)
@settings(max_examples=8, deadline=None)
def test_models_are_divided_by_weight(cells: dict[str, float]) -> None:
    counts = Counter(placed[0] for placed in homes(Placement(cells)).values())
    for name, weight in cells.items():
        share = weight / sum(cells.values())
        five_deviations = 5 * (share * (1 - share) * len(MODELS)) ** 0.5
        assert counts[name] == pytest.approx(share * len(MODELS), abs=five_deviations)


def test_models_of_a_lost_cell_are_divided_among_all_others() -> None:
    placement = Placement(dict.fromkeys("abcde", 1.0))
    second = Counter(placement.of(model).others[0] for model in MODELS if placement.of(model).homes == ("a",))
    assert set(second) == set("bcde")
    assert max(second.values()) < 1.6 * min(second.values())


def test_a_dedicated_model_has_its_cell_alone() -> None:
    placement = Placement({"a": 1.0, "b": 1.0}, {"big": "own"})
    assert placement.of("big").homes == ("own",)
    assert set(placement.of("big").others) == {"a", "b"}
    assert all("own" not in (*placement.of(model).homes, *placement.of(model).others) for model in MODELS[:100])


def test_an_exception_counts_as_far_as_its_cells_serve() -> None:
    exceptions = {"m": ("b", "gone"), "n": ("gone",)}
    placement = Placement({"a": 1.0, "b": 1.0}, {}, exceptions)
    assert placement.of("m").homes == ("b",)
    assert placement.of("n") == Placement({"a": 1.0, "b": 1.0}).of("n")


def test_no_cell_is_said() -> None:
    with pytest.raises(InvalidInputError, match="no cell serves 'm'"):
        Placement({}, {"big": "own"}).of("m")


class TestBalance:
    PLACEMENT = Placement(dict.fromkeys("abcd", 1.0))

    def load(self, rates: dict[str, float], exceptions: dict[str, tuple[str, ...]]) -> Counter[str]:
        placement = Placement(self.PLACEMENT.weights, {}, exceptions)
        load: Counter[str] = Counter()
        for model, rate in rates.items():
            cells = placement.of(model).homes
            for cell in cells:
                load[cell] += rate / len(cells)  # type: ignore[assignment]
        return load

    @pytest.mark.parametrize("seed", range(3))
    def test_no_cell_has_more_calls_than_the_bound(self, seed: int) -> None:
        rates = {f"m{seed}-{rank}": 1_000.0 / rank**0.9 for rank in range(1, 301)}
        even = sum(rates.values()) / 4
        found = balanced(self.PLACEMENT, rates, {model: int(1_000 * rate) for model, rate in rates.items()})
        assert max(self.load(rates, found).values()) <= 1.25 * even * 1.001
        assert len(found) < 100  # most models stay where their names put them

    @pytest.mark.parametrize("exponent", [0.6, 1.0, 1.25, 1.375, 1.6])
    def test_if_calls_and_bytes_are_in_conflict_the_bound_is_exceeded_by_little(self, exponent: float) -> None:
        rates = {f"m{rank}": 1_000.0 / rank**exponent for rank in range(1, 301)}
        found = balanced(self.PLACEMENT, rates, dict.fromkeys(rates, 1))
        assert max(self.load(rates, found).values()) <= 1.5 * sum(rates.values()) / 4

    def test_large_models_do_not_meet(self) -> None:
        sizes = {f"m{number}": 10_000 if number < 8 else 10 for number in range(80)}
        found = balanced(self.PLACEMENT, dict.fromkeys(sizes, 1.0), sizes)
        placement = Placement(self.PLACEMENT.weights, {}, found)
        large = Counter(placement.of(f"m{number}").homes[0] for number in range(8))
        assert set(large.values()) == {2}

    def test_a_model_too_busy_for_a_cell_has_a_second_copy(self) -> None:
        rates = {"hot": 700.0} | {f"m{number}": 10.0 for number in range(30)}
        found = balanced(self.PLACEMENT, rates, dict.fromkeys(rates, 10))
        assert len(found["hot"]) == 3
        assert all(len(cells) == 1 for model, cells in found.items() if model != "hot")

    def test_a_sweep_once_a_day_makes_no_copies(self) -> None:
        daily = 1 / 86_400
        rates = {f"m{number}": daily for number in range(50)}
        assert all(len(cells) == 1 for cells in balanced(self.PLACEMENT, rates, dict.fromkeys(rates, 10)).values())
        # Also not for the only model that is called, which has all of the calls.
        assert balanced(self.PLACEMENT, {"only": daily}, {"only": 10}) == {}
        assert len(balanced(self.PLACEMENT, {"only": 50.0}, {"only": 10})["only"]) > 1

    def test_a_copy_that_would_not_stay_in_memory_is_not_made(self) -> None:
        rates = {"hot": 0.5} | {f"m{number}": 0.01 for number in range(40)}
        sizes = dict.fromkeys(rates, 100)
        roomy = balanced(self.PLACEMENT, rates, sizes, capacity=100_000)
        tight = balanced(self.PLACEMENT, rates, sizes, capacity=50)
        assert len(roomy["hot"]) > 1
        assert len(tight.get("hot", ("one",))) == 1

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"rates": {"m": 1.0}, "sizes": {}}, "has a rate and no size"),
            ({"rates": {"m": -1.0}, "sizes": {"m": 1}}, "rates"),
            ({"rates": {"m": 1.0}, "sizes": {"m": 0}}, "sizes"),
            ({"rates": {}, "sizes": {}, "bound": 1.0}, "bound"),
            ({"rates": {}, "sizes": {}, "capacity": 0.5}, "capacity"),
        ],
    )
    def test_what_is_invalid_is_named(self, arguments: dict[str, object], message: str) -> None:
        with pytest.raises(InvalidInputError, match=message):
            balanced(self.PLACEMENT, **arguments)  # type: ignore[arg-type]
