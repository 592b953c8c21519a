"""Replies travel between processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from mme_sdk.types import Reply

COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda reply: pickle.loads(pickle.dumps(reply)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_has_the_same_value(how: str) -> None:
    decoded_later: Reply[Any] = Reply(body=b'{"score": 0.5}', content_type="application/json")
    decoded: Reply[Any] = Reply(body=b"[1]", content_type="application/json", value=None)
    for reply, value in ((decoded_later, {"score": 0.5}), (decoded, None)):
        again = COPIES[how](reply)
        assert again.value == value
        assert again == reply
        assert repr(again) == repr(reply)
