"""Groups of commands that import a command's module only when that command is asked for, so that each starts quickly.

A group's help names all of its commands and imports them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

PLACES: dict[str, dict[str, str]] = {
    "expunge": {
        "release": "releases:release",
        "status": "releases:status",
        "report": "releases:report",
        "compare": "compare:compare",
        "dag": "dag:dag",
        "search": "search:search",
        "trace": "trace:trace",
        "audit": "audit:audit",
        "examine": "examine:examine",
        "purge": "purge:purge",
        "verify": "verify:verify",
        "promote": "verify:promote",
        "init": "init:init",
        "doctor": "doctor:doctor",
        "repair": "repair:repair",
        "backup": "repair:backup",
        "restore": "repair:restore",
        "serve": "serve:serve",
        "subjects": "serve:subjects",
        "stages": "stages:stages",
        "fold": "stages:fold",
    },
    "request": {
        "add": "requests:add",
        "import": "requests:import_",
        "digest": "requests:digest",
        "list": "requests:list_",
        "show": "requests:show",
        "preview": "decisions:preview",
        "approve": "decisions:approve",
        "reject": "decisions:reject",
        "withdraw": "decisions:withdraw",
    },
    "certificate": {"show": "verify:show", "issue": "verify:issue", "new-key": "verify:new_key"},
}
"""Group → command → the module of `expunge.commands` and the function in it."""


class Commands(MutableMapping[str, Any]):
    """The commands of a group by name, each made when it is first looked up."""

    def __init__(self, places: Mapping[str, str], others: Mapping[str, Any]) -> None:
        self._places = dict(places)
        self._made: dict[str, Any] = dict(others)

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, _, function = self._places[name].partition(":")
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command(name)(getattr(import_module(f"expunge.commands.{module}"), function))
            self._made[name] = plain_flags(typer.main.get_command(single))
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        self._places.pop(name, None)
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._places, *self._made]))

    def __len__(self) -> int:
        return len({*self._places, *self._made})


class LazyGroup(TyperGroup):
    """The commands that `PLACES` has for the group's name, beside those that it was given.

    Flags are shown as flags, without the type of what they do not take.
    """

    places: Mapping[str, str] = {}

    def __init__(self, **about: Any) -> None:
        super().__init__(**about)
        self.commands = Commands(self.places, self.commands)

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _plain([command.get_help_option(ctx)])
        return command


def lazy(name: str) -> type[LazyGroup]:
    """The class of the group `name`."""
    return type(f"{name.capitalize()}Group", (LazyGroup,), {"places": PLACES[name]})


def plain_flags(command: Any) -> Any:
    """The command, its flags without a type."""
    _plain(command.params)
    return command


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_bool_flag", False):
            param.metavar = ""
    return params
