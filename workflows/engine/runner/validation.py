"""What is wrong with a pipeline, all of it at once, and what it is: its components, sockets and connections."""

import re
from collections.abc import Iterator
from typing import Any

import haystack
import networkx
from haystack import Pipeline
from haystack.core.component.types import InputSocket

from workflows.engine.runner import failures, loading, socket_types
from workflows.engine.runner.loading import BadYAML, ComponentNotAllowed, Loader, chain
from workflows.engine.runner.serialization import NotJSON, to_json

_CALLBACK = "streaming_callback"
_LONGEST_DEFAULT = 1000  # characters of JSON


def check(request: dict) -> dict:
    """The answer to a `check` request: a description with warnings, or problems."""
    try:
        data = loading.parse(request["yaml"])
    except BadYAML as error:
        return {"kind": "problems", "problems": [_problem("yaml_invalid", str(error), "")]}
    loader = Loader(request.get("components") or ())
    problems: list[dict] = []
    pipeline = _skeleton(data, problems)
    built = _add_components(pipeline, data, loader, problems) if pipeline else False
    if built:
        connected = _connect(pipeline, data.get("connections") or [], problems)
        if connected:
            problems += _endless(pipeline)
        problems += _isolated(pipeline)
    try:
        if any(problem["severity"] == "error" for problem in problems):
            return {"kind": "problems", "problems": problems}
        return {"kind": "description", "description": describe(pipeline, data), "problems": problems}
    finally:
        if pipeline:
            _close(pipeline)


def describe(pipeline: Pipeline, data: dict) -> dict:
    """What anybody needs to know about the pipeline without Haystack."""
    return {
        "haystack_version": haystack.__version__,
        "components": {
            name: {
                "type": data["components"][name]["type"],
                "inputs": {each.name: _input(each) for each in _inputs(component)},
                "outputs": {
                    socket.name: {"type": socket_types.text(socket.type)}
                    for socket in component.__haystack_output__._sockets_dict.values()
                },
            }
            for name, component in pipeline.walk()
        },
        "connections": [
            {"sender": f"{sender}.{edge['from_socket'].name}", "receiver": f"{receiver}.{edge['to_socket'].name}"}
            for sender, receiver, edge in pipeline.graph.edges(data=True)
        ],
        "streams": [
            name
            for name, component in pipeline.walk()
            if any(socket.name == _CALLBACK and not socket.senders for socket in _inputs(component))
        ],
    }


def reason(error: BaseException) -> str:
    """Why something cannot be loaded, without Haystack's dump of the component's own data."""
    for link in chain(error):
        if isinstance(link, ComponentNotAllowed):
            return failures.says(link)
    text = failures.says(error)
    if "Original error:" in text:
        text = text.rpartition("Original error:")[2]
    elif "not imported" in text and error.__cause__ is not None:
        text = failures.says(error.__cause__)
        text = text.partition("Here are the registered components")[0]
    return " ".join(text.split()) or type(error).__name__


# --- problems


def _problem(code: str, message: str, path: str, severity: str = "error") -> dict:
    return {"code": code, "message": message, "path": path, "severity": severity}


def _skeleton(data: dict, problems: list[dict]) -> Pipeline | None:
    try:
        return Pipeline.from_dict({**data, "components": {}, "connections": []})
    except Exception as error:
        problems.append(_problem("pipeline_invalid", reason(error), ""))
        return None


def _add_components(pipeline: Pipeline, data: dict, loader: Loader, problems: list[dict]) -> bool:
    """Build each component alone, so that one that fails doesn't hide the others."""
    for name, component in data["components"].items():
        path = f"components.{name}"
        if not isinstance(name, str) or not isinstance(component, dict):
            problems.append(_problem("component_invalid", "A component is a name and a mapping with its type.", path))
            continue
        try:
            pipeline.add_component(name, loader.component(name, {"init_parameters": {}, **component}))
        except MemoryError:
            raise
        except Exception as error:
            problems.append(_component_problem(error, path))
    return not problems


def _component_problem(error: Exception, path: str) -> dict:
    links = list(chain(error))
    if any(isinstance(link, ComponentNotAllowed) for link in links):
        return _problem("component_not_allowed", reason(error), f"{path}.type")
    if any(isinstance(link, MemoryError) for link in links):
        raise MemoryError
    text = reason(error)
    if any(isinstance(link, ImportError) for link in links) and "not imported" not in str(error):
        return _problem("component_unavailable", text, f"{path}.type")
    if "not imported" in str(error):
        return _problem("component_unknown", f"This component cannot be imported: {text}", f"{path}.type")
    named = re.search(r"(?:unexpected keyword argument|missing 1 required positional argument:) '(\w+)'", text)
    place = f"{path}.init_parameters"
    if named and "unexpected" in named[0]:
        text, place = f"There is no parameter {named[1]!r} here.", f"{place}.{named[1]}"
    elif named:
        text = f"The parameter {named[1]!r} is missing."
    return _problem("component_init_failed", text, place)


