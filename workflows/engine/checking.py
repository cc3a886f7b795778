"""Checks a definition: by the policy on the text alone first, then by loading it in the runner, and describes it."""

import hashlib
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

from workflows.engine import allowed, client, inputs, policy, strict_json
from workflows.engine.config import Config, current
from workflows.engine.document import Document, Refused, parse
from workflows.engine.errors import Problem, RunnerLost

FORMAT = 1
_KEPT = 64  # texts whose static check is remembered

# Sockets that change what a component does. They become inputs only where the author lists them.
_SETTINGS = frozenset(("template", "template_variables", "generation_kwargs", "tools_strict"))
_MORE_SETTINGS = frozenset(
    (
        *("json_schema", "error_template", "system_prompt", "user_prompt", "prompt_template", "response_format"),
        *("sources", "paths", "path", "file_path", "urls", "url", "meta", "extra", "code", "policy"),
        *("pattern", "reference_pattern", "extraction_kwargs", "retriever_kwargs"),
    )
)
# These name sockets after the author's own variables, which are data whatever they are called.
_NAMED_BY_THE_AUTHOR = frozenset(
    (
        "haystack.components.agents.agent.Agent",
        "haystack.components.builders.chat_prompt_builder.ChatPromptBuilder",
        "haystack.components.builders.prompt_builder.PromptBuilder",
        "haystack.components.converters.output_adapter.OutputAdapter",
        "haystack.components.evaluators.llm_evaluator.LLMEvaluator",
        "haystack.components.generators.chat.llm.LLM",
        "haystack.components.routers.conditional_router.ConditionalRouter",
    )
)


@dataclass(frozen=True)
class Checked:
    """What a check found. The description is there when nothing worse than a warning was."""

    problems: list[Problem] = field(default_factory=list)
    description: dict | None = None

    @property
    def valid(self) -> bool:
        return self.description is not None and not any(problem.is_error for problem in self.problems)


@dataclass(frozen=True)
class _Static:
    config: Config
    document: Document | None
    problems: tuple[Problem, ...]
    secrets: frozenset[str]


def check(yaml_text: str) -> Checked:
    """Every problem of a definition, and its description when it may run.

    Only a text that the policy has nothing against gets to the runner, so nobody's code runs for the others. Raises
    RunnerUnavailable where the runner is needed and none answers.
    """
    static = _static(yaml_text)
    if any(problem.is_error for problem in static.problems):
        return Checked(list(static.problems))
    document = static.document
    answer, problems = _ask_runner(yaml_text, document)
    problems = [*static.problems, *problems]
    if answer is None or any(problem.is_error for problem in problems):
        return Checked(_in_order(problems))
    description, more = _describe(answer, document, static.secrets)
    problems = _in_order([*problems, *more])
    if any(problem.is_error for problem in problems):
        return Checked(problems)
    return Checked(problems, strict_json.clean(description))


def static_check(yaml_text: str) -> list[Problem]:
    """What the policy of this moment has against a text, without the runner; cheap for a text it has just seen."""
    return list(_static(yaml_text).problems)


_seen: OrderedDict[bytes, _Static] = OrderedDict()
_lock = threading.Lock()


def _static(yaml_text: str) -> _Static:
    config = current()
    text = yaml_text.encode(errors="surrogatepass") if isinstance(yaml_text, str) else b""
    key = hashlib.sha256(text).digest()
    with _lock:
        found = _seen.get(key)
        if found is not None and found.config is config:
            _seen.move_to_end(key)
            return found
    try:
        document = parse(yaml_text)
    except Refused as refused:
        found = _Static(config, None, tuple(refused.problems), frozenset())
    else:
        examination = policy.Examination(document, config)
        found = _Static(config, document, tuple(examination.problems), frozenset(examination.secrets))
    with _lock:
        _seen[key] = found
        while len(_seen) > _KEPT:
            _seen.popitem(last=False)
    return found


