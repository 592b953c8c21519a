"""Progress of a wait: a callback, or a bar that notebooks and terminals draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mme_sdk.endpoints.operations.wait import ProgressCallback, WaitProgress
from mme_sdk.errors import InvalidInputError, MissingExtraError

__all__ = ["callback"]


@contextmanager
def callback(progress: ProgressCallback | bool) -> Iterator[ProgressCallback | None]:
    """What a wait tells of its looks.

    Args:
        progress: A callback, True for a bar, False for nothing.

    Raises:
        InvalidInputError: It is none of these.
        MissingExtraError: A bar was asked for, and tqdm is not installed.
    """
    if not isinstance(progress, bool):
        if not callable(progress):
            raise InvalidInputError(f"progress: wants a function or True, not {progress!r}")
        yield progress
        return
    if not progress:
        yield None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise MissingExtraError("progress=True needs tqdm", hint="pip install 'mme-sdk[progress]'") from error

    with tqdm(total=1.0, bar_format="{desc} [{elapsed}]") as bar:

        def show(seen: WaitProgress) -> None:
            bar.set_description_str(f"{seen.endpoint}: {seen.status} ({seen.elapsed:.0f} of {seen.timeout:.0f} s)")

        yield show
