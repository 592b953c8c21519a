"""`reply.cold` is never wrong: compared with the time at which the process that answered had loaded its model."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from mme_sdk import MMEClient
from mme_sdk.types import ModelVersion
from tests.support.first_hour.world import FirstHour

ROW = {"amount": 1.0}
Words = Counter[tuple[bool, bool | None]]


def caller(clients: Sequence[MMEClient], endpoint: str, models: Sequence[ModelVersion]) -> Callable[[int], Words]:
    """Return a function that makes one drawn call and counts (truth, word)."""

    def call(number: int) -> Words:
        draw = random.Random(number)
        model = draw.choice(models)
        began = time.time()
        reply = draw.choice(clients).endpoint(endpoint).invoke(ROW, model=model, deadline=120)
        # A 429 comes from an instance that had not loaded the model, even if another one answered at last.
        refused = any(attempt.code == "ModelNotReadyException" for attempt in reply.history)
        return Counter({(refused or reply.value["loaded_at"] > began, reply.cold): 1})

    return call


def check(words: Words) -> None:
    """Fail on a wrong word, and if the calls cannot have shown one."""
    assert words[True, False] == 0, words
    assert words[False, True] == 0, words
    assert sum(words[True, word] for word in (True, None)) > 5, words
    assert sum(words[False, word] for word in (False, None)) > 5, words


def test_the_word_is_never_wrong(first_hour: FirstHour) -> None:
    models = [
        first_hour.models.register(f"cold{n}", first_hour.source(f"cold{n}", load=0.4 * (n == 0)), "v1")
        for n in range(8)
    ]
    try:
        with first_hour.host.client() as other:
            call = caller((first_hour.client, other), "scoring", models)
            words: Words = sum((call(number) for number in range(26)), Counter())
    finally:
        for model in models:
            first_hour.models.delete(model.name)
    check(words)
    assert words[True, True] > 0, words  # the model whose load takes longer than the host holds a request


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 6])
def test_the_word_is_never_wrong_in_a_thousand_calls(tmp_path: Path, threads: int) -> None:
    """Cold starts, evictions, three instances, three clients; in turn, and at the same time."""
    with FirstHour(tmp_path) as world, ExitStack() as opened, ThreadPoolExecutor(threads) as pool:
        world.client.endpoints.create(world.spec("three", instance_count=3), timeout=300)
        loads = [0.0] * 16 + [0.1, 0.3, 0.6, 1.0]
        models = [
            world.models.register(f"cold{n}", world.source(f"cold{n}", load=load), "v1") for n, load in enumerate(loads)
        ]
        clients = [world.client, *(opened.enter_context(world.host.client()) for _ in range(2))]
        words: Words = sum(pool.map(caller(clients, "three", models), range(1000)), Counter())
    check(words)
    assert words[True, True] > 0, words
    assert words[False, False] > 0, words
