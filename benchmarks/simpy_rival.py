"""The same fleet in simpy, written as its documentation suggests: a process per request, resources for what is scarce.

One instance, LRU memory within an LRU volume, loader slots and workers. Nothing here is tuned against simpy: requests
for warm models hold one worker and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import simpy

from mme_sdk.planning.simulation.inputs import Site, Traffic

__all__ = ["run_simpy"]


def run_simpy(traffic: Traffic, site: Site) -> np.ndarray:
    """Latency of each request."""
    environment = simpy.Environment()
    workers = simpy.Resource(environment, site.workers)
    loaders = simpy.Resource(environment, site.loader_slots)
    memory: OrderedDict[int, None] = OrderedDict()
    volume: OrderedDict[int, None] = OrderedDict()
    in_use = dict.fromkeys(range(len(traffic.disk)), 0)
    loading: dict[int, simpy.Event] = {}
    used = {"memory": 0, "volume": 0}
    times, models, service = traffic.times.tolist(), traffic.models.tolist(), traffic.service.tolist()
    sizes, files = traffic.memory.tolist(), traffic.disk.tolist()
    download, load = traffic.download.tolist(), traffic.load.tolist()
    latency = [0.0] * len(times)

    def bring(model):
        with loaders.request() as slot:
            yield slot
            if model not in volume:
                while used["volume"] + files[model] > site.volume_bytes:
                    victim, _ = volume.popitem(last=False)
                    used["volume"] -= files[victim]
                used["volume"] += files[model]
                yield environment.timeout(download[model])
                volume[model] = None
            else:
                volume.move_to_end(model)
            for victim in list(memory) if used["memory"] + sizes[model] > site.memory_bytes else ():
                if not in_use[victim]:
                    del memory[victim]
                    used["memory"] -= sizes[victim]
                    if used["memory"] + sizes[model] <= site.memory_bytes:
                        break
            used["memory"] += sizes[model]
            yield environment.timeout(load[model])
        memory[model] = None
        loading.pop(model).succeed()

    def request(number, model):
        arrived = environment.now
        in_use[model] += 1
        if model in memory:
            memory.move_to_end(model)
        else:
            if model not in loading:
                loading[model] = environment.event()
                environment.process(bring(model))
            yield loading[model]
        with workers.request() as worker:
            yield worker
            yield environment.timeout(service[number])
        in_use[model] -= 1
        latency[number] = environment.now - arrived

    def source():
        for number, at in enumerate(times):
            yield environment.timeout(at - environment.now)
            environment.process(request(number, models[number]))

    environment.process(source())
    environment.run()
    return np.asarray(latency)
