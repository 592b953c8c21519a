"""Print the table of request fields in docs/local.md, from fields.toml; `--write` puts it into the page."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mme_sdk.local import ControlSettings
from mme_sdk.local.control import ControlPlane
from mme_sdk.local.control.account import Account
from mme_sdk.local.control.metrics import Metrics
from mme_sdk.local.control.sagemaker.resources import utc_now
from mme_sdk.local.control.store import Store
from mme_sdk.local.faults import Faults
from mme_sdk.local.wire.fields import FieldMarks, load_marks
from mme_sdk.local.wire.service_model import load_service_model

PAGE = Path(__file__).parent.parent / "docs" / "local.md"
BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"
RUNTIME = ("InvokeEndpoint", "InvokeEndpointAsync", "InvokeEndpointWithResponseStream")
_HEAD = "| field of | honoured | stored | refused |\n| --- | --- | --- | --- |"


def operations() -> Iterator[tuple[str, str, Any]]:
    """Yield service, operation and request shape of each operation that the host answers."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "control.sqlite")
        hosting: Any = None
        plane = ControlPlane(store, Account(), hosting, Metrics(), ControlSettings(), Faults(), utc_now)
        store.close()
    for service in plane.services:
        model = load_service_model(service.service)
        for name in sorted(service.operations):
            yield service.service, name, model.operation_model(name).input_shape
    runtime = load_service_model("sagemaker-runtime")
    for name in RUNTIME:
        yield "sagemaker-runtime", name, runtime.operation_model(name).input_shape


def table() -> str:
    """Return the table: one row for each operation, and one for each structure in its first request."""
    found: dict[str, list[str]] = {}
    shown: set[tuple[str, str]] = set()
    for service, operation, shape in operations():
        rows = found.setdefault(service, [])
        if shape is not None and shape.members:
            rows += _rows(service, operation, shape, load_marks(service), shown)
    parts = [f"**{service}**\n\n{_HEAD}\n" + "\n".join(rows) for service, rows in sorted(found.items()) if rows]
    return "\n\n".join(parts)


def _rows(
    service: str, where: str, shape: Any, marks: Mapping[str, FieldMarks], shown: set[tuple[str, str]]
) -> Iterator[str]:
    if shape.type_name == "list":
        yield from _rows(service, where, shape.member, marks, shown)
    if shape.type_name != "structure" or (service, shape.name) in shown:
        return
    shown.add((service, shape.name))
    own = marks.get(shape.name, FieldMarks())
    only = [f"`{name}` other than {', '.join(f'`{one}`' for one in own.only[name])}" for name in sorted(own.only)]
    refused = [f"`{name}` ({own.refused[name]})" for name in sorted(own.refused)]
    cells = (_names(own.honoured | own.only.keys()), _names(own.stored), "; ".join([*only, *refused]))
    yield f"| `{where}` | " + " | ".join(cells) + " |"
    for name, member in shape.members.items():
        if name not in own.refused:
            yield from _rows(service, f"{where}.{name}", member, marks, shown)


def _names(members: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(members))


def page(text: str) -> str:
    """Return a page with the table between the markers."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())


if __name__ == "__main__":
    main()
