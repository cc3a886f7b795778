"""Tells of each component's turn while the pipeline runs, through Haystack's own tracing."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from haystack.tracing import Span, Tracer

from workflows.engine.runner import failures
from workflows.engine.runner.preview import preview
from workflows.engine.runner.replies import Replies

_PIPELINE, _COMPONENT = "haystack.pipeline.run", "haystack.component.run"
_INPUT, _OUTPUT = "haystack.component.input", "haystack.component.output"
_NOT_SHOWN = "streaming_callback"  # ours, not the author's


class Steps(Tracer):
    """Sends `step_started`, `step_finished` and `step_failed` for each turn of the outermost pipeline's components."""

    def __init__(self, replies: Replies):
        self.failed_component: str | None = None
        self.has_started = False
        self._replies = replies
        self._outermost: Span | None = None
        self._position = 0
        self._visits: Counter[str] = Counter()

    @contextmanager
    def trace(
        self, operation_name: str, tags: dict[str, Any] | None = None, parent_span: Span | None = None
    ) -> Iterator[Span]:
        if operation_name == _PIPELINE and self._outermost is None:
            self._outermost = _Quiet()
            self.has_started = True
            yield self._outermost
        elif operation_name == _COMPONENT and parent_span is not None and parent_span is self._outermost:
            yield from self._step(tags or {})
        else:  # a pipeline within a component, an agent's turns
            yield _Quiet()

    def _step(self, tags: dict[str, Any]) -> Iterator[Span]:
        name = tags["haystack.component.name"]
        self._position += 1
        self._visits[name] += 1
        step = _Step(
            self._replies,
            position=self._position,
            component=name,
            component_type=tags["haystack.component.fully_qualified_type"],
            visit=self._visits[name],
        )
        try:
            yield step
        except BaseException as error:
            self.failed_component = name
            step.fail(error)
            raise
        step.finish()

    def current_span(self) -> Span | None:
        return None

    @contextmanager
    def told(self) -> Iterator[None]:
        """Within this, what happens in this thread is ours to tell."""
        before = _steps.set(self)
        try:
            yield
        finally:
            _steps.reset(before)


_steps: ContextVar[Steps | None] = ContextVar("steps", default=None)


class _OfThisRun(Tracer):
    """Haystack has one tracer for a process, in which several runs may be under way, each in a thread of its own."""

    @contextmanager
    def trace(
        self, operation_name: str, tags: dict[str, Any] | None = None, parent_span: Span | None = None
    ) -> Iterator[Span]:
        steps = _steps.get()
        if steps is None:
            yield _Quiet()
            return
        with steps.trace(operation_name, tags, parent_span) as span:
            yield span

    def current_span(self) -> Span | None:
        return None


OF_THIS_RUN = _OfThisRun()


class _Quiet(Span):
    def set_tag(self, key: str, value: Any) -> None:
        pass

    def set_content_tag(self, key: str, value: Any) -> None:
        pass


class _Step(Span):
    def __init__(self, replies: Replies, **fields):
        self._replies = replies
        self._fields = fields
        self._output: Any = None
        self._began: float | None = None

    def set_tag(self, key: str, value: Any) -> None:
        pass

    def set_content_tag(self, key: str, value: Any) -> None:
        # The values are the living ones: what isn't turned into JSON now may be another value later.
        if key == _INPUT:
            self._start(preview({name: item for name, item in value.items() if name != _NOT_SHOWN}))
        elif key == _OUTPUT:
            self._output = preview(dict(value))

    def finish(self) -> None:
        # The next step, or the answer, comes at once.
        self._replies.hold("step_finished", **self._end(), output=self._output)

    def fail(self, error: BaseException) -> None:
        self._start(None)
        origin = error.__cause__ if type(error).__name__ == "PipelineRuntimeError" and error.__cause__ else error
        self._replies.send("step_failed", **self._end(), message=failures.named(origin))

    def _start(self, shown: Any) -> None:
        if self._began is None:
            self._began = time.perf_counter()
            self._replies.send("step_started", **self._fields, at=time.time(), input=shown)

    def _end(self) -> dict:
        seconds = time.perf_counter() - self._began if self._began is not None else 0.0
        return {"position": self._fields["position"], "at": time.time(), "seconds": round(seconds, 6)}
