"""From YAML to a Haystack pipeline, under Haystack's own allow-list, the operator's, and two patches.

This is the second net. The first is `workflows.engine.policy`, which has read the YAML before it came here.
"""

import datetime
import types
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

import haystack.utils.callable_serialization as callables
import haystack.utils.jinja2_sandbox as templates
import jinja2.runtime
import jinja2.sandbox
import yaml
from haystack import Pipeline
from haystack.core.serialization import DeserializationCallbacks

_HAYSTACKS_KEYS = ("components", "connections", "metadata", "max_runs_per_component", "connection_type_validation")
TRUSTED_ROOTS = ("haystack", "haystack_integrations", "haystack_experimental")
_PLAIN_VALUES = (
    str, bytes, int, float, bool, list, tuple, dict, set, frozenset, types.NoneType,
    datetime.date, datetime.time, datetime.timedelta,
)  # fmt: skip
_JINJAS_OWN = (jinja2.runtime.Macro, jinja2.runtime.LoopContext)


class ComponentNotAllowed(Exception):
    """The policy doesn't have this class."""


class BadYAML(Exception):
    """The text isn't a pipeline's YAML."""


@cache
def harden() -> None:
    """Close two doors of Haystack's, in this process.

    A template may call methods of plain values and what Jinja itself provides, but none of a document, a path or a
    byte stream: those read and write files. And no name in YAML becomes a function, whatever module it is in: among
    those that Haystack allows are some that evaluate their arguments.
    """
    stock = templates.HaystackSandboxedEnvironment.is_safe_callable

    def is_safe_callable(self, called: Any) -> bool:
        module = getattr(called, "__module__", None) or ""
        plain = isinstance(called, types.BuiltinMethodType) and isinstance(called.__self__, _PLAIN_VALUES)
        provided = isinstance(called, _JINJAS_OWN) or called is range or called is dict
        provided = provided or getattr(called, "__globals__", None) is vars(jinja2.sandbox)  # "{}".format, made safe
        from_jinja = module.partition(".")[0] == "jinja2" or module.startswith("haystack.utils.jinja2")
        return (plain or provided or from_jinja) and stock(self, called)

    templates.HaystackSandboxedEnvironment.is_safe_callable = is_safe_callable
    callables._is_module_allowed = lambda module: False


def parse(text: str) -> dict:
    """The part of the YAML that is Haystack's; the rest (`inputs`, `outputs`, `workflow`) is left out."""
    try:
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise BadYAML(f"This is not YAML: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(found, dict) or not isinstance(found.get("components"), dict):
        raise BadYAML("A pipeline needs a mapping of components.")
    return {key: found[key] for key in _HAYSTACKS_KEYS if key in found}


class Loader:
    """Builds pipelines and single components, out of the classes that the policy allows."""

    def __init__(self, components: Collection[str]):
        harden()
        self._allowed = frozenset(components)
        modules = {name.rpartition(".")[0] for name in components}
        self._modules = sorted(name for name in modules if name.partition(".")[0] not in TRUSTED_ROOTS)

    def pipeline(self, data: dict) -> Pipeline:
        for component in data["components"].values():
            if isinstance(component, dict) and isinstance(component.get("type"), str):
                self._check(component["type"])  # before its module is imported
        return Pipeline.from_dict(
            data,
            callbacks=DeserializationCallbacks(component_pre_init=self._veto),
            allowed_modules=self._modules,
        )

    def component(self, name: str, data: dict) -> Any:
        """One component alone, not yet part of any pipeline."""
        return self.pipeline({"components": {name: data}}).remove_component(name)

    def _veto(self, name: str, cls: type, parameters: dict) -> None:
        self._check(f"{cls.__module__}.{cls.__qualname__}")

    def _check(self, path: str) -> None:
        if path not in self._allowed:
            raise ComponentNotAllowed(f"{path} is not among the components that pipelines may use.")


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it came from, each once, members of groups included."""
    waiting, seen = [error], set()
    while waiting:
        found = waiting.pop(0)
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting += [found.__cause__, found.__context__]
        if isinstance(found, BaseExceptionGroup):
            waiting += found.exceptions