def _ask_runner(yaml_text, document) -> tuple[dict | None, list[Problem]]:
    config = current()
    payload = {
        "op": "check",
        "yaml": yaml_text,
        "components": sorted(policy.allowed_components(config)),
        "hosts": list(config.hosts),
        "seconds": config.check_seconds,
        "memory_mb": config.memory_mb,
    }
    try:
        messages = client.request(payload, config.check_seconds, patience=config.patience_seconds)
    except RunnerLost as error:
        return None, [_failed(str(error))]
    for message in messages:
        if message["kind"] in ("description", "problems"):
            problems = [_located(problem, document) for problem in message.get("problems", [])]
            return message.get("description"), problems
        if message["kind"] == "error":
            return None, [_failed(_DEATHS.get(message.get("code"), message.get("message", "")))]
    return None, [_failed("the process that loaded it ended without an answer")]


_DEATHS = {
    "timed_out": "loading it took too long; look for templates that do heavy work, and for very large values",
    "out_of_memory": "loading it needs more memory than a run may have; look for templates that build large texts",
}


def _failed(why: str) -> Problem:
    return Problem("check_failed", f"This definition could not be checked: {why.rstrip('.')}.", "", 1, 1)


def _located(problem: dict, document: Document) -> Problem:
    if problem.get("code") in _DEATHS:  # the child lived to say it itself
        return _failed(_DEATHS[problem["code"]])
    path = problem.get("path") or ""
    line, column = document.locate(path)
    return Problem(
        problem.get("code", "invalid"),
        problem.get("message", ""),
        path,
        line,
        column,
        "warning" if problem.get("severity") == "warning" else "error",
    )


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))


# The description: what the runner saw, and what the author wrote around it.


def _describe(answer: dict, document: Document, secrets) -> tuple[dict, list[Problem]]:
    data = document.data
    components = answer["components"]
    declared = data.get("inputs") is not None
    problems: list[Problem] = []
    for name, entry in components.items():
        if entry["type"] in _NAMED_BY_THE_AUTHOR:
            entry["inputs"] = _in_the_authors_order(entry["inputs"], data["components"][name])
        for socket, spec in entry["inputs"].items():
            _adapt(entry["type"], socket, spec)
    if declared:
        found = _declared_inputs(data["inputs"], components, document, problems)
    else:
        found = _inferred_inputs(components)
    problems += _unreachable(components, found, document, declared)
    outputs = _outputs(data.get("outputs") or {}, components, document, problems)
    for entry in components.values():
        for spec in entry["inputs"].values():
            del spec["listable"]  # of use here alone
    description = {
        "format": FORMAT,
        "haystack_version": answer.get("haystack_version", ""),
        "declared": declared,
        "inputs": found,
        "outputs": outputs,
        "components": components,
        "connections": answer.get("connections", []),
        "streams": answer.get("streams", []),
        "secrets": sorted(secrets),
        "workflow": dict(data.get("workflow") or {}),
        "trigger_schema": inputs.trigger_schema(found),
    }
    return description, problems


def _in_the_authors_order(sockets: dict, component: dict) -> dict:
    """Variables as they first occur in the component's texts: Haystack has them out of a set, in any order."""
    text = str(component.get("init_parameters"))
    order = {}
    for index, socket in enumerate(sockets):
        found = None if socket in _SETTINGS else re.search(rf"\b{re.escape(socket)}\b", text)
        order[socket] = (0, found.start(), socket) if found else (1, index, socket)
    return {socket: sockets[socket] for socket in sorted(sockets, key=order.get)}


def _adapt(type_name: str, socket: str, spec: dict) -> None:
    """Say whether trigger data may reach a socket at all, and let files arrive as bytes only, never by path."""
    if type_name in allowed.FILE_READERS and socket == "sources":
        spec["schema"] = {"type": "array", "items": {"$ref": "#/$defs/ByteStream"}}
    takes_data = socket not in policy.NEVER_INPUTS and spec.get("schema") != {"not": {}}
    spec["listable"] = takes_data
    is_setting = socket in _SETTINGS or (socket in _MORE_SETTINGS and type_name not in _NAMED_BY_THE_AUTHOR)
    spec["reachable"] = takes_data and not spec["connected"] and not is_setting


