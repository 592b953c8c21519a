"""The same fleet in simpy, in the style of its documentation: a process for each request, a resource for each limit.

Each instance has an LRU memory, an LRU volume, loader slots and workers; routing is sticky, with a spill threshold. A
warm request is routed and uses one worker, without further steps, so that the comparison is fair to simpy.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import simpy

from mme_sdk.planning.simulation.inputs import FleetConfig, Traffic

__all__ = ["run_simpy"]


class _Instance:
    def __init__(self, environment: simpy.Environment, config: FleetConfig) -> None:
        self.workers = simpy.Resource(environment, config.workers)
        self.loaders = simpy.Resource(environment, config.loader_slots)
        self.memory: OrderedDict[int, None] = OrderedDict()
        self.volume: OrderedDict[int, None] = OrderedDict()
        self.loading: dict[int, simpy.Event] = {}
        self.in_use: dict[int, int] = {}
        self.memory_used = self.volume_used = self.outstanding = 0


def run_simpy(traffic: Traffic, config: FleetConfig) -> tuple[np.ndarray, float]:
    """Return the latency of each request, and the share of requests that waited for a load."""
    environment = simpy.Environment()
    instances = [_Instance(environment, config) for _ in range(config.instances)]
    times, models, service = traffic.times.tolist(), traffic.models.tolist(), traffic.service.tolist()
    sizes, files = traffic.memory.tolist(), traffic.disk.tolist()
    download, load = traffic.download.tolist(), traffic.load.tolist()
    latency = [0.0] * len(times)
    cold = 0
    draws = iter(np.random.default_rng(0).random(len(times) + 1).tolist())  # the same draws as in `simulate`

    def choose(model):
        best, fewest = None, config.spill_outstanding
        for instance in instances:
            if model in instance.memory and instance.in_use.get(model, 0) < fewest:
                best, fewest = instance, instance.in_use.get(model, 0)
        if best is not None:
            return best
        for instance in instances:
            if model in instance.loading and instance.in_use[model] < config.spill_outstanding:
                return instance
        for instance in instances:
            if model in instance.volume:
                return instance
        free = [each for each in instances if model not in each.volume and model not in each.loading] or instances
        least = min((each.outstanding, each.memory_used) for each in free)
        tied = [each for each in free if (each.outstanding, each.memory_used) == least]
        return tied[0] if len(tied) == 1 else tied[int(next(draws) * len(tied))]

    def bring(instance, model):
        with instance.loaders.request() as slot:
            yield slot
            if model not in instance.volume:
                while instance.volume_used + files[model] > config.volume_bytes:
                    victim, _ = instance.volume.popitem(last=False)
                    instance.volume_used -= files[victim]
                instance.volume_used += files[model]
                yield environment.timeout(download[model])
                instance.volume[model] = None
            else:
                instance.volume.move_to_end(model)
            if instance.memory_used + sizes[model] > config.memory_bytes:
                for victim in list(instance.memory):
                    if not instance.in_use.get(victim):
                        del instance.memory[victim]
                        instance.memory_used -= sizes[victim]
                        if instance.memory_used + sizes[model] <= config.memory_bytes:
                            break
            instance.memory_used += sizes[model]
            yield environment.timeout(load[model])
        instance.memory[model] = None
        instance.loading.pop(model).succeed()

    def request(number, model):
        nonlocal cold
        arrived = environment.now
        instance = choose(model)
        instance.in_use[model] = instance.in_use.get(model, 0) + 1
        instance.outstanding += 1
        if model in instance.memory:
            instance.memory.move_to_end(model)
        else:
            cold += 1
            if model not in instance.loading:
                instance.loading[model] = environment.event()
                environment.process(bring(instance, model))
            yield instance.loading[model]
        with instance.workers.request() as worker:
            yield worker
            yield environment.timeout(service[number])
        instance.in_use[model] -= 1
        instance.outstanding -= 1
        latency[number] = environment.now - arrived

    def source():
        for number, at in enumerate(times):
            yield environment.timeout(at - environment.now)
            environment.process(request(number, models[number]))

    environment.process(source())
    environment.run()
    return np.asarray(latency), cold / len(times)
