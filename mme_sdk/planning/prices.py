"""Prices of instance types: the shipped ones, a CSV file, or the AWS price list."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import attrs
from pydantic import BaseModel, ValidationError

from mme_sdk._tracebacks import short_tracebacks
from mme_sdk._validation import check_number
from mme_sdk.errors import InvalidInputError

__all__ = ["Prices", "PricesLike", "load_prices"]


@attrs.frozen
class Prices(Mapping[str, float]):
    """Prices per instance and hour, and where they come from.

    Attributes:
        per_hour: Price of one instance for one hour, by instance type. Every currency will do.
        source: Where the prices come from; the report prints it.
        indicative: Whether these are the shipped prices, which are examples and not a quotation.
        currency: Currency, such as `EUR`; the report and the charts name it. Empty (the default) if it is not known.
    """

    per_hour: Mapping[str, float]
    source: str = "given"
    indicative: bool = False
    currency: str = ""

    def __attrs_post_init__(self) -> None:
        if not self.per_hour:
            raise InvalidInputError(f"there are no prices ({self.source})", hint="give {'ml.m5.xlarge': 0.23, …}")
        for name, price in self.per_hour.items():
            check_number(f"the price of {name}", price, over=0)

    def __getitem__(self, name: str) -> float:
        return self.per_hour[name]

    def __iter__(self):  # type: ignore[no-untyped-def]  # as Mapping declares it
        return iter(self.per_hour)

    def __len__(self) -> int:
        return len(self.per_hour)


PricesLike: TypeAlias = "Prices | Mapping[str, float] | str | Path | None"


class _Attributes(BaseModel):
    instanceName: str = ""  # noqa: N815 - as the file names it
    component: str = ""
    regionCode: str = ""  # noqa: N815


class _Product(BaseModel):
    attributes: _Attributes


class _Dimension(BaseModel):
    unit: str = ""
    pricePerUnit: dict[str, float] = {}  # noqa: N815


class _Term(BaseModel):
    priceDimensions: dict[str, _Dimension]  # noqa: N815


class _PriceList(BaseModel):
    publicationDate: str = ""  # noqa: N815
    products: dict[str, _Product]
    terms: dict[str, dict[str, dict[str, _Term]]]


@short_tracebacks
def load_prices(given: PricesLike = None, *, region: str | None = None) -> Prices:
    """Read prices from a mapping or a file.

    Args:
        given: A mapping of instance types to prices per hour; the path of a CSV file with the columns `instance_type`
            and `usd_per_hour`; the path of the AWS price list of AmazonSageMaker (JSON); or None (the default) for the
            shipped prices, which are indicative.
        region: Region to take from a price list that holds several, such as `eu-west-1`; None (the default) if the
            list holds one.

    Returns:
        The prices.

    Raises:
        InvalidInputError: The file does not exist, has another form, holds no hosting prices, or holds those of several
            regions.

    Example:
        >>> load_prices({"ml.m5.xlarge": 0.23})["ml.m5.xlarge"]
        0.23
    """
    if isinstance(given, Prices):
        return given
    if given is None:
        text = resources.files("mme_sdk.planning").joinpath("data", "prices.csv").read_text(encoding="utf-8")
        rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
        source = "indicative on-demand prices, us-east-1, public AWS pricing page as of 2024; not a quotation"
        return Prices({row["instance_type"]: float(row["usd_per_hour"]) for row in rows}, source, True, "USD")
    if isinstance(given, Mapping):
        return Prices(dict(given))
    path = Path(given)
    if not path.is_file():
        raise InvalidInputError(f"the price file {path} does not exist", hint="pass the path of a CSV or JSON file")
    return _from_price_list(path, region) if path.suffix == ".json" else _from_csv(path)


def _from_csv(path: Path) -> Prices:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    if not rows or not {"instance_type", "usd_per_hour"} <= set(rows[0]):
        raise InvalidInputError(f"{path} must have the columns instance_type and usd_per_hour")
    try:
        return Prices({row["instance_type"]: float(row["usd_per_hour"]) for row in rows}, str(path), currency="USD")
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{path} has a price that is not a number: {error}") from error


def _from_price_list(path: Path, region: str | None) -> Prices:
    try:
        listed = _PriceList.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise InvalidInputError(f"{path} is not an AWS price list: {error}") from error
    found: dict[str, float] = {}
    regions = set()
    for sku, product in listed.products.items():
        facts = product.attributes
        if facts.component.lower() != "hosting" or (region is not None and facts.regionCode != region):
            continue
        regions.add(facts.regionCode)
        name = facts.instanceName.removesuffix("-Hosting")
        for term in listed.terms.get("OnDemand", {}).get(sku, {}).values():
            for dimension in term.priceDimensions.values():
                price = dimension.pricePerUnit.get("USD", 0.0)
                if price > 0 and name.startswith("ml."):
                    found[name] = price
    if len(regions) > 1:
        raise InvalidInputError(f"{path} has prices of {len(regions)} regions", hint='name one: region="eu-west-1"')
    where = region or next(iter(regions), "")
    return Prices(found, f"AWS price list of {listed.publicationDate or 'unknown date'}, {where}", currency="USD")
