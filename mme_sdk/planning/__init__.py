"""The planner: find the cheapest SageMaker hosting for given traffic, and estimate its latency and cost.

```python
from mme_sdk.planning import Catalogue, SLO, Workload, plan

catalogue = Catalogue.uniform(memory_mb=150)
p = plan(Workload.from_trace("trace.csv"), catalogue=catalogue, slo=SLO(p99=0.5), prices="prices.csv")
print(p.report())
```

The planner needs the extra `planning`. The extra `planning-fast` makes large simulations ten to thirty times faster;
the extra `plot` is for charts.
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
from mme_sdk.planning.advice import (
    SLO,
    Assumptions,
    DedicatedEndpoint,
    HostingEstimate,
    HostingLayout,
    HostingOption,
    HostingPlan,
    SimulatedFigures,
    instance_types,
    plan,
)
from mme_sdk.planning.catalogue import Catalogue, ModelProfile
from mme_sdk.planning.prices import Prices, load_prices
from mme_sdk.planning.questions.likeness import UnlikeModels
from mme_sdk.planning.simulation import FleetConfig, SimulationResult, Traffic, simulate
from mme_sdk.planning.workload import Workload

__all__ = [
    "SLO",
    "Assumptions",
    "Catalogue",
    "DedicatedEndpoint",
    "FleetConfig",
    "HostingEstimate",
    "HostingLayout",
    "HostingOption",
    "HostingPlan",
    "InstanceType",
    "ModelProfile",
    "Prices",
    "SimulatedFigures",
    "SimulationResult",
    "Traffic",
    "UnlikeModels",
    "Workload",
    "instance_types",
    "load_prices",
    "plan",
    "simulate",
]
