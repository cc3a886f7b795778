"""The allow-list against the Haystack that is installed: no class or parameter in it is made up."""

import importlib
import inspect
import pkgutil

import pytest

from workflows.engine import allowed


@pytest.fixture(scope="module")
def core_components():
    import haystack.components
    from haystack.core.component import component

    for module in pkgutil.walk_packages(haystack.components.__path__, "haystack.components."):
        importlib.import_module(module.name)
    return {name for name in component.registry if name.startswith("haystack.components.")}


def class_of(name: str) -> type:
    module, _, short = name.rpartition(".")
    return getattr(importlib.import_module(module), short)


@pytest.mark.parametrize("name", [*allowed.COMPONENTS, *allowed.PARTS, *allowed.REFUSED, allowed.TOOL])
def test_each_class_is_named_by_the_module_that_defines_it(name):
    assert class_of(name).__module__ == name.rpartition(".")[0]


@pytest.mark.parametrize("name", [*allowed.COMPONENTS, *allowed.PARTS])
def test_each_parameter_exists(name):
    known = allowed.COMPONENTS.get(name, allowed.PARTS.get(name))
    signature = inspect.signature(class_of(name).__init__).parameters

    assert (known or set()) <= signature.keys()


def test_every_core_component_is_either_allowed_or_refused_with_a_reason(core_components):
    assert core_components == {
        name for name in (*allowed.COMPONENTS, *allowed.REFUSED) if name.startswith("haystack.components.")
    }


def test_what_moved_is_no_longer_in_the_core(core_components):
    assert not {name.rpartition(".")[2] for name in core_components} & allowed.MOVED.keys()


@pytest.mark.parametrize("name", sorted(name for name in allowed.TYPE_NAMES if name.startswith("haystack.")))
def test_each_type_name_is_a_class_and_never_a_function(name):
    assert inspect.isclass(class_of(name))
