"""Operations to run concurrently, and the states of S3 in which they start."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

from mme_sdk.errors import MMEError
from mme_sdk.registry import results as shapes
from mme_sdk.registry.operations import batch as many
from mme_sdk.registry.operations import copy as copying
from mme_sdk.registry.operations import delete as deleting
from mme_sdk.registry.operations import register as operations
from mme_sdk.registry.operations.package import LayoutCheck, prepare
from tests.support.registry.interleave import Checker, Explainer, Make, check
from tests.support.registry.s3_model import S3Model


@contextmanager
def sources() -> Iterator[None]:
    """Replace packing: sources are texts, and each is packed once, because flows run many times."""
    packages: list[Any] = []

    @cache
    def packed(source: str) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, source)
            path.write_bytes(source.encode())
            package = prepare(path, LayoutCheck(enabled=False))
        packages.append(package)
        return attrs.evolve(package, close=lambda: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "prepare", lambda source, _: packed(str(source)))
        yield
    for package in packages:
        package.close()


def register(content: str, version: str | None = "v1") -> Make:
    return lambda client: client.operations.register("m", content, version)


def register_many(*contents: str) -> Make:
    models = [shapes.Registration("m", content, f"v{number}") for number, content in enumerate(contents, 1)]
    return lambda client: many.register_many(client.operations, models, None)


def delete(version: str | None = "v1", **more: Any) -> Make:
    options = {"grace": 0, "force": False, "dry_run": False, **more}
    return lambda client: deleting.delete(client.operations.aliases, "m", version, **options)


def prune(keep: int = 1) -> Make:
    return lambda client: deleting.prune(client.operations.aliases, keep, "m", grace=0, dry_run=False)


def alias(version: Any = "v1", name: str = "live", **more: Any) -> Make:
    return lambda client: client.operations.aliases.set("m", name, version, **more)


def rollback(name: str = "live") -> Make:
    return lambda client: client.operations.aliases.rollback("m", name)


def unalias(name: str = "live") -> Make:
    return lambda client: client.operations.aliases.remove("m", name)


def copied(version: str | None = None) -> Make:
    return lambda client: copying.copy(client.operations, client.other, lambda flow: flow, "m", version, dry_run=False)


def copied_back() -> Make:
    return lambda client: copying.copy(client.other, client.operations, lambda flow: flow, "m", None, dry_run=False)


def tidy() -> Make:
    return lambda client: deleting.abort_uploads(client.operations.store, older_than=86_400, dry_run=False)


OPERATIONS: dict[str, Make] = {
    "register v1": register("one"),
    "register other bytes as v1": register("other"),
    "register by content": register("one", None),
    "register_many": register_many("one", "two"),
    "delete v1": delete(),
    "delete v1 by force": delete(force=True),
    "delete all": delete(None),
    "prune": prune(),
    "alias v1": alias(),
    "alias v2": alias("v2"),
    "alias v1 if v2": alias("v1", expected="v2"),
    "alias a canary": alias({"v1": 0.9, "v2": 0.1}),
    "rollback": rollback(),
    "unalias": unalias(),
    "copy out": copied(),
    "copy in": copied_back(),
}


def after(*flows: Make) -> S3Model:
    """Return the state of S3 after some operations."""
    s3, outcomes = Checker(S3Model(), flows).serial(range(len(flows)))
    assert not any(isinstance(one, MMEError) for one in outcomes.values()), outcomes
    return s3


STARTS: dict[str, tuple[Make, ...]] = {
    "nothing": (),
    "two versions": (register("one"), register("two", "v2")),
    "v1 deleted": (register("one"), register("two", "v2"), delete()),
    "alias at v2, before at v1": (register("one"), register("two", "v2"), alias(), alias("v2")),
    "alias at v2": (register("one"), register("two", "v2"), alias("v2")),
    "alias at v2 and v1 deleted": (register("one"), register("two", "v2"), alias("v2"), delete()),
    "copied": (register("one"), copied(), delete(), register("two", "v2")),
}

WRITERS = {name for name in OPERATIONS if name.startswith(("register", "copy"))}
MANY = {"register_many", "copy out", "copy in"}
TARGETS = ("m/v1.tar.gz", "m/v2.tar.gz")


def explainer(start: S3Model, names: Sequence[str]) -> Explainer:
    """Return an explainer for some operations."""
    return Explainer(
        start,
        [OPERATIONS[name] for name in names],
        twice=[at for at, name in enumerate(names) if name in WRITERS],
        targets=TARGETS if MANY.intersection(names) else (),
    )


def check_operations(start: str, *names: str) -> Any:
    """Run some operations in every order of their requests."""
    return check(explainer(after(*STARTS[start]), names))
