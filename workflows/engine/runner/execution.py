"""One run of a pipeline: load it, give it its data, tell of its steps and tokens, answer with its result."""

from collections.abc import Callable
from typing import Any

from haystack import Pipeline, tracing
from haystack.dataclasses import StreamingChunk

from workflows.engine.runner import failures, loading
from workflows.engine.runner.egress import Guard
from workflows.engine.runner.failures import RunFailed
from workflows.engine.runner.replies import Replies
from workflows.engine.runner.serialization import InputInvalid, NotJSON, to_json, to_python
from workflows.engine.runner.tracing import OF_THIS_RUN, Steps
from workflows.engine.runner.validation import reason
from workflows.engine.strict_json import StrictJSONError, clean

_CALLBACK = "streaming_callback"


def run(pipeline: Pipeline, request: dict, replies: Replies, guard: Guard) -> bytes:
    """The line that says the result. Raises RunFailed, or what the system raises when the client is gone."""
    try:
        return _run(pipeline, request, replies, guard)
    except MemoryError as error:
        raise RunFailed("out_of_memory", "The run needed more memory than it may have.") from error
    except RecursionError as error:
        raise RunFailed("result_not_json", failures.named(error)) from error


def _run(pipeline: Pipeline, request: dict, replies: Replies, guard: Guard) -> bytes:
    data = _data(pipeline, request.get("data") or {})
    _stream(pipeline, data, request.get("streams") or (), replies)
    outputs = request.get("outputs")
    steps = Steps(replies)
    tracing.enable_tracing(OF_THIS_RUN)
    with steps.told():
        _warm_up(pipeline, guard)
        found = _found(pipeline, data, outputs, steps, guard)
    result = _result(found, outputs, pipeline)
    line = replies.encode({"kind": "result", "result": result})
    if len(line) > request.get("result_bytes", 10 * 1024 * 1024):
        raise RunFailed(
            "result_too_large",
            f"The result takes {len(line)} bytes as JSON, and it may take {request['result_bytes']}.",
        )
    return line


def load(request: dict, guard: Guard) -> Pipeline:
    """The request's pipeline. Raises RunFailed."""
    try:
        data = loading.parse(request["yaml"])
        return loading.Loader(request.get("components") or ()).pipeline(data)
    except BaseException as error:  # components run code of their own when they are built
        failure = failures.translated(error, None, guard.refused)
        if failure.fields["code"] == "component_failed":
            failure = RunFailed("load_failed", f"The pipeline cannot be loaded: {reason(error)}")
        raise failure from error


def _data(pipeline: Pipeline, given: dict) -> dict[str, dict[str, Any]]:
    """The data by component, each value as its socket's type wants it."""
    known = pipeline.inputs(include_components_with_connected_inputs=True)
    found: dict[str, dict[str, Any]] = {}
    problems = []
    for component, values in given.items():
        sockets = known.get(component)
        if sockets is None or not isinstance(values, dict):
            problems.append(f"{component}: there is no such component to give data to")
            continue
        for name, value in values.items():
            path = f"{component}.{name}"
            if name not in sockets:
                problems.append(f"{path}: there is no such input")
                continue
            try:
                found.setdefault(component, {})[name] = to_python(value, sockets[name]["type"], path)
            except InputInvalid as error:
                problems.append(failures.says(error))
    for component, sockets in pipeline.inputs().items():
        values = given.get(component)
        needed = {name for name, socket in sockets.items() if socket["is_mandatory"]}
        missing = sorted(needed - values.keys() if isinstance(values, dict) else needed)
        problems += [f"{component}.{name}: a value is missing" for name in missing]
    if problems:
        raise RunFailed("input_invalid", "; ".join(problems[:20]))
    return found


def _stream(pipeline: Pipeline, data: dict, streams: list[str], replies: Replies) -> None:
    """Have these components tell each token. Done here, after all checks: no trigger data can name a function."""
    sockets = pipeline.inputs()
    for name in streams:
        if _CALLBACK in sockets.get(name, ()):
            data.setdefault(name, {})[_CALLBACK] = _teller(name, replies)


def _teller(component: str, replies: Replies) -> Callable[[StreamingChunk], None]:
    def tell(chunk: StreamingChunk) -> None:
        if chunk.content:
            replies.send("token", component=component, text=chunk.content)

    return tell


def _warm_up(pipeline: Pipeline, guard: Guard) -> None:
    """As Pipeline.run will do again to no effect; here it is known whose warm-up has failed."""
    for name, component in pipeline.walk():
        if hasattr(component, "warm_up"):
            try:
                component.warm_up()
            except BaseException as error:
                raise failures.translated(error, name, guard.refused) from error


def _found(pipeline: Pipeline, data: dict, outputs: dict | None, steps: Steps, guard: Guard) -> dict:
    wanted = {source.partition(".")[0] for source in (outputs or {}).values()}
    try:
        return pipeline.run(data, include_outputs_from=wanted, snapshot_callback=lambda snapshot: None)
    except (BrokenPipeError, ConnectionResetError) as error:
        if steps.failed_component is None:
            raise  # our own client is gone
        raise failures.translated(error, steps.failed_component, guard.refused) from error
    except ValueError as error:
        if steps.has_started:
            raise failures.translated(error, steps.failed_component, guard.refused) from error
        raise RunFailed("input_invalid", failures.says(error)) from error
    except BaseException as error:  # whatever a component raises, its author must be told
        raise failures.translated(error, steps.failed_component, guard.refused) from error


def _result(found: dict, outputs: dict | None, pipeline: Pipeline) -> dict:
    if outputs is None:
        if not found and pipeline.outputs():
            raise RunFailed("pipeline_blocked", "The pipeline ended without an output: none of its last steps ran.")
        values = found
    else:
        values, missing = {}, []
        for name, source in outputs.items():
            component, _, socket = source.partition(".")
            produced = found.get(component, {})
            values[name] = produced.get(socket)
            if socket not in produced:
                missing.append(f"{name} ({source})")
        # One of several may be missing, where a branch was not taken; it is null then.
        if missing and len(missing) == len(outputs):
            raise RunFailed("pipeline_blocked", f"The pipeline ended without its outputs: {', '.join(missing)}.")
    try:
        return clean({name: to_json(value, name) for name, value in values.items()})
    except (NotJSON, StrictJSONError) as error:
        raise RunFailed("result_not_json", failures.says(error)) from error
