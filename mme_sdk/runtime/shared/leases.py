"""Leases, cold slots and load times in a shared store. If the store does not answer, each process decides alone."""

from __future__ import annotations

from mme_sdk._flows.effects import Flow
from mme_sdk.runtime.cold_start.load_times import LoadTimes
from mme_sdk.runtime.shared.link import Link
from mme_sdk.runtime.shared.store import parse_curves

__all__ = ["SharedLeases"]


class SharedLeases:
    """`Leases` in a shared store, and cold slots.

    Args:
        link: The way to the store.
        load_times: Receives what other processes learned of a model when its lease is acquired.
        initial: How many models of an endpoint are loaded at a time at the beginning, by all processes together.
        maximum: The most.
    """

    def __init__(self, link: Link, load_times: LoadTimes, *, initial: int, maximum: int) -> None:
        self._link, self._load_times = link, load_times
        self._initial, self._maximum = initial, max(initial, maximum)

    def acquire(self, endpoint: str, model: str, *, seconds: float) -> Flow[bool]:
        """Acquire the lease of a model; see `Leases.acquire`.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds until the lease expires.

        Returns:
            A flow that returns whether the lease was acquired.

        Raises:
            ConfigurationError: The store cannot be used like this.
        """
        worker = self._link.worker
        answer = yield from self._link.trip(lambda store: store.acquire(endpoint, model, worker, seconds=seconds))
        if answer is None:
            return True
        acquired, text = answer
        curves = parse_curves(text)
        if curves is not None:
            self._load_times.add(endpoint, model, curves)
        return acquired

    def renew(self, endpoint: str, model: str, *, seconds: float) -> Flow[None]:
        """Extend the lease and the cold slot of a model; see `Leases.renew`.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds from now until they expire.

        Returns:
            A flow that extends them.

        Raises:
            ConfigurationError: The store cannot be used like this.
        """
        worker = self._link.worker
        yield from self._link.trip(lambda store: store.renew(endpoint, model, worker, seconds=seconds))

    def release(self, endpoint: str, model: str) -> Flow[None]:
        """Release the lease of a model, and pass on its load times; see `Leases.release`.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.

        Returns:
            A flow that releases the lease.

        Raises:
            ConfigurationError: The store cannot be used like this.
        """
        worker = self._link.worker
        curves = self._load_times.curves(endpoint, model)
        text = "" if curves is None else " ".join(map(repr, curves))
        yield from self._link.trip(lambda store: store.release(endpoint, model, worker, curves=text))

    def take_slot(self, endpoint: str, model: str, *, seconds: float, forced: bool) -> Flow[int | None]:
        """Take one of the cold slots of an endpoint, which all processes share. The lease of the model is extended.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            seconds: Seconds from now until both expire.
            forced: Whether to take it above the limit too, because the load has begun.

        Returns:
            A flow that returns the epoch of the limit for `free_slot`; None if no slot is free.

        Raises:
            ConfigurationError: The store cannot be used like this.
        """
        worker, initial = self._link.worker, self._initial
        epoch = yield from self._link.trip(
            lambda store: store.take_slot(endpoint, model, worker, seconds=seconds, initial=initial, forced=forced)
        )
        return 0 if epoch is None else None if epoch < 0 else epoch

    def free_slot(self, endpoint: str, model: str, *, verdict: int, epoch: int) -> Flow[None]:
        """Free a cold slot, and adapt how many there are.

        Args:
            endpoint: Name of the endpoint.
            model: The target model.
            verdict: 1 after an undisturbed load, -1 after a slow one, 0 otherwise.
            epoch: What `take_slot` returned.

        Returns:
            A flow that frees the slot.

        Raises:
            ConfigurationError: The store cannot be used like this.
        """
        worker, maximum = self._link.worker, self._maximum
        yield from self._link.trip(
            lambda store: store.free_slot(endpoint, model, worker, verdict=verdict, epoch=epoch, maximum=maximum)
        )
