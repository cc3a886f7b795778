"""Runs one definition on its declared inputs with Haystack alone, and prints its declared outputs as JSON.

python -m tests.examples.run_pipeline < {"yaml": "…", "trigger_data": {…}}, in a process of its own.
"""

import json
import sys

import yaml
from haystack import Document, Pipeline
from haystack.dataclasses import ChatMessage


def main() -> None:
    request = json.load(sys.stdin)
    declared = yaml.safe_load(request["yaml"])
    pipeline = Pipeline.loads(request["yaml"], allowed_modules=["workflows.documents.*"])
    data: dict[str, dict] = {}
    for name, value in request["trigger_data"].items():
        if name == "documents":
            value = [Document.from_dict(document) for document in value]
        for target in declared["inputs"][name]:
            component, socket = target.split(".")
            data.setdefault(component, {})[socket] = value
    tokens = []
    if "llm" in declared["components"]:
        data.setdefault("llm", {})["streaming_callback"] = lambda chunk: tokens.append(chunk.content)

    sources = {name: source.split(".") for name, source in declared["outputs"].items()}
    results = pipeline.run(data, include_outputs_from={component for component, _ in sources.values()})
    outputs = {name: _plain(results[component][socket]) for name, (component, socket) in sources.items()}
    json.dump({"outputs": outputs, "tokens": tokens}, sys.stdout, ensure_ascii=False)


def _plain(value):
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, Document):
        return value.to_dict(flatten=False)
    return value.text if isinstance(value, ChatMessage) else value


if __name__ == "__main__":
    main()
