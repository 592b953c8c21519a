"""Drawn jobs with a ledger that end at drawn operations of S3: each item has its answer, and few calls are repeated."""

from __future__ import annotations

from unittest.mock import patch

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from mme_sdk.runtime import RuntimeInvoker
from mme_sdk.runtime.batch.batch import BatchSettings
from mme_sdk.runtime.ledger import stores
from mme_sdk.runtime.options import InvokeOptions
from tests.support.registry.s3_model import S3Model
from tests.support.runtime.ledgers import Doubles, Killed, MemoryAws

ends = st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=4)
models = st.lists(st.sampled_from(["a.tar.gz", "b.tar.gz", "c.tar.gz"]), min_size=1, max_size=14)
batches = st.builds(
    BatchSettings, max_concurrency=st.integers(1, 3), ordered=st.booleans(), window=st.sampled_from([None, 1, 5])
)


@settings(max_examples=20, deadline=None)
@given(models, ends, batches, st.integers(1, 4))
def test_a_frame(targets: list[str], killed: list[tuple[int, bool]], batch: BatchSettings, rows: int) -> None:
    s3, model = S3Model(), Doubles()
    frame = pd.DataFrame({"tenant": targets, "x": range(len(targets))})
    died = 0
    for at, after in [*killed, (None, False)]:
        invoker = RuntimeInvoker(MemoryAws(s3, at, after=after), model)
        try:
            scored = invoker.invoke_frame(
                "e", frame, model_of="tenant", rows_per_call=rows, settings=batch, checkpoint="s3://jobs/42/"
            )
        except Killed:
            died += 1
            continue
        assert scored["prediction"].tolist() == [2.0 * row for row in range(len(targets))]
    requests = sum(-(-targets.count(one) // rows) for one in {*targets})
    assert len(model.sent) == len(s3.objects) == requests
    assert model.sent.total() <= requests + died * batch.max_concurrency


@settings(max_examples=20, deadline=None)
@given(models, ends, batches, st.integers(1, 4), st.integers(1, 5))
def test_a_stream(
    targets: list[str], killed: list[tuple[int, bool]], batch: BatchSettings, rows: int, entries: int
) -> None:
    s3, model = S3Model(), Doubles()
    items = [*enumerate(targets)]
    died = 0
    with patch.object(stores, "_ENTRIES", entries):
        for at, after in [*killed, (None, False)]:
            invoker = RuntimeInvoker(MemoryAws(s3, at, after=after), model)
            try:
                results = list(
                    invoker.invoke_many(
                        "e",
                        items,
                        InvokeOptions(content_type="text/csv"),
                        model_of=lambda item: item[1],
                        data_of=lambda item: f"{item[0]}\n",
                        rows_per_call=rows,
                        settings=batch,
                        checkpoint="s3://jobs/42/",
                    )
                )
            except Killed:
                died += 1
                continue
            assert sorted((one.index, one.value[0]) for one in results) == [(at, 2.0 * at) for at, _ in items]
            assert not batch.ordered or [one.index for one in results] == [*range(len(items))]
    sent = sum(len(body.split()) * times for (_, body), times in model.sent.items())
    # What a run had not written when it ended: the answers of an object for each writer, and what ran.
    lost = (entries + rows) * (batch.max_concurrency + 1) + rows * batch.max_concurrency
    assert sent <= len(items) + died * lost
