"""Progress of a wait: a callback, or a progress bar for notebooks and terminals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mme_sdk.endpoints.operations.wait import ProgressCallback, WaitProgress
from mme_sdk.errors import InvalidInputError, MissingExtraError

__all__ = ["callback"]


@contextmanager
def callback(progress: ProgressCallback | bool) -> Iterator[ProgressCallback | None]:
    """Turn the `progress` argument of a method into a callback; close the progress bar at the end.

    Args:
        progress: A callback, True for a progress bar, or False.

    Yields:
        The callback; None for False.

    Raises:
        InvalidInputError: `progress` has another type.
        MissingExtraError: A progress bar needs tqdm, which is not installed.
    """
    if not isinstance(progress, bool):
        if not callable(progress):
            raise InvalidInputError(f"progress must be a function, True or False, not {progress!r}")
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
            stages = "".join(f", {variant} {stage}" for variant, stage in seen.stages.items())
            bar.set_description_str(
                f"{seen.endpoint}: {seen.status}{stages} ({seen.elapsed:.0f} of {seen.timeout:.0f} s)"
            )

        yield show
