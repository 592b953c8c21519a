"""Model directory ⇄ model archive: pack, inspect, check the layout, extract safely."""

from mme_sdk.artifacts.extract import Extracted, extract

__all__ = ["Extracted", "extract"]
