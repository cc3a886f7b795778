"""The bundled examples: small pipelines, each with trigger data to try it on."""

import json
from functools import cached_property
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent

SAMPLE = ("index_documents", "answer_question")  # what `make run` runs, in this order


class Example:
    """One `<name>.yaml` with its `<name>.json`; what people read of it is in the YAML's `metadata:`."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def all(cls) -> list["Example"]:
        return [cls(path) for path in sorted(FOLDER.glob("*.yaml"))]

    @classmethod
    def named(cls, name: str) -> "Example":
        return cls(FOLDER / f"{name}.yaml")

    @cached_property
    def pipeline_yaml(self) -> str:
        return self.path.read_bytes().decode()

    @cached_property
    def trigger_data(self) -> dict:
        return json.loads(self.path.with_suffix(".json").read_bytes())

    @cached_property
    def _metadata(self) -> dict:
        return yaml.safe_load(self.pipeline_yaml)["metadata"]

    @property
    def title(self) -> str:
        return self._metadata["title"]

    @property
    def description(self) -> str:
        return self._metadata["description"]

    @property
    def tags(self) -> str:
        return ",".join(self._metadata.get("tags", []))
