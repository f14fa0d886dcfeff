"""Flags that commands share: those from the fields of settings, and those about where to ask and what to look at.

Each field of a form of settings is declared once, with its unit, default and meaning: `migsched scheduler` and
`migsched agent` get a flag for each of them. `main` gives `add_cluster_flags` every command that asks the API.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main

if TYPE_CHECKING:  # slow to load, and not needed by the commands that only ask
    from pydantic.fields import FieldInfo
    from pydantic_settings import BaseSettings

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="Only the pods of this namespace.")
]
UNITS = {"_s": "SECONDS", "_mib": "MIB"}  # by what a field's name ends with


def of_fields(form: "type[BaseSettings]", **names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each field of a form, in place of its parameter `flags`.

    A flag is called as its field, or as `names` says. The command gets all of them as the mapping `flags`, with None
    for those that were not given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options = {
            field: inspect.Parameter(
                field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(field, info, names)
            )
            for field, info in form.model_fields.items()
        }

        def run(**given: Any) -> None:
            flags = {field: given.pop(field) for field in options}
            command(**given, flags=flags)

        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != "flags"
        ]
        parameters = [*own, *options.values()]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
        return run

    return decorate


def add_cluster_flags(command: Any, flags: Mapping[str, Any]) -> None:
    """Give a command that is made flags beside its parameters; what they say is in the context's `meta`.

    They are read before the command's own parameters, whose callbacks may look there.
    """

    def none(**_: Any) -> None:
        """The carrier of the flags."""

    none.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what typer reads
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for name, annotation in flags.items()
        ]
    )
    none.__annotations__ = dict(flags)
    carrier = typer.Typer(add_completion=False)
    carrier.command()(none)
    for option in typer.main.get_command(carrier).params:
        if option.name in flags:
            option.expose_value, option.is_eager, option.callback = False, True, _remember
            command.params.append(option)


def _remember(ctx: Any, parameter: Any, value: Any) -> Any:
    ctx.meta[parameter.name] = value
    return value


def default(form: "type[BaseSettings]", field: str) -> Any:
    """The default of a field, for a command that has a flag of its own for it."""
    return form.model_fields[field].default


def _annotation(field: str, info: "FieldInfo", names: Mapping[str, str]) -> Any:
    """What typer is told of a field: its type, and its option."""
    type_ = _without_none(info.annotation)
    unset = info.default is None or info.default is False or info.default == ""
    default = "" if unset else f" [dim]\\[default: {info.default}][/dim]"
    unit = next((unit for suffix, unit in UNITS.items() if field.endswith(suffix)), None)
    option = typer.Option(
        f"--{names.get(field, field).replace('_', '-')}", help=f"{info.description}{default}", metavar=unit
    )
    return Annotated[type_ | None, option]


def _without_none(annotation: Any) -> Any:
    """The type of an optional value."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    (type_,) = (argument for argument in typing.get_args(annotation) if argument is not types.NoneType)
    return type_
