"""What each model or tenant of an endpoint costs."""

from mme_sdk.costs.sharing import Cost, CostRow, share_cost

__all__ = ["Cost", "CostRow", "share_cost"]
