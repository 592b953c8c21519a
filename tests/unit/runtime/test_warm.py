"""Warming up: what first, what fits, and when keeping warm is refused."""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from typing import Any

import pytest

from mme_sdk.aws import Aws
from mme_sdk.errors import InvalidInputError
from mme_sdk.runtime import AsyncRuntimeInvoker
from mme_sdk.runtime.batch.warm import keep_warm_advice, warm_order
from mme_sdk.runtime.cold_start.memory import Memory
from mme_sdk.types.model import ModelVersion
from tests.support.runtime.scripted import AsyncScript, FakeAsyncClock
from tests.unit.runtime.test_calls import FAILED, NOT_READY, Setting

MB = 1_000_000


def version(name: str, size: int) -> ModelVersion:
    target = f"{name}/v1.tar.gz"
    return ModelVersion(name=name, version="v1", target_model=target, uri=f"s3://b/{target}", size=size)


def test_the_most_waiting_saved_for_its_size_comes_first() -> None:
    memory = Memory()
    for _ in range(3):
        memory.load_times.observe("scoring", "slow/v1.tar.gz", 60.0, size=100 * MB)
        memory.load_times.observe("scoring", "quick/v1.tar.gz", 6.0, size=100 * MB)
    models = [
        version("quick", 100 * MB),
        version("slow", 100 * MB),
        version("large", 400 * MB),
        version("hot", 100 * MB),
    ]
    expected = {"quick": 1.0, "slow": 1.0, "large/v1.tar.gz": 1.0, "hot": 50.0}
    order, left = warm_order(models, endpoint="scoring", memory=memory, expected=expected, capacity=350 * MB)
    assert [str(model).split("/")[0] for model in order] == ["hot", "slow", "quick"]
    assert [str(model).split("/")[0] for model in left] == ["large"]


def test_a_report_says_what_was_loaded_and_what_was_not() -> None:
    bad_probe = {"status": 424, "code": "ModelError", "message": "?", "original_status": 400}
    setting = Setting([{}, NOT_READY, {}, bad_probe, FAILED])
    names = ["warm", "cold", "picky", "broken"]
    report = setting.invoker.warm("scoring", [*names, "left"], at_a_time=1, capacity=400 * MB)
    assert [(each.model, each.state) for each in report.outcomes] == [
        ("warm", "loaded"),
        ("cold", "loaded"),
        ("picky", "loaded"),
        ("broken", "failed"),
        ("left", "left out"),
    ]
    assert report.loaded == ("warm", "cold", "picky")
    assert report.failed[0].error is not None
    assert str(report).endswith("1 did not fit, 1 failed")


def test_the_twin_warms_alike() -> None:
    clock = FakeAsyncClock()
    script = AsyncScript(clock, [{}, NOT_READY, {}])
    invoker = AsyncRuntimeInvoker(Aws(region="us-east-1"), script, clock=clock, wait=clock.wait)
    report = asyncio.run(invoker.warm("scoring", ["a", "b"], at_a_time=1))
    assert [each.state for each in report.outcomes] == ["loaded", "loaded"]


def simulated_cold_rate(rates: dict[str, float], capacity: int, keep: set[str], seed: int = 3) -> float:
    """An LRU cache of `capacity` models, fed with Poisson traffic; kept models take their places for good."""
    rng = random.Random(seed)
    names, weights = list(rates), list(rates.values())
    cache: OrderedDict[str, None] = OrderedDict()
    room, cold, calls = capacity - len(keep), 0, 60_000
    for name in rng.choices(names, weights, k=calls):
        if name in keep:
            continue
        if name in cache:
            cache.move_to_end(name)
            continue
        cold += 1
        cache[name] = None
        if len(cache) > room:
            cache.popitem(last=False)
    return cold / calls


@pytest.mark.parametrize("keep", ["rare", "hot", "none"])
def test_the_advice_agrees_with_a_simulated_cache(keep: str) -> None:
    rates = {f"m{number}": (number + 1) ** -0.9 for number in range(400)}
    kept = {"rare": ["m380", "m390", "m399"] * 1, "hot": [f"m{n}" for n in range(20)], "none": []}[keep]
    advice = keep_warm_advice(rates, dict.fromkeys(rates, 1), capacity=50, keep=kept)
    total = sum(rates.values())
    assert advice.cold_before / total == pytest.approx(simulated_cold_rate(rates, 50, set()), abs=0.01)
    assert advice.cold_after / total == pytest.approx(simulated_cold_rate(rates, 50, set(kept)), abs=0.01)
    assert advice.worth_it == (keep == "hot")


def test_a_net_loss_is_refused_unless_an_slo_demands_it() -> None:
    rates = {f"m{number}": (number + 1) ** -0.9 for number in range(100)}
    sizes = dict.fromkeys(rates, 1)
    setting = Setting([{}])
    with pytest.raises(InvalidInputError, match="net loss") as caught:
        setting.invoker.keep_warm("scoring", ["m99"], rates=rates, sizes=sizes, capacity=20)
    assert "bound_by_slo" in (caught.value.hint or "")
    assert setting.script.sent == []
    report = setting.invoker.keep_warm("scoring", ["m99"], rates=rates, sizes=sizes, capacity=20, bound_by_slo=True)
    assert report.loaded == ("m99",)


def test_nothing_is_cold_where_everything_fits() -> None:
    advice = keep_warm_advice({"a": 1.0, "b": 0.0}, {"a": 1, "b": 1}, capacity=10, keep=["b"])
    assert advice.cold_before == 0
    assert not advice.worth_it
    for rates, sizes, capacity in (({"a": 1.0}, {}, 10), ({"a": -1.0}, {"a": 1}, 10), ({"a": 1.0}, {"a": 11}, 10)):
        with pytest.raises(InvalidInputError):
            keep_warm_advice(rates, sizes, capacity=capacity, keep=["a"])


def test_a_model_that_is_given_twice_counts_once() -> None:
    models = ["a", version("b", 1), "a", version("b", 1)]
    assert warm_order(models, endpoint="e", memory=Memory())[0] == [version("b", 1), "a"]


@pytest.mark.parametrize("models", ["fraud/v1.tar.gz", version("a", 1), [None], [3], 7, None])
def test_what_is_no_list_of_models_is_refused(models: Any) -> None:
    with pytest.raises(InvalidInputError, match="models"):
        warm_order(models, endpoint="e", memory=Memory())


@pytest.mark.parametrize(
    ("models", "expected", "text", "hint"),
    [
        (["fraud"], {"fruad": 1}, "'fruad'", "did you mean 'fraud'?"),
        (["fraud/v1.tar.gz"], {"fraud": 1}, "'fraud'", "did you mean 'fraud/v1.tar.gz'?"),
        ([version("fraud", 1)], {"fraud": 1, "Fraud": 2}, "'Fraud'", "did you mean 'fraud'?"),
        (["fraud"], {"spam": 1}, "'spam'", "add it to models, or remove it from expected"),
        (["fraud"], {7: 1}, "7", "add it to models, or remove it from expected"),
    ],
)
def test_a_rate_of_none_of_the_models_is_refused(models: Any, expected: Any, text: str, hint: str) -> None:
    setting = Setting([{}])
    with pytest.raises(InvalidInputError, match=f"expected names {text}, which is not one of the models") as caught:
        setting.invoker.warm("scoring", models, expected=expected)
    assert caught.value.hint == hint
    assert setting.script.sent == []
