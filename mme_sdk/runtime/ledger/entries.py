"""The format of the objects of a ledger: one line that names it, one line of JSON about the answers, and their bodies.

There is no pickle. A body is kept byte for byte, so an answer from the ledger is decoded as it was the first time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from mme_sdk.errors import IntegrityError
from mme_sdk.runtime.options import InvokeOptions
from mme_sdk.types.reply import Reply

__all__ = ["Entry", "damaged", "decode", "encode", "key_of"]

Entry = tuple[str, Reply[Any]]  # the key of a request, and its answer
_KEY = re.compile("[0-9a-f]{40}")
_MAGIC = b"mme-ledger 1 "
_KEPT = ("content_type", "model", "endpoint", "variant", "request_id", "custom_attributes")
_ASKED = (  # options that can change an answer
    "accept",
    "target_variant",
    "target_container",
    "inference_component",
    "custom_attributes",
    "enable_explanations",
)


def key_of(
    endpoint: str,
    target: str | None,
    body: bytes,
    content_type: str,
    options: InvokeOptions,
    position: int | None = None,
) -> str:
    """Return the key of a request: what it sends, to which model, and the options that can change the answer.

    Args:
        endpoint: Address of the endpoint, with its region: endpoints of one name may have other models.
        target: Target model, without an alias. None for a single-model endpoint.
        body: The payload as it is sent.
        content_type: Its media type.
        options: Options of the call.
        position: Position of the item in its stream. None: equal requests have one answer.
    """
    asked = [getattr(options, name) for name in _ASKED]
    facts = json.dumps([endpoint, target, content_type, asked, position], separators=(",", ":"))
    return hashlib.sha256(facts.encode() + b"\n" + body).hexdigest()[:40]


def encode(entries: Sequence[Entry]) -> bytes:
    """Return the object that holds answers.

    Args:
        entries: The answers with their keys.
    """
    facts = [
        {"key": key, "bytes": len(reply.body), **{name: getattr(reply, name) for name in _KEPT}}
        for key, reply in entries
    ]
    content = b"".join((json.dumps(facts, separators=(",", ":")).encode(), b"\n", *(one.body for _, one in entries)))
    return b"%s%s\n%s" % (_MAGIC, hashlib.sha256(content).hexdigest().encode(), content)


def decode(address: str, data: bytes) -> list[Entry]:
    """Return the answers that an object holds.

    Args:
        address: Address of the object, for messages.
        data: The object.

    Raises:
        IntegrityError: The object is damaged, or is not one of a ledger.
    """
    head, _, content = data.partition(b"\n")
    if not head.startswith(_MAGIC):
        raise damaged(address, "it is not an object of a ledger, or of a version of mme_sdk that this one cannot read")
    if head[len(_MAGIC) :] != hashlib.sha256(content).hexdigest().encode():
        raise damaged(address, "its checksum differs")
    line, _, bodies = content.partition(b"\n")
    try:
        table = json.loads(line)
    except (ValueError, RecursionError):
        raise damaged(address, "its second line is not JSON") from None
    if not isinstance(table, list) or not all(_is_entry(facts) for facts in table):
        raise damaged(address, "its second line does not describe answers")
    if sum(facts["bytes"] for facts in table) != len(bodies):
        raise damaged(address, "its second line describes more or fewer bytes than it has")
    entries, start = list[Entry](), 0
    for facts in table:
        end = start + facts["bytes"]
        reply: Reply[Any] = Reply(body=bodies[start:end], **{name: facts[name] for name in _KEPT})
        entries.append((facts["key"], reply))
        start = end
    return entries


def _is_entry(facts: Any) -> bool:
    """Return whether a value of JSON describes an answer."""
    return (
        isinstance(facts, dict)
        and isinstance(facts.get("key"), str)
        and _KEY.fullmatch(facts["key"]) is not None
        and type(facts.get("bytes")) is int
        and facts["bytes"] >= 0
        and all(name in facts and isinstance(facts[name], (str, type(None))) for name in _KEPT)
    )


def damaged(address: str, why: str) -> IntegrityError:
    """Return the error of an object that a ledger cannot use.

    Args:
        address: Address of the object.
        why: What is wrong with it.
    """
    return IntegrityError(
        f"{address} cannot be used as part of a ledger: {why}",
        hint="delete the object, and what it held is called again; or use another ledger",
    )
