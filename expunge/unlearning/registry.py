"""Name → method. A method is one file in `methods/`, named like the method, with one class and its hyper-parameters.

Adding a method takes two edits: its file, and its block in params.yaml. The loop, the pipeline, the benchmark and the
report find it by its name.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import TYPE_CHECKING, Any, get_type_hints

from expunge.project.schema import Block
from expunge.unlearning import methods
from expunge.unlearning.methods import METHODS

if TYPE_CHECKING:
    from expunge.unlearning.method import Descent, Edit, Rebuild


def parameters(name: str, values: dict[str, Any]) -> Block:
    """Validate the hyper-parameters of method `name`.

    Raises:
        ValueError: there is no such method (the message lists those there are), or pydantic refuses the values.
    """
    return parameters_class(name).model_validate(values)


def parameters_class(name: str) -> type[Block]:
    """The class of a method's hyper-parameters: the type of its attribute `params`."""
    return get_type_hints(method(name))["params"]


def method(name: str) -> type[Descent | Edit | Rebuild]:
    """The class of method `name`.

    Raises:
        ValueError: there is no such method; the message lists those there are.
    """
    from expunge.unlearning.method import Descent, Edit, Rebuild

    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; known are {', '.join(METHODS)}")
    module = import_module(f"{methods.__name__}.{name}")
    own = [thing for _, thing in inspect.getmembers(module, inspect.isclass) if thing.__module__ == module.__name__]
    [chosen] = [thing for thing in own if issubclass(thing, Descent | Edit | Rebuild)]
    return chosen
