"""The static policy: every known way out is refused, and ordinary definitions pass."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from tests.effort import calls_of
from workflows.engine.addresses import address, host_allowed
from workflows.engine.config import Config
from workflows.engine.document import parse
from workflows.engine.policy import allowed_components, examine, run_secrets

HOSTS = ("api.openai.com", "127.0.0.1:18080", "*.example.com")
SECRETS = ("OPENAI_API_KEY@api.openai.com", "LOCAL_KEY@127.0.0.1:18080")
CONFIG = Config(
    data_dir=Path("unused"), socket="unused", hosts=HOSTS, secrets=SECRETS,
    secret_values={"OPENAI_API_KEY": "sk-1", "LOCAL_KEY": "k", "DJANGO_SECRET_KEY": "never"},
)  # fmt: skip
BARE = Config(data_dir=Path("unused"), socket="unused")

PROMPT = "haystack.components.builders.prompt_builder.PromptBuilder"
OPENAI = "haystack.components.generators.chat.openai.OpenAIChatGenerator"
MOCK = "haystack.components.generators.chat.mock.MockChatGenerator"
AGENT = "haystack.components.agents.agent.Agent"

RAG = """
components:
  retriever:
    type: haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever
    init_parameters:
      document_store:
        type: haystack.document_stores.in_memory.document_store.InMemoryDocumentStore
        init_parameters: {bm25_tokenization_regex: "(?u)\\\\b\\\\w+\\\\b", index: 知识库, shared: true}
      top_k: 3
      filters: null
  提示:
    type: haystack.components.builders.chat_prompt_builder.ChatPromptBuilder
    init_parameters:
      template:
        - _content: [{text: "见 https://anywhere.test/：{% for d in documents %}{{ d }}{% endfor %}{{ query }}"}]
          _role: user
          _name: null
          _meta: {}
      required_variables: "*"
  llm:
    type: haystack.components.generators.chat.openai.OpenAIChatGenerator
    init_parameters:
      api_key: {type: env_var, env_vars: [OPENAI_API_KEY], strict: true}
      model: gpt-4o-mini
      streaming_callback: null
      tools: null
      http_client_kwargs: null
      generation_kwargs: {response_format: {type: json_schema, json_schema: {schema: {$ref: "#/$defs/x"}}}}
  adapter:
    type: haystack.components.converters.output_adapter.OutputAdapter
    init_parameters: {template: "{{ r[0].text }}", output_type: str, custom_filters: {}, unsafe: false}
connections:
  - {sender: retriever.documents, receiver: 提示.documents}
  - {sender: 提示.prompt, receiver: llm.messages}
  - {sender: llm.replies, receiver: adapter.r}
