"""The application under test: a price with the discount that the model of a shop gives."""

from __future__ import annotations

from mme_sdk import MMEClient


def price(client: MMEClient, endpoint: str, shop: str, amount: float) -> float:
    """Return the amount after the discount of a shop's model."""
    reply = client.endpoint(endpoint).invoke({"amount": amount}, model=shop, deadline=30)
    return round(amount * (1 - reply.value["discount"]), 2)
