"""Pipelines whose descriptions are written by hand, so that a test of the web needs no runner."""

PROMPT_YAML = """\
# 问候
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "问题：{{ query }}（前 {{ top_k }} 条）"
connections: []
"""

_ANY = {"type": "Any", "required": True, "schema": {}}

PROMPT = {
    "format": 1,
    "haystack_version": "3.4.0",
    "declared": False,
    "inputs": {
        "query": {**_ANY, "targets": ["prompt.query"], "description": ""},
        "top_k": {**_ANY, "targets": ["prompt.top_k"], "description": ""},
    },
    "outputs": {"prompt": {"source": "prompt.prompt", "type": "str"}},
    "components": {
        "prompt": {
            "type": "haystack.components.builders.prompt_builder.PromptBuilder",
            "inputs": {
                "query": {**_ANY, "connected": False, "reachable": True},
                "top_k": {**_ANY, "connected": False, "reachable": True},
            },
            "outputs": {"prompt": {"type": "str"}},
        }
    },
    "connections": [],
    "streams": [],
    "secrets": [],
    "workflow": {},
    "trigger_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"query": {}, "top_k": {}},
        "required": ["query", "top_k"],
        "additionalProperties": False,
    },
}