max_runs_per_component: 20
connection_type_validation: true
metadata: {作者: 小王}
inputs: {问题: [retriever.query, 提示.query], top_k: retriever.top_k}
outputs: {answer: adapter.output}
workflow: {timeout_seconds: 60, max_attempts: 2}
"""


def problems(text: str, config=CONFIG):
    return examine(parse(textwrap.dedent(text)), config)


def codes(text: str, config=CONFIG) -> set[str]:
    return {problem.code for problem in problems(text, config)}


def one(type_name: str, **parameters) -> str:
    return json.dumps({"components": {"c": {"type": type_name, "init_parameters": parameters}}}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("type_name", "parameter"),
    [
        (PROMPT, "template"),
        (PROMPT, "variables"),
        (MOCK, "meta"),
        (MOCK, "responses"),
        (OPENAI, "generation_kwargs"),
        (OPENAI, "tools"),
        (OPENAI, "api_base_url"),
        (OPENAI, "api_key"),
        (AGENT, "state_schema"),
        (AGENT, "hooks"),
        ("haystack.components.validators.json_schema.JsonSchemaValidator", "json_schema"),
        ("haystack.components.routers.conditional_router.ConditionalRouter", "routes"),
        ("haystack.components.retrievers.filter_retriever.FilterRetriever", "filters"),
        ("haystack.components.joiners.branch.BranchJoiner", "type_"),
    ],
)
@pytest.mark.parametrize("rest", [{}, {"data": {}}, {"init_parameters": {}}])
def test_no_parameter_may_hold_an_object_of_a_class_that_is_not_allowed(type_name, parameter, rest):
    found = problems(one(type_name, **{parameter: {"type": "haystack.tools.tool.Tool", **rest}}))

    assert any(problem.path.startswith(f"components.c.init_parameters.{parameter}") for problem in found)


def test_an_ordinary_definition_passes():
    assert problems(RAG) == []


def test_an_agent_with_component_tools_passes():
    assert (
        problems(f"""
        components:
          agent:
            type: {AGENT}
            init_parameters:
              chat_generator: {{type: {MOCK}, init_parameters: {{responses: [{{content: [{{text: 好}}]}}]}}}}
              tools:
              - type: haystack.tools.component_tool.ComponentTool
                data:
                  component: {{type: {PROMPT}, init_parameters: {{template: "{{{{ a }}}}"}}}}
                  name: 加法
                  description: 见 https://anywhere.test
                  parameters: {{type: object, properties: {{function: {{type: string}}}}}}
                  outputs_to_string: {{source: prompt}}
              state_schema: {{documents: {{type: "list[haystack.dataclasses.document.Document]"}}}}
              hooks:
                before_llm:
                - type: haystack.hooks.budget.hooks.TokenBudgetHook
                  init_parameters: {{max_total_tokens: 1000}}
        """)
        == []
    )


CALLABLE_TOOL = f"""
components:
  agent:
    type: {AGENT}
    init_parameters:
      chat_generator: {{type: {MOCK}, init_parameters: {{}}}}
      tools:
      - type: haystack.tools.tool.Tool
        data: {{name: t, description: d, parameters: {{type: object}}, function: typing.get_type_hints}}
"""
HANDLER = f"""
components:
  agent:
    type: {AGENT}
    init_parameters:
      chat_generator: {{type: {MOCK}, init_parameters: {{}}}}
      tools:
      - type: haystack.tools.component_tool.ComponentTool
        data:
          component: {{type: {PROMPT}, init_parameters: {{template: x}}}}
          name: t
          description: d
          %s
"""
CONVERTER = """
components:
  prompt: {type: %s, init_parameters: {template: /etc/hostname}}
  read: {type: haystack.components.converters.txt.TextFileToDocument, init_parameters: {}}
connections:
  - {sender: %s, receiver: %s}
