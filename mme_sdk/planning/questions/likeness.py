"""Models that are too unlike in size or latency to share an endpoint: whom they hurt, and what a split gives.

AWS recommends multi-model endpoints for models of similar size and latency.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
import numpy as np
import numpy.typing as npt

from mme_sdk.planning.advice.confirm import Confirmation, rank
from mme_sdk.planning.advice.demand import Demand
from mme_sdk.planning.advice.explain import seconds
from mme_sdk.planning.advice.option import HostingOption
from mme_sdk.planning.advice.search import LayoutSearch
from mme_sdk.planning.advice.simulated import SimulatedFigures, figures, simulate_layout
from mme_sdk.planning.analysis import monthly
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.simulation.inputs import Floats, Ints

__all__ = ["UnlikeModels", "unlike_models"]

_RATIO = 4.0  # groups whose geometric means differ by less are alike
_GAP = float(np.log(2.0))  # between neighbours in the order of size; a wider one separates two groups
_WORSE = 1.1  # a smaller effect on the others is not worth a second endpoint


@attrs.frozen(kw_only=True)
class UnlikeModels:
    """A group of models that is too unlike the others on the shared endpoint, and what it does to them.

    The effect on the others is simulated: the same requests at the same hosting, as it is, and with every model of the
    group as small, or as quick, as the others are on average.

    Attributes:
        by: What differs: `size` (the memory of a model) or `latency` (the time of a request on a vCPU).
        models: The models of the group, which are the larger or the slower ones.
        others: The other models of the shared endpoint.
        share: Share of the shared endpoint's requests that are for the group, 0 to 1.
        means: Geometric mean of the group and of the others: bytes if `by` is `size`, else seconds.
        together: Simulated figures of the others' requests as it is.
        alike: Simulated figures of the others' requests if the group were like them.
        cost: Cost per month of the shared endpoint.
        split: The best hosting of the others and of the group, each planned on its own; None if there is none.
    """

    by: Literal["size", "latency"]
    models: tuple[str, ...]
    others: tuple[str, ...]
    share: float
    means: tuple[float, float]
    together: SimulatedFigures
    alike: SimulatedFigures
    cost: float
    split: tuple[HostingOption, HostingOption] | None

    @property
    def split_cost(self) -> float | None:
        """Cost per month of the two hostings of `split`; None without a split."""
        return None if self.split is None else sum(each.cost for each in self.split)

    def __str__(self) -> str:
        first, second = self.together, self.alike
        if self.by == "size":
            differ, like = "large", "small"
            means = f"{self.means[0] / 2**20:,.0f} and {self.means[1] / 2**20:,.0f} MiB"
        else:
            differ, like = "slow", "quick"
            means = f"{seconds(self.means[0])} and {seconds(self.means[1])}"
        group = _counted(len(self.models))
        named = f" ({self.models[0]})" if len(self.models) == 1 else ""
        text = (
            f"{group}{named} with {self.share:.1%} of the requests {'is' if len(self.models) == 1 else 'are'} "
            f"{self.means[0] / self.means[1]:.0f} times as {differ} as the other {len(self.others):,} "
            f"(geometric means of {means}): too unlike to share an endpoint. The others have "
            f"{first.cold_rate:.2%} cold requests ({first.cold_interval[0]:.2%} to {first.cold_interval[1]:.2%}) and a "
            f"p99 of {seconds(first.p99)}; if the group were as {like} as "
            f"they, {second.cold_rate:.2%} and {seconds(second.p99)} (simulated)."
        )
        return f"{text} {self._split_text()}"

    def _split_text(self) -> str:
        if self.split is None or self.split_cost is None:
            return f"There is no hosting for a split by {self.by}."
        apart = self.split_cost - self.cost
        money = f"{abs(apart):,.0f} {'more' if apart > 0 else 'less'}" if round(abs(apart)) else "as much"
        others, group = self.split
        fails = [f"{who}: {each.blockers[0]}" for who, each in zip(("others", "group"), self.split, strict=True)
                 if not each.meets]  # fmt: skip
        end = f" It does not meet the SLO ({'; '.join(fails)})." if fails else ""
        return (
            f"A split by {self.by} costs {money} a month ({self.split_cost:,.0f} instead of {self.cost:,.0f}): "
            f"{others.layout} for the others, with {others.cold_rate:.2%} cold and a p99 of {seconds(others.p99)}, and "
            f"{group.layout} for the group, with {group.cold_rate:.2%} cold and a p99 of {seconds(group.p99)}.{end}"
        )


def _counted(count: int) -> str:
    return "One model" if count == 1 else f"{count:,} models"


def unlike_models(confirmation: Confirmation, best: HostingOption) -> tuple[UnlikeModels, ...]:
    """Return the groups of models that are too unlike the others on the shared endpoint of an option.

    A group is a candidate if its geometric mean is at least four times that of the others. It is too unlike if the
    others have more cold requests or a longer p99 because of it, by a tenth at least and by more than the intervals of
    the simulation.

    Args:
        confirmation: The simulations of the plan.
        best: The option.

    Returns:
        At most two groups: one by size and one by latency.
    """
    search, demand = confirmation.search, confirmation.search.demand
    if best.layout.instance_type is None or best.simulated is None:
        return ()
    alone = {each.model for each in best.layout.dedicated}
    shared = np.asarray([each for each in range(len(demand.memory)) if each not in alone], dtype=np.int64)
    found = []
    for by, values in _measures(demand):
        group = _larger_group(shared, values)
        others = np.setdiff1d(shared, group)
        rates = demand.workload.rates
        if not len(group) or not rates[group].sum() > 0 or not rates[others].sum() > 0:
            continue
        together = _figures_of(others, confirmation, best, demand)
        alike = _figures_of(others, confirmation, best, _made_alike(demand, group, others, by))
        if together is None or alike is None or not _hurts(together[1], alike[1]):
            continue
        names = demand.workload.models
        found.append(
            UnlikeModels(
                by=by,
                models=tuple(names[each] for each in group.tolist()),
                others=tuple(names[each] for each in others.tolist()),
                share=float(rates[group].sum() / rates[shared].sum()),
                means=(_mean(values[group]), _mean(values[others])),
                together=together[0],
                alike=alike[0],
                cost=monthly(search.prices[best.layout.instance_type], best.layout.count),
                split=_split(confirmation, others, group),
            )
        )
    return tuple(found)


def _measures(demand: Demand) -> Iterator[tuple[Literal["size", "latency"], Floats]]:
    yield "size", demand.memory
    yield "latency", demand.service


def _mean(values: Floats) -> float:
    return float(np.exp(np.log(values).mean()))


def _larger_group(which: Ints, values: Floats) -> Ints:
    """Return the models over the widest gap, or over the cut that separates two groups best; none if they are alike.

    The second cut maximises the variance between the groups, on logarithms (Otsu 1979).
    """
    order = which[np.argsort(values[which], kind="stable")]
    logs = np.log(values[order])
    count = len(logs)
    if count < 2:
        return which[:0]
    gaps = np.diff(logs)
    below = np.arange(1, count)
    sums = np.cumsum(logs)[:-1]
    low, high = sums / below, (logs.sum() - sums) / (count - below)
    between = np.where(gaps > 0, below * (count - below) * (high - low) ** 2, -1.0)
    cuts = [int(np.argmax(between))]
    if gaps.max() >= _GAP:
        cuts.insert(0, int(np.argmax(gaps)))
    for cut in cuts:
        if high[cut] - low[cut] >= np.log(_RATIO):
            return np.sort(order[cut + 1 :])
    return which[:0]


def _made_alike(demand: Demand, group: Ints, others: Ints, by: str) -> Demand:
    """Return the demand in which every model of the group is as small, or as quick, as the others on average."""
    load, names = demand.workload, demand.workload.models

    def usual(values: Floats) -> float:
        return _mean(values[others])

    profiles: dict[str, ModelProfile] = dict(demand.catalogue.profiles)
    for each in group.tolist():
        name = names[each]
        given = demand.catalogue[name]
        if by == "latency":
            profiles[name] = attrs.evolve(given, service_seconds=usual(demand.service))
            continue
        profiles[name] = attrs.evolve(
            given,
            memory_bytes=max(1, round(usual(demand.memory))),
            disk_bytes=max(1, round(usual(demand.disk))),
            archive_bytes=max(1, round(usual(demand.archive))),
            load_seconds=usual(demand.load),
        )
    if by == "latency" and load.service is not None and load.index is not None:
        factor = np.ones(len(names))
        factor[group] = usual(demand.service) / demand.service[group]
        load = attrs.evolve(load, service=load.service * factor[load.index])
    catalogue = Catalogue(profiles, demand.catalogue.default)
    return Demand(load, catalogue, demand.pinned, demand.residency, demand.slower)


def _figures_of(
    which: Ints, confirmation: Confirmation, option: HostingOption, demand: Demand
) -> tuple[SimulatedFigures, SimulatedFigures] | None:
    """Return the simulated figures of the requests for some models; None if there are too few requests.

    The second figures have the intervals of these runs and their placements. They are for a comparison with other
    figures of the same runs.
    """
    requests, seed = confirmation.requests, confirmation.seed
    ran = simulate_layout(confirmation.search, option.layout, requests=requests, seed=seed, demand=demand)
    if ran is None:
        return None
    counted = [part.index[part.uncounted :] for part in demand.replays(requests, seed)]
    mine: npt.NDArray[np.bool_] = np.isin(np.concatenate(counted), which)
    if int(mine.sum()) < 100:
        return None
    part = slice(ran.skip, None)
    columns = {name: getattr(ran, name)[part][mine] for name in ("times", "latency", "kinds", "attempts")}
    runs = None if ran.runs is None else ran.runs[part][mine]
    found = attrs.evolve(ran, **columns, runs=runs, skip=0)
    slo = confirmation.search.slo
    return figures(found, slo), figures(attrs.evolve(found, runs=None), slo)


def _hurts(together: SimulatedFigures, alike: SimulatedFigures) -> bool:
    colder = together.cold_rate > _WORSE * alike.cold_rate and together.cold_interval[0] > alike.cold_interval[1]
    longer = together.p99 > _WORSE * alike.p99 and together.p99_interval[0] > alike.p99_interval[1]
    return colder or longer


def _split(confirmation: Confirmation, others: Ints, group: Ints) -> tuple[HostingOption, HostingOption] | None:
    """Return the best hosting of each part of the models; None if there is none for one of them."""
    first, second = (_planned(confirmation, which) for which in (others, group))
    return None if first is None or second is None else (first, second)


def _planned(confirmation: Confirmation, which: Ints) -> HostingOption | None:
    given, demand = confirmation.search, confirmation.search.demand
    part = Demand(demand.workload.only(which), demand.catalogue, slower=demand.slower)
    search: LayoutSearch = attrs.evolve(given, demand=part, budget=None)
    found = [each for each in search.promising() if each[1].possible]
    if not found:
        return None
    own = Confirmation(search, requests=confirmation.requests, seed=confirmation.seed)
    options = own.options(found)
    if not any(each.meets for each in options):
        options += [own.confirmed(layout, one) for layout, one in sorted(found, key=lambda each: each[1].cost)[:1]]
    return min(options, key=lambda each: rank(each, search))
