"""Exceptions in words for who wrote the pipeline: which kind of failure, what it says, whether it may pass."""

import sys
from pathlib import Path

import httpx
import requests
from haystack.core.errors import (
    PipelineComponentsBlockedError,
    PipelineMaxComponentRuns,
    PipelineRuntimeError,
)

from workflows.engine.runner.egress import EgressRefused
from workflows.engine.runner.loading import chain

_LONGEST = 2000
_PASSING = (
    TimeoutError,
    ConnectionError,
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    requests.ConnectionError,
    requests.Timeout,
)
_PASSING_STATUS = {408, 425, 429}


class RunFailed(Exception):
    """A run that ends without a result; the fields are those of the runner's `error` message."""

    def __init__(self, code: str, message: str, component: str | None = None, transient: bool = False):
        super().__init__(message)
        self.fields = {"code": code, "message": message, "component": component, "transient": transient}


def translated(error: BaseException, component: str | None, refused_call: str | None) -> RunFailed:
    """What `error`, out of Pipeline.run, means for the one whose pipeline it is."""
    if isinstance(error, RunFailed):
        return error
    links = list(chain(error))
    if any(isinstance(link, MemoryError) for link in links):
        return RunFailed("out_of_memory", "The run needed more memory than it may have.", component)
    if refused_call or any(isinstance(link, EgressRefused) for link in links):
        return RunFailed("egress_refused", f"A call was refused: {refused_call or says(error)}.", component)
    if isinstance(error, PipelineMaxComponentRuns):
        return RunFailed("max_runs_exceeded", says(error), component)
    if isinstance(error, PipelineComponentsBlockedError):
        return RunFailed("pipeline_blocked", "No component could run: each waits for another.", component)
    origin = error
    while isinstance(origin, PipelineRuntimeError):
        component = component or origin.component_name
        if origin.__cause__ is None:
            break
        origin = origin.__cause__
    return RunFailed("component_failed", named(origin), component, any(map(is_passing, links)))


def named(error: BaseException) -> str:
    """`ValueError: what it says`, and of a group also what its members say."""
    text = f"{type(error).__name__}: {says(error)}".rstrip(": ")
    if isinstance(error, BaseExceptionGroup):
        text += " [" + "; ".join(named(member) for member in error.exceptions[:5]) + "]"
    return _cut(text)


def says(error: BaseException) -> str:
    """The message of an exception, without stack traces and without the folders of this machine."""
    try:
        text = str(error)
    except BaseException:
        return "its message cannot be read"
    text = text.partition("Traceback (most recent call last)")[0]
    for folder in _folders():
        text = text.replace(folder, "…")
    return _cut(text.strip())


def is_passing(error: BaseException) -> bool:
    """Whether the same run may well succeed a little later."""
    openai = sys.modules.get("openai")  # long to import, so only where somebody has
    if isinstance(error, _PASSING) or (openai and isinstance(error, openai.APIConnectionError)):
        return True
    status = getattr(error, "status_code", None) or getattr(getattr(error, "response", None), "status_code", None)
    return isinstance(status, int) and (status in _PASSING_STATUS or 500 <= status <= 599)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _folders() -> list[str]:
    # The scratch folder is the current one.
    found = {str(Path.cwd()), sys.prefix, sys.base_prefix, *filter(None, sys.path)}
    return sorted((folder for folder in found if folder.count("/") > 1), key=len, reverse=True)