"""


@pytest.mark.parametrize(
    ("text", "code"),
    [
        # Names of functions
        (CALLABLE_TOOL, "tool_not_allowed"),
        (HANDLER % "outputs_to_string: {handler: typing.get_type_hints}", "callable_not_allowed"),
        (HANDLER % "outputs_to_state: {x: {source: prompt, handler: builtins.print}}", "callable_not_allowed"),
        (HANDLER % "function: builtins.input", "callable_not_allowed"),
        (one(MOCK, response_fn="builtins.print"), "callable_not_allowed"),
        (one(OPENAI, streaming_callback="builtins.print"), "callable_not_allowed"),
        (
            one("haystack.components.embedders.mock_text_embedder.MockTextEmbedder", embedding_fn="builtins.len"),
            "callable_not_allowed",
        ),
        (
            one("haystack.components.preprocessors.document_splitter.DocumentSplitter", splitting_function="a.b"),
            "callable_not_allowed",
        ),
        (
            one("haystack.components.converters.output_adapter.OutputAdapter", custom_filters={"f": "os.system"}),
            "callable_not_allowed",
        ),
        (
            one("haystack.components.generators.chat.azure.AzureOpenAIChatGenerator", azure_ad_token_provider="a.b"),
            "callable_not_allowed",
        ),
        (one(AGENT, state_schema={"x": {"type": "str", "handler": "a.b"}}), "callable_not_allowed"),
        (one(AGENT, hooks={"before_llm": ["haystack.hooks.x.y"]}), "callable_not_allowed"),
        (
            one(AGENT, hooks={"before_llm": [{"type": "haystack.hooks.from_function.FunctionHook"}]}),
            "component_not_allowed",
        ),
        (one("haystack.components.joiners.branch.BranchJoiner", type_="typing.get_type_hints"), "type_not_allowed"),
        (one("haystack.components.joiners.list_joiner.ListJoiner", list_type_="list[os.system]"), "type_not_allowed"),
        (one(AGENT, state_schema={"x": {"type": "builtins.exec"}}), "type_not_allowed"),
        (
            one("haystack.components.converters.output_adapter.OutputAdapter", template="x", output_type="os.system"),
            "type_not_allowed",
        ),
        (
            one("haystack.components.routers.conditional_router.ConditionalRouter", routes=[{"output_type": "os.x"}]),
            "type_not_allowed",
        ),
        (
            one("haystack.components.evaluators.llm_evaluator.LLMEvaluator", inputs=[["a", "typing._make_nmtuple"]]),
            "type_not_allowed",
        ),
        # Classes
        (one("os.system"), "component_not_allowed"),
        (one("builtins.eval"), "component_not_allowed"),
        (one("haystack.testing.sample_components.sum.Sum"), "unknown_component"),
        (one("haystack.core.super_component.super_component.SuperComponent", pipeline={}), "component_not_allowed"),
        (one("haystack.components.fetchers.link_content.LinkContentFetcher"), "component_not_allowed"),
        (one("haystack.components.converters.json.JSONConverter", jq_schema="$ENV"), "component_not_allowed"),
        (one("haystack.tools.component_tool.ComponentTool"), "component_not_allowed"),
        (one("haystack_integrations.tools.mcp.mcp_toolset.MCPToolset"), "component_not_allowed"),
        (one("haystack.document_stores.in_memory.document_store.InMemoryDocumentStore"), "component_not_allowed"),
        (
            one(
                "haystack.components.writers.document_writer.DocumentWriter",
                document_store={"type": "haystack_integrations.document_stores.pgvector.PgvectorDocumentStore"},
            ),
            "component_not_allowed",
        ),
        (one(OPENAI, model={"type": "os.system", "init_parameters": {}}), "component_not_allowed"),
        (one(OPENAI, timeout=[[{"type": "a.B"}]]), "component_not_allowed"),
        (one(MOCK, meta={"deep": {"type": "a.B", "init_parameters": {}}}), "component_not_allowed"),
        (
            one(AGENT, tools={"type": "haystack.tools.skills.skill_toolset.SkillToolset", "data": {}}),
            "component_not_allowed",
        ),
        (one(AGENT, tools={"type": "mcp"}), "tools_not_a_list"),
        (one(AGENT, tools=[{"type": "haystack.tools.skills.skill_toolset.SkillToolset"}]), "tool_not_allowed"),
        (one(OPENAI, tools=[{"type": "mcp", "server_url": "https://evil.test"}]), "tool_not_allowed"),
        (one(OPENAI, generation_kwargs={"tools": [{"type": "mcp"}]}), "tool_not_allowed"),
        # Parameters that lead past the policy
        (one("haystack.components.converters.output_adapter.OutputAdapter", unsafe=True), "parameter_not_allowed"),
        (one(OPENAI, http_client_kwargs={"verify": False}), "parameter_not_allowed"),
        (one(OPENAI, client_kwargs={"proxy": "http://x"}), "parameter_not_allowed"),
        (one(OPENAI, generation_kwargs={"extra_headers": {"a": "b"}}), "parameter_not_allowed"),
        (one(OPENAI, generation_kwargs={"extra_body": {"n": 50}}), "parameter_not_allowed"),
        (one(OPENAI, generation_kwargs={"x": {"extra_query": {"n": 50}}}), "parameter_not_allowed"),
        (
            one("haystack.components.generators.chat.azure.AzureOpenAIChatGenerator", default_headers={"a": "b"}),
            "parameter_not_allowed",
        ),
        (
            one(
                "haystack.components.writers.document_writer.DocumentWriter",
                document_store={
                    "type": "haystack.document_stores.in_memory.document_store.InMemoryDocumentStore",
                    "init_parameters": {"recreate_table": True},
                },
            ),
            "parameter_not_allowed",
        ),
        (one(PROMPT, templat="x"), "unknown_parameter"),
        # Files
        (one(PROMPT, file_path="/etc/passwd"), "files_not_allowed"),
        (one(OPENAI, timeout="file:///etc/passwd"), "bad_address"),
        (one(OPENAI, model="file:/etc/passwd"), "files_not_allowed"),
        (CONVERTER % (PROMPT, "prompt.prompt", "read.sources"), "files_not_allowed"),
        (CONVERTER % (PROMPT, "prompt", "read"), "files_not_allowed"),
        (
            HANDLER.replace(PROMPT, "haystack.components.converters.txt.TextFileToDocument") % "parameters: null",
            "files_not_allowed",
        ),
        (
            one(
                "haystack.components.writers.document_writer.DocumentWriter",
                document_store={
                    "type": "workflows.documents.store.WorkspaceDocumentStore",
                    "init_parameters": {"index": "../other/库"},
                },
            ),
            "bad_index",
        ),
        # Addresses
        (one(OPENAI, api_base_url="http://attacker.test/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="attacker.test"), "host_not_allowed"),
        (one(OPENAI, api_base_url="https://api.openai.com@attacker.test/"), "bad_address"),
        (one(OPENAI, api_base_url="https://api.openai.com:444/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="https://api.openai.com.attacker.test/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="http://127.0.0.1/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="http://2130706433:18080/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="http://0x7f.1:18080/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="http://[::ffff:127.0.0.1]:18080/v1"), "host_not_allowed"),
        (one(OPENAI, api_base_url="http://169.254.169.254/latest"), "host_not_allowed"),
        (one(OPENAI, api_base_url="ftp://api.openai.com/"), "bad_address"),
        (one(OPENAI, api_base_url="https:\\\\api.openai.com"), "bad_address"),
        (one(OPENAI, api_base_url={"type": "env_var", "env_vars": ["OPENAI_API_KEY"]}), "bad_address"),
        (one(OPENAI, organization="see http://attacker.test/"), "host_not_allowed"),
        (one("haystack.components.generators.chat.azure.AzureOpenAIChatGenerator"), "address_missing"),
        (one("haystack.components.query.query_expander.QueryExpander"), "generator_missing"),
        # Schemas
        (
            one(
                "haystack.components.validators.json_schema.JsonSchemaValidator",
                json_schema={"$ref": "http://x/s.json"},
            ),
            "remote_reference",
        ),
        (
            one(
                "haystack.components.validators.json_schema.JsonSchemaValidator",
                json_schema={"allOf": [{"properties": {"a": {"$dynamicRef": "s.json"}}}], "$id": "http://127.0.0.1/"},
            ),
            "remote_reference",
        ),
        (
            one(OPENAI, generation_kwargs={"response_format": {"json_schema": {"$ref": "file:///x"}}}),
            "remote_reference",
        ),
        # Secrets
        (
            one(
                OPENAI,
                api_key={"type": "env_var", "env_vars": ["DJANGO_SECRET_KEY"]},
                api_base_url="https://a.example.com",
            ),
            "secret_not_allowed",
        ),
        (one(OPENAI, api_key={"type": "env_var", "env_vars": ["PATH"]}), "secret_not_allowed"),
        (
            one(OPENAI, api_key={"type": "env_var", "env_vars": ["OPENAI_API_KEY", "DJANGO_SECRET_KEY"]}),
            "secret_not_allowed",
        ),
        (
            one(
                OPENAI,
                api_key={"type": "env_var", "env_vars": ["OPENAI_API_KEY"]},
                api_base_url="https://a.example.com",
            ),
            "secret_for_another_host",
        ),
        (one(OPENAI, api_base_url="https://a.example.com"), "secret_for_another_host"),
        (one(OPENAI, api_key={"type": "env_var", "env_vars": ["LOCAL_KEY"]}), "secret_for_another_host"),
        (one(OPENAI, api_key={"type": "token", "token": "sk-plain"}), "secret_in_plain"),
        (one(OPENAI, api_key="sk-plain"), "secret_in_plain"),
        (one(OPENAI, api_key={"type": "env_var", "env_vars": "OPENAI_API_KEY"}), "bad_secret"),
        (one(OPENAI, organization={"type": "env_var", "env_vars": ["OPENAI_API_KEY"]}), "secret_misplaced"),
        (one(PROMPT, template={"type": "env_var", "env_vars": ["OPENAI_API_KEY"]}), "secret_misplaced"),
        (
            one(OPENAI, generation_kwargs={"user": {"type": "env_var", "env_vars": ["OPENAI_API_KEY"]}}),
            "secret_misplaced",
        ),
        # Limits
        (RAG.replace("component: 20", "component: 1000000000"), "max_runs_out_of_range"),
        (RAG.replace("component: 20", "component: 0"), "max_runs_out_of_range"),
        (RAG.replace("component: 20", "component: true"), "max_runs_out_of_range"),
        (RAG.replace("component: 20", "component: null"), "max_runs_out_of_range"),
        (RAG.replace("validation: true", "validation: false"), "type_validation_off"),
        (RAG.replace("validation: true", "validation: 0"), "type_validation_off"),
        ("components:\n" + "".join(f"  c{n}: {{type: {PROMPT}}}\n" for n in range(400)), "too_many_components"),
        # Inputs
        (RAG.replace("top_k: retriever", "cb: llm.streaming_callback, top_k: retriever"), "input_not_allowed"),
        (RAG.replace("top_k: retriever", "t: llm.tools, top_k: retriever"), "input_not_allowed"),
    ],
)
def test_a_way_out_is_refused_and_nothing_is_imported_for_it(text, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)

    found = problems(text)

    assert code in {problem.code for problem in found}
    assert all(problem.line and problem.column and problem.message for problem in found)
    new = set(sys.modules) - modules
    assert not [name for name in new if name.split(".")[0] in ("haystack", "haystack_integrations", "workflows")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x: 1", "components_missing"),
        ("components:", "components_not_a_mapping"),
        ("components: [a]", "components_not_a_mapping"),
        ("components: {}", "components_not_a_mapping"),
        ("components: {a: 1}", "component_not_a_mapping"),
        ("components: {a: null}", "component_not_a_mapping"),
        ("components: {a: {}}", "type_missing"),
        ("components: {a: {type: 1}}", "type_missing"),
        ("components: {a.b: {type: x}}", "bad_component_name"),
        ("components: {'': {type: x}}", "bad_component_name"),
        (f"components: {{a: {{type: {PROMPT}, init_parameters: [1]}}}}", "parameters_not_a_mapping"),
        (f"components: {{a: {{type: {PROMPT}, data: {{}}}}}}", "unknown_key"),
        ("components: {a: {type: x}}\nconnections: {}", "connections_not_a_list"),
        ("components: {a: {type: x}}\nconnections: [1]", "connection_not_a_mapping"),
        ("components: {a: {type: x}}\nconnections: [{sender: a.x}]", "connection_incomplete"),
        ("components: {a: {type: x}}\nconnections: [{sender: a.x, receiver: b.y}]", "no_such_component"),
        ("components: {a: {type: x}}\nconnections: [{sender: 1, receiver: [b]}]", "bad_endpoint"),
        ("components: {a: {type: x}}\ninputs: [a]", "inputs_not_a_mapping"),
        ("components: {a: {type: x}}\ninputs: {q: a}", "bad_endpoint"),
        ("components: {a: {type: x}}\ninputs: {q: []}", "bad_endpoint"),
        ("components: {a: {type: x}}\ninputs: {q: b.query}", "no_such_component"),
        ("components: {a: {type: x}}\ninputs: {q: a.x, r: [a.x]}", "duplicate_target"),
        ("components: {a: {type: x}}\noutputs: a.x", "outputs_not_a_mapping"),
        ("components: {a: {type: x}}\noutputs: {o: a.b.c}", "bad_endpoint"),
        ("components: {a: {type: x}}\nworkflow: 3", "workflow_not_a_mapping"),
        ("components: {a: {type: x}}\nworkflow: {timeout: 3}", "unknown_key"),
        ("components: {a: {type: x}}\nworkflow: {timeout_seconds: 0}", "out_of_range"),
        ("components: {a: {type: x}}\nworkflow: {max_attempts: 11}", "out_of_range"),
        ("components: {a: {type: x}}\nworkflow: {max_attempts: yes}", "out_of_range"),
        ("components: {a: {type: x}}\nworkflow: {keep_warm: 1}", "not_a_flag"),
    ],
)
def test_a_misshapen_section_is_a_problem_and_not_an_exception(text, code):
    assert code in codes(text)


@pytest.mark.parametrize(
    ("type_name", "code", "says"),
    [
        ("PromptBuilder", "unknown_component", PROMPT),
        ("haystack.components.builders.PromptBuilder", "unknown_component", PROMPT),
        ("haystack.components.builders.prompt_builder.PromtBuilder", "unknown_component", PROMPT),
        ("haystack.components.generators.openai.OpenAIGenerator", "unknown_component", OPENAI),
        ("haystack.components.tools.tool_invoker.ToolInvoker", "unknown_component", "Agent"),
        (
            "haystack.components.embedders.sentence_transformers_text_embedder.SentenceTransformersTextEmbedder",
            "unknown_component",
            "sentence-transformers-haystack",
        ),
        ("haystack.components.websearch.serper_dev.SerperDevWebSearch", "unknown_component", "serperdev-haystack"),
        ("no.such.Component", "component_not_allowed", "PIPELINE_COMPONENTS"),
        ("my.own.PromptBuilder", "component_not_allowed", PROMPT),
    ],
)
def test_a_class_that_is_not_here_comes_with_advice(type_name, code, says):
    (problem,) = problems(f"components:\n  a:\n    type: {type_name}\n")

    assert problem.code == code
    assert says in problem.message
    assert (problem.path, problem.line, problem.column) == ("components.a.type", 3, 5)


def test_a_parameter_of_haystack_2_comes_with_advice():
    found = problems(one(AGENT, chat_generator={"type": MOCK}, confirmation_strategies={"a": 1}))

    assert "hooks" in next(problem for problem in found if problem.code == "unknown_parameter").message


def test_everything_is_reported_at_once_and_in_the_order_of_the_lines():
    found = problems(f"""
        components:
          a: 1
          b: {{type: os.system}}
          c: {{type: {PROMPT}, init_parameters: {{templat: x}}}}
        connections: [{{sender: a.x, receiver: z.y}}]
        strange: 1
        """)

    assert [problem.code for problem in found] == [
        "component_not_a_mapping", "component_not_allowed", "unknown_parameter", "no_such_component",
        "no_such_component", "unknown_key",
    ]  # fmt: skip
    assert [problem.line for problem in found] == [3, 4, 5, 6, 6, 7]


def test_what_the_operator_adds_may_be_used_by_its_exact_name():
    config = Config(data_dir=Path("x"), socket="x", components=("my.pkg.Thing",))

    assert codes(one("my.pkg.Thing", top_k=3), config) == set()
    assert codes(one("my.pkg.Things"), config) == {"component_not_allowed"}
    assert codes(one("my.pkg.Thing", client_kwargs={"a": 1}), config) == {"parameter_not_allowed"}
    assert codes(one("my.pkg.Thing", model="x", url="https://evil.test"), config) == {"host_not_allowed"}
    assert "my.pkg.Thing" in allowed_components(config)
    assert "my.pkg.Thing" not in allowed_components(BARE)


def test_without_hosts_and_secrets_nothing_can_be_reached():
    assert codes(one(OPENAI), BARE) == {"host_not_allowed", "secret_not_allowed"}


def test_a_run_gets_the_secrets_that_it_names_and_no_others():
    assert run_secrets(parse(RAG), CONFIG) == {"OPENAI_API_KEY": "sk-1"}
    assert run_secrets(parse(one(OPENAI, api_key={"type": "env_var", "env_vars": ["DJANGO_SECRET_KEY"]})), CONFIG) == {}
    assert run_secrets(parse(one(PROMPT, template="x")), CONFIG) == {}


def test_a_secret_that_is_taken_by_default_is_granted_to_its_own_host_only():
    assert run_secrets(parse(one(OPENAI)), CONFIG) == {"OPENAI_API_KEY": "sk-1"}
    assert run_secrets(parse(one(OPENAI, api_base_url="https://a.example.com/v1")), CONFIG) == {}


def test_a_secret_without_a_value_is_a_warning():
    config = Config(data_dir=Path("x"), socket="x", hosts=HOSTS, secrets=SECRETS)

    (problem,) = problems(one(OPENAI), config)

    assert (problem.code, problem.severity) == ("secret_not_set", "warning")


def test_a_secret_never_goes_over_a_plain_connection_unless_its_port_is_named():
    hosts = ("api.openai.com", "api.openai.com:80")

    for bound, expected in (("K@api.openai.com", {"secret_for_another_host"}), ("K@api.openai.com:80", set())):
        config = Config(data_dir=Path("x"), socket="x", hosts=hosts, secrets=(bound,), secret_values={"K": "v"})
        text = one(OPENAI, api_key={"type": "env_var", "env_vars": ["K"]}, api_base_url="http://api.openai.com/v1")
        assert codes(text, config) == expected


@pytest.mark.parametrize(
    ("url", "hosts", "expected"),
    [
        ("https://api.openai.com/v1", ["api.openai.com"], True),
        ("https://API.OpenAI.com./v1", ["api.openai.com"], True),
        ("http://api.openai.com/v1", ["api.openai.com"], True),
        ("http://api.openai.com:8080/v1", ["api.openai.com"], False),
        ("http://127.0.0.1:18080/v1", ["127.0.0.1:18080"], True),
        ("http://127.0.0.1:18081/v1", ["127.0.0.1:18080"], False),
        ("http://[::1]:9/v1", ["[::1]:9"], True),
        ("https://a.example.com", ["*.example.com"], True),
        ("https://a.b.example.com", ["*.example.com"], True),
        ("https://example.com", ["*.example.com"], False),
        ("https://badexample.com", ["*.example.com"], False),
        ("http://10.0.0.1", ["*.0.0.1"], False),
        ("http://localhost", ["*"], False),
    ],
)
def test_hosts_match_by_name_and_port(url, hosts, expected):
    assert host_allowed(address(url), hosts) is expected


def chain(length: int) -> str:
    parts = [
        f'  c{n}:\n    type: {PROMPT}\n    init_parameters:\n      template: "问题 {"字" * 190} {{{{ query }}}}"\n'
        "      required_variables: [query]\n      variables: null\n"
        for n in range(length)
    ]
    links = [f"  - {{sender: c{n}.prompt, receiver: c{n + 1}.query}}\n" for n in range(length - 1)]
    return "components:\n" + "".join(parts) + "connections:\n" + "".join(links)


def test_two_hundred_kilobytes_take_no_more_work_for_each_than_half_of_them():
    text = chain(290)
    assert len(text.encode()) > 200_000
    assert problems(text) == []

    assert calls_of(lambda: problems(text)) < 2.2 * calls_of(lambda: problems(chain(145)))


def test_definitions_may_be_kept_warm_where_the_operator_has_residents():
    text = "components: {a: {type: x}}\nworkflow: {keep_warm: true}"
    warm = Config(data_dir=Path("x"), socket="x", residents=1)

    assert "keep_warm_not_allowed" in codes(text, BARE)
    assert "keep_warm_not_allowed" not in codes(text, warm)
