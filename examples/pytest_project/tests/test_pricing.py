"""Tests of pricing.py against a real endpoint on this machine: answers, a missing model, and a throttled call."""

from __future__ import annotations

import pytest
from pricing import price

from mme_sdk import Endpoint, MMEClient
from mme_sdk.errors import ModelNotFoundError
from mme_sdk.local import Fault, Faults


def test_large_orders_get_a_discount(mme_client: MMEClient, shops: Endpoint) -> None:
    assert price(mme_client, shops.name, "books", 50.0) == 50.0
    assert price(mme_client, shops.name, "books", 200.0) == 180.0


def test_a_shop_without_a_model_is_an_error(mme_client: MMEClient, shops: Endpoint) -> None:
    with pytest.raises(ModelNotFoundError):
        price(mme_client, shops.name, "toys", 50.0)


def test_a_throttled_call_is_repeated(mme_client: MMEClient, shops: Endpoint, mme_faults: Faults) -> None:
    fault = mme_faults.add(Fault(kind="throttle", operation="InvokeEndpoint", times=1))
    assert price(mme_client, shops.name, "books", 50.0) == 50.0
    assert mme_faults.list()[fault]["triggered"] == 1
