"""Options that several commands have, and what is made of those that say what an object is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from google.protobuf.message import Message

from cli import names

Function = TypeVar("Function", bound=Callable[..., Any])


def options(*decorators: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Several options as one decorator; `--help` has them in this order."""

    def decorate(function: Function) -> Function:
        for option in reversed(decorators):
            function = option(function)
        return function

    return decorate


wait = click.option("--wait", is_flag=True, help="Wait until it is live or in error, at most --timeout.")
of_network = click.option("--network", default="", type=names.NETWORKS, help="Only what is of this network.")
of_gateway = click.option("--gateway", default="", type=names.VPN_GATEWAYS, help="Only what is of this gateway.")
of_tenant = click.option("--tenant", default="", help="Only what is of this tenant.")


def fill(message: Message, given: Mapping[str, Any], fields: Mapping[str, str]) -> list[str]:
    """Set the fields of the options given (option, as click names it → field), and return their names.

    An option that may be repeated is a list, in which '' is nothing. Raises
    click.UsageError for a number the field cannot hold; what is allowed in it,
    the API says.
    """
    paths = []
    for option, field in fields.items():
        value = given[option]
        if value is None or value == ():
            continue
        if isinstance(value, tuple):
            getattr(message, field).extend(filter(None, value))
        else:
            try:
                setattr(message, field, value)
            except ValueError:
                raise click.UsageError(f"--{option.replace('_', '-')}: {value} is out of range") from None
        paths.append(field)
    return paths
