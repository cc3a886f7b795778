"""Hayhooks' durable execution of the benchmark's pipeline, loaded once."""

import os

import yaml
from hayhooks import BasePipelineWrapper
from hayhooks.durable import DurableContext
from haystack import Pipeline
from pydantic import BaseModel


class Data(BaseModel):
    query: str
    top_k: int


class PipelineWrapper(BasePipelineWrapper):
    durable_revision = "1"

    def setup(self) -> None:
        self.pipeline = Pipeline.from_dict(yaml.load(os.environ["PEER_PIPELINE"], Loader=yaml.CSafeLoader))

    def run_durable(self, context: DurableContext, request: Data) -> dict:
        return self.pipeline.run(request.model_dump())

    def durable_monitoring_access(self) -> bool:
        return True
