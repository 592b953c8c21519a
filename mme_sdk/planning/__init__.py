"""From traffic to hit rates, latency, cost and advice: whether to use a multi-model endpoint, and which.

```python
from mme_sdk.planning import Catalogue, SLO, Workload, plan

catalogue = Catalogue.uniform(memory_mb=150)
p = plan(Workload.from_trace("trace.csv"), catalogue=catalogue, slo=SLO(p99=0.5), prices="prices.csv")
print(p.report())
```

Needs the extra `planning`; `planning-fast` simulates ten to thirty times faster, `plot` draws.
"""

from mme_sdk.errors import MissingExtraError

try:
    import numpy  # noqa: F401
    import pandas  # noqa: F401
    import scipy  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        f"planning needs {error.name}, which is not installed", hint="pip install 'mme-sdk[planning]'"
    ) from error

from mme_sdk.instance_types import InstanceType
from mme_sdk.planning.advice import SLO, Assumptions, Option, Plan, instance_types, plan
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.prices import Prices, load_prices
from mme_sdk.planning.simulation import SimulationResult, Site, Traffic, simulate
from mme_sdk.planning.workload import Workload

__all__ = [
    "SLO",
    "Assumptions",
    "Catalogue",
    "InstanceType",
    "ModelProfile",
    "Option",
    "Plan",
    "Prices",
    "SimulationResult",
    "Site",
    "Traffic",
    "Workload",
    "instance_types",
    "load_prices",
    "plan",
    "simulate",
]