def _connect(pipeline: Pipeline, connections: list, problems: list[dict]) -> bool:
    before = len(problems)
    for index, connection in enumerate(connections):
        path = f"connections[{index}]"
        ends = connection if isinstance(connection, dict) else {}
        sender, receiver = ends.get("sender"), ends.get("receiver")
        if not isinstance(sender, str) or not isinstance(receiver, str):
            problems.append(_problem("connection_invalid", "A connection needs a sender and a receiver.", path))
            continue
        found = list(_unknown_ends(pipeline, sender, receiver, path))
        if not found:
            try:
                pipeline.connect(sender, receiver)
            except Exception as error:
                found = [_connection_problem(error, path)]
        problems += found
    return len(problems) == before


def _unknown_ends(pipeline: Pipeline, sender: str, receiver: str, path: str) -> Iterator[dict]:
    for end, text, sockets in (("sender", sender, "output_sockets"), ("receiver", receiver, "input_sockets")):
        component, _, socket = text.partition(".")
        place = f"{path}.{end}"
        if component not in pipeline.graph.nodes:
            yield _problem("unknown_component", f"There is no component {component!r}.", place)
            continue
        known = pipeline.graph.nodes[component][sockets]
        if socket and socket not in known:
            kind = "output" if end == "sender" else "input"
            names = ", ".join(sorted(known)) or "none"
            yield _problem("unknown_socket", f"{component!r} has no {kind} {socket!r}. It has: {names}.", place)


def _connection_problem(error: Exception, path: str) -> dict:
    text = failures.says(error)
    if "do not match" in text or "no matching connections" in text:
        listed = [" ".join(line.split()) for line in text.splitlines()[1:] if line.strip()]
        return _problem("type_mismatch", f"{text.splitlines()[0]} {' '.join(listed)}".strip(), path)
    if "more than one connection is possible" in text:
        text = text.splitlines()[0].partition(" Please")[0]
        return _problem("connection_ambiguous", f"{text} Name the sockets.", path)
    return _problem("connection_failed", text.splitlines()[0] if text else type(error).__name__, path)


def _endless(pipeline: Pipeline) -> Iterator[dict]:
    """Loops that can't begin, because each component waits for another, and loops that can't end."""
    graph = pipeline.graph
    able = _able_to_run(pipeline)
    for members in networkx.strongly_connected_components(graph):
        if len(members) == 1 and not graph.has_edge(*(list(members) * 2)):
            continue
        names = sorted(members)
        path = f"components.{names[0]}"
        if not members & able:
            text = f"The loop through {', '.join(names)} can never begin: each component in it waits for another."
            yield _problem("cycle_cannot_start", text, path)
        elif not any(_may_leave(graph, name, members) for name in names):
            text = f"The loop through {', '.join(names)} can never end: no component in it decides where to go on."
            yield _problem("endless_cycle", text, path)


def _able_to_run(pipeline: Pipeline) -> set[str]:
    """The components that some trigger data lets run at least once."""
    graph, able = pipeline.graph, set()
    while True:
        more = {
            name
            for name in graph.nodes
            if name not in able
            and all(
                not socket.senders or not socket.is_mandatory or socket.is_variadic or able.intersection(socket.senders)
                for socket in graph.nodes[name]["input_sockets"].values()
            )
        }
        if not more:
            return able
        able |= more


def _may_leave(graph: networkx.MultiDiGraph, name: str, members: set[str]) -> bool:
    """Whether a component of a loop has an output that goes on in the loop and another that doesn't.

    A component that gives everything it has into the loop, each time, can't end it.
    """
    staying = {edge["from_socket"].name for _, to, edge in graph.edges(name, data=True) if to in members}
    return bool(staying) and bool(set(graph.nodes[name]["output_sockets"]) - staying)


def _isolated(pipeline: Pipeline) -> Iterator[dict]:
    if len(pipeline.graph) > 1:
        for name in networkx.isolates(pipeline.graph):
            text = f"{name!r} is connected to nothing."
            yield _problem("component_isolated", text, f"components.{name}", "warning")


# --- the description


def _inputs(component: Any) -> list[InputSocket]:
    return list(component.__haystack_input__._sockets_dict.values())


def _input(socket: InputSocket) -> dict:
    found = {
        "type": socket_types.text(socket.type),
        "required": bool(socket.is_mandatory),
        "schema": socket_types.schema(socket.type),
        "connected": bool(socket.senders),
    }
    if socket.is_variadic:
        found["variadic"] = True
    if not socket.is_mandatory:
        try:
            default = to_json(socket.default_value, socket.name)
        except NotJSON:
            return found
        if len(str(default)) <= _LONGEST_DEFAULT:
            found["default"] = default
    return found


def _close(pipeline: Pipeline) -> None:
    try:
        pipeline.close()
    except Exception as error:  # the check is done; what a component says on its way out changes nothing
        print(f"close: {failures.named(error)}")  # noqa: T201 - the runner's log
