"""A model of a multi-model endpoint in a langchain chain, with mme_sdk.

Run `python examples/with_host.py python examples/llm/langchain_chain.py`. Needs `pip install langchain-core`.
"""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LLM
from langchain_core.prompts import PromptTemplate
from pydantic import ConfigDict

from mme_sdk import AsyncEndpoint, AsyncMMEClient, Endpoint, MMEClient


class EndpointLLM(LLM):
    """A text model behind an endpoint. A model that loads makes the call take longer; it does not make it fail."""

    model_config = ConfigDict(arbitrary_types_allowed=True)
    endpoint: Endpoint
    async_endpoint: AsyncEndpoint | None = None
    model: str | None = None  # None: a single-model endpoint

    @property
    def _llm_type(self) -> str:
        return "mme_sdk"

    def _call(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - langchain passes it
        **parameters: Any,
    ) -> str:
        reply = self.endpoint.invoke(self._body(prompt, stop, parameters), model=self.model)
        return str(reply.value[0]["generated_text"])

    async def _acall(
        self, prompt: str, stop: list[str] | None = None, run_manager: Any = None, **parameters: Any
    ) -> str:
        if self.async_endpoint is None:
            return await super()._acall(prompt, stop, run_manager, **parameters)
        reply = await self.async_endpoint.invoke(self._body(prompt, stop, parameters), model=self.model)
        return str(reply.value[0]["generated_text"])

    def _body(self, prompt: str, stop: list[str] | None, parameters: dict[str, Any]) -> dict[str, Any]:
        return {"inputs": prompt, "parameters": parameters | ({"stop": stop} if stop else {})}


def main() -> str:
    """Ask the model `writer` through a prompt template."""
    with MMEClient() as client:
        client.models("s3://ml-models/prod/")  # resolves the alias
        llm = EndpointLLM(endpoint=client.endpoint("scoring"), model="writer@live")
        chain = PromptTemplate.from_template("Say hello to {name}.") | llm
        return chain.invoke({"name": "Ada"})


async def main_async() -> str:
    """Ask it from an event loop."""
    async with AsyncMMEClient() as client:
        with MMEClient() as other:
            llm = EndpointLLM(
                endpoint=other.endpoint("scoring"),
                async_endpoint=client.endpoint("scoring"),
                model="writer/v1.tar.gz",
            )
            return await llm.ainvoke("Say hello.")


if __name__ == "__main__":
    import asyncio

    print(main())
    print(asyncio.run(main_async()))
