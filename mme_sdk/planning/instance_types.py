"""What instance types are made of, and what they cost."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import TypeAlias

import attrs
from pydantic import BaseModel, ValidationError

from mme_sdk.errors import InvalidInputError

__all__ = ["InstanceType", "Prices", "PricesLike", "instance_types", "load_prices"]


@attrs.frozen(kw_only=True)
class InstanceType:
    """One instance type.

    Attributes:
        name: Such as `ml.m5.xlarge`.
        vcpus: Virtual CPUs.
        memory_gib: Memory.
        gpu_memory_gib: Memory of its GPU; 0 without one.
        network_gbps: Bandwidth that it sustains.
        local_gb: NVMe storage of its own, which then is the volume; 0 without.
    """

    name: str
    vcpus: int
    memory_gib: float
    gpu_memory_gib: float = 0.0
    network_gbps: float = 1.0
    local_gb: int = 0


def _lines(name: str) -> Iterable[str]:
    text = resources.files("mme_sdk.planning").joinpath("data", name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def instance_types() -> dict[str, InstanceType]:
    """The instance types that ship with the package, by name: CPU types, and those with one GPU that MMEs may use."""
    return {
        row["instance_type"]: InstanceType(
            name=row["instance_type"],
            vcpus=int(row["vcpus"]),
            memory_gib=float(row["memory_gib"]),
            gpu_memory_gib=float(row["gpu_memory_gib"]),
            network_gbps=float(row["network_gbps"]),
            local_gb=int(row["local_gb"]),
        )
        for row in csv.DictReader(_lines("instances.csv"))
    }


@attrs.frozen
class Prices(Mapping[str, float]):
    """Prices per instance and hour, and where they come from.

    Attributes:
        per_hour: By instance type.
        source: For the report.
        indicative: Whether they are the shipped ones, which are no quotation.
    """

    per_hour: Mapping[str, float]
    source: str = "given"
    indicative: bool = False

    def __attrs_post_init__(self) -> None:
        if not self.per_hour:
            raise InvalidInputError(f"there are no prices ({self.source})", hint="give {'ml.m5.xlarge': 0.23, …}")
        for name, price in self.per_hour.items():
            if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 < price < math.inf:
                raise InvalidInputError(f"the price of {name} must be a number over 0, not {price!r}")

    def __getitem__(self, name: str) -> float:
        return self.per_hour[name]

    def __iter__(self):  # type: ignore[no-untyped-def]  # as Mapping declares it
        return iter(self.per_hour)

    def __len__(self) -> int:
        return len(self.per_hour)


PricesLike: TypeAlias = "Prices | Mapping[str, float] | str | Path | None"


class _Attributes(BaseModel):
    instanceName: str = ""  # noqa: N815 - the file's own names
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


def load_prices(given: PricesLike = None, *, region: str | None = None) -> Prices:
    """Prices from what users have.

    Args:
        given: A mapping; a CSV file with the columns `instance_type` and `usd_per_hour`; the JSON file of the AWS price
            list of AmazonSageMaker; or None for the shipped ones, which are indicative.
        region: Which region of a price list that holds several.

    Raises:
        InvalidInputError: The file is absent, has another shape or holds no hosting prices.
    """
    if isinstance(given, Prices):
        return given
    if given is None:
        rows = csv.DictReader(_lines("prices.csv"))
        source = "indicative on-demand prices, us-east-1, public AWS pricing page as of 2024; no quotation"
        return Prices({row["instance_type"]: float(row["usd_per_hour"]) for row in rows}, source, indicative=True)
    if isinstance(given, Mapping):
        return Prices(dict(given))
    path = Path(given)
    if not path.is_file():
        raise InvalidInputError(f"there is no price file {path}")
    return _from_price_list(path, region) if path.suffix == ".json" else _from_csv(path)


def _from_csv(path: Path) -> Prices:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    if not rows or not {"instance_type", "usd_per_hour"} <= set(rows[0]):
        raise InvalidInputError(f"{path} must have the columns instance_type and usd_per_hour")
    try:
        return Prices({row["instance_type"]: float(row["usd_per_hour"]) for row in rows}, str(path))
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{path} has a price that is no number: {error}") from error


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
        raise InvalidInputError(f"{path} has prices of {len(regions)} regions", hint='say which: region="eu-west-1"')
    where = region or next(iter(regions), "")
    return Prices(found, f"AWS price list of {listed.publicationDate or 'unknown date'}, {where}")
