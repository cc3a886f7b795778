"""Every component that is installed: what it is for, what it is built with, what goes in and what comes out."""

import contextlib
import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator
from typing import Any, get_type_hints

import docstring_parser
import haystack
import haystack.components
from haystack.core.component import component
from haystack.core.component.types import InputSocket
from haystack.lazy_imports import LazyImport

from workflows.engine.runner import failures, socket_types
from workflows.engine.runner.serialization import NotJSON, to_json

OURS = ("workflows.documents.store", "workflows.documents.retrievers")
_EVERYTHING_ELSE = (
    "haystack.document_stores.in_memory", "haystack.document_stores.types", "haystack.tools", "haystack.hooks",
    "haystack.human_in_the_loop", "haystack.skill_stores",
)  # fmt: skip


def import_all() -> Iterator[str]:
    """Import every component that can be imported, one at each step; one that can't is not in the catalog."""
    for name in _modules():
        # A component of an integration may do anything at import, and fail in any way when its package is half there.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
        yield name


def catalog() -> dict:
    """All components by their type, the name that YAML calls them by."""
    return {
        "haystack_version": haystack.__version__,
        "components": {path: _entry(path, cls) for path, cls in sorted(component.registry.items())},
    }


def _modules() -> Iterator[str]:
    yield from _EVERYTHING_ELSE
    yield from OURS
    for found in pkgutil.walk_packages(haystack.components.__path__, "haystack.components."):
        yield found.name
    try:
        integrations = importlib.import_module("haystack_integrations")
    except ImportError:
        return
    for root in integrations.__path__:  # a namespace without __init__.py, in which walk_packages finds nothing
        for folder, _, files in os.walk(root):
            for file in sorted(files):
                if file.endswith(".py"):
                    path = os.path.relpath(os.path.join(folder, file), os.path.dirname(root))
                    yield path.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")


def _entry(path: str, cls: type) -> dict:
    docs = _docs(cls)
    instance, available, reason = _tried(cls)
    entry = {
        "type": path,
        "module": cls.__module__,
        "name": cls.__name__,
        "docs": inspect.getdoc(cls) or "",
        "summary": docs.short_description or "",
        "init_parameters": list(_init_parameters(cls)),
        "inputs": list(_inputs(cls, instance)),
        "outputs": list(_outputs(cls, instance)),
        "available": available,
    }
    if reason:
        entry["unavailable_because"] = reason
    return entry


def _tried(cls: type) -> tuple[Any, bool, str]:
    """An instance where the class needs no parameters, whether what it depends on is there, and if not, why."""
    missing = [
        value
        for value in vars(inspect.getmodule(cls)).values()
        if isinstance(value, LazyImport) and value._deferred is not None
    ]
    if any(each.default is each.empty for each in _parameters(cls)):
        return None, not missing, failures.says(missing[0]._deferred[0]) if missing else ""
    try:
        return cls(), True, ""
    except ImportError as error:
        return None, False, failures.says(error).partition("\n")[0]
    except Exception:  # it wants parameters after all, or a file; that says nothing about its package
        return None, not missing, ""


def _docs(documented: Any) -> docstring_parser.Docstring:
    try:
        return docstring_parser.parse(inspect.getdoc(documented) or "")
    except Exception:  # a docstring is for people; what cannot be parsed is left out
        return docstring_parser.Docstring()


def _descriptions(function: Any) -> dict[str, str]:
    return {param.arg_name: " ".join((param.description or "").split()) for param in _docs(function).params}


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # a name that is only imported for type checkers
        return {}


def _init_parameters(cls: type) -> Iterator[dict]:
    descriptions, hints = {**_descriptions(cls), **_descriptions(cls.__init__)}, _hints(cls.__init__)
    for each in _parameters(cls):
        tp = hints.get(each.name, each.annotation)
        yield _described(each.name, tp, each.default is each.empty, each.default, descriptions)


def _parameters(cls: type) -> list[inspect.Parameter]:
    # Of the class itself it would be the signature of Haystack's metaclass, which takes anything.
    found = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return [each for each in found if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]


def _described(name: str, tp: Any, required: bool, default: Any, descriptions: dict[str, str]) -> dict:
    found = {
        "name": name,
        "type": socket_types.text(tp),
        "required": required,
        "description": descriptions.get(name, ""),
    }
    schema = socket_types.schema(tp)
    if schema != socket_types.NOTHING:
        found["schema"] = schema
    if not required:
        with contextlib.suppress(NotJSON):
            found["default"] = to_json(default, name)
    return found


def _inputs(cls: type, instance: Any) -> Iterator[dict]:
    descriptions = _descriptions(cls.run)
    if instance is not None:
        for socket in instance.__haystack_input__._sockets_dict.values():
            yield _described(socket.name, socket.type, socket.is_mandatory, socket.default_value, descriptions)
        return
    hints = _hints(cls.run)
    for each in list(inspect.signature(cls.run).parameters.values())[1:]:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            continue  # such a component makes its inputs out of its parameters
        required = each.default is each.empty
        tp = hints.get(each.name, each.annotation)
        tp = InputSocket(each.name, tp).type  # which takes the wrapping off a variadic one
        yield _described(each.name, tp, required, each.default, descriptions)


def _outputs(cls: type, instance: Any) -> Iterator[dict]:
    if instance is not None:
        sockets = instance.__haystack_output__._sockets_dict
    else:
        sockets = getattr(cls.run, "_output_types_cache", {})
    for name, socket in sockets.items():
        yield {"name": name, "type": socket_types.text(getattr(socket, "type", socket))}