def _declared_inputs(block, components, document, problems) -> dict:
    found = {}
    for name, targets in block.items():
        listed = targets if isinstance(targets, list) else [targets]
        specs, reached = [], []
        for index, target in enumerate(listed):
            path = f"inputs.{name}[{index}]" if isinstance(targets, list) else f"inputs.{name}"
            component, _, socket = target.partition(".")
            spec = components[component]["inputs"].get(socket)
            reason = _why_no_input(component, socket, spec, components)
            if reason:
                problems.append(_problem_at(document, *reason, path))
            else:
                specs.append(spec)
                reached.append(target)
        if specs:
            found[name] = _input(reached, specs)
    reached = {target for entry in found.values() for target in entry["targets"]}
    for component, entry in components.items():  # a block closes what it doesn't list
        for socket, spec in entry["inputs"].items():
            spec["reachable"] = f"{component}.{socket}" in reached
    return found


def _why_no_input(component, socket, spec, components) -> tuple[str, str] | None:
    if spec is None:
        known = ", ".join(f"`{name}`" for name in components[component]["inputs"])
        return "unknown_socket", f"`{component}` has no input `{socket}`. Known are {known or 'none'}."
    if not spec["listable"]:
        return (
            "input_not_allowed",
            f"`{component}.{socket}` takes something that JSON can't say, so it can't be an input.",
        )
    if spec["connected"] and not spec.get("variadic"):
        return (
            "socket_connected",
            f"`{component}.{socket}` gets its value from a connection, so it can't be an input too.",
        )
    return None


def _inferred_inputs(components) -> dict:
    by_name: dict[str, list[tuple[str, dict]]] = {}
    for component, entry in components.items():
        for socket, spec in entry["inputs"].items():
            if spec["reachable"]:
                by_name.setdefault(socket, []).append((f"{component}.{socket}", spec))
    found = {
        socket: _input([target for target, _ in members], [spec for _, spec in members])
        for socket, members in by_name.items()
    }
    return dict(sorted(found.items(), key=lambda item: not item[1]["required"]))


def _input(targets: list[str], specs: list[dict]) -> dict:
    schemas = []
    for spec in specs:
        if spec["schema"] and spec["schema"] not in schemas:
            schemas.append(spec["schema"])
    types = list(dict.fromkeys(spec["type"] for spec in specs))
    precise = [name for name in types if name != "Any"] or types
    entry = {
        "targets": targets,
        "type": " & ".join(precise),
        "required": any(spec["required"] and not spec["connected"] for spec in specs),
        "schema": schemas[0] if len(schemas) == 1 else {"allOf": schemas} if schemas else {},
    }
    defaults = [spec["default"] for spec in specs if "default" in spec]
    if not entry["required"] and defaults and all(default == defaults[0] for default in defaults):
        entry["default"] = defaults[0]
    description = next((spec["description"] for spec in specs if spec.get("description")), "")
    if description:
        entry["description"] = description
    return entry


def _unreachable(components, found, document, declared) -> list[Problem]:
    """Sockets that must have a value and can get none: such a pipeline could never run."""
    reached = {target for entry in found.values() for target in entry["targets"]}
    problems = []
    for component, entry in components.items():
        for socket, spec in entry["inputs"].items():
            target = f"{component}.{socket}"
            if not spec["required"] or spec["connected"] or target in reached:
                continue
            if not spec["listable"]:
                advice = "Connect it: trigger data can't fill it"
            elif declared:
                advice = "List it in `inputs:` or connect it"
            else:
                advice = (
                    "It changes what the component does, so list it in `inputs:` if it shall be given, or connect it"
                )
            problems.append(
                _problem_at(
                    document,
                    "unreachable_input",
                    f"`{target}` must have a value, and nothing can give it one. {advice}.",
                    f"components.{component}",
                )
            )
    return problems


def _outputs(block, components, document, problems) -> dict:
    found = {}
    for name, source in block.items():
        component, _, socket = source.partition(".")
        spec = components[component]["outputs"].get(socket)
        if spec is None:
            known = ", ".join(f"`{each}`" for each in components[component]["outputs"])
            problems.append(
                _problem_at(
                    document,
                    "unknown_socket",
                    f"`{component}` has no output `{socket}`. Known are {known or 'none'}.",
                    f"outputs.{name}",
                )
            )
        else:
            found[name] = {"source": source, "type": spec["type"]}
    return found


def _problem_at(document, code, message, path) -> Problem:
    line, column = document.locate(path)
    return Problem(code, message, path, line, column)
