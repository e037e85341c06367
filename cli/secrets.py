"""Secrets from files, stdin or a hidden prompt: never from arguments."""

from __future__ import annotations

import sys

import click

STDIN = "-"


def line_of(option: str, file: str, what: str) -> str:
    """The secret in `file` without the end of its line; `-` is stdin, asked for without echo on a terminal.

    `what` is the prompt. Raises click.UsageError naming the `option`.
    """
    if file == STDIN and sys.stdin.isatty():
        return prompted(what)
    return text_of(option, file).removesuffix("\n").removesuffix("\r")


def prompted(what: str) -> str:
    """A secret asked for twice on the terminal, without echo; `what` is the prompt."""
    secret: str = click.prompt(what, hide_input=True, confirmation_prompt="Once more", err=True)
    return secret


def text_of(option: str, file: str) -> str:
    """The text of `file`; `-` is stdin. Raises click.UsageError naming the `option`, not what was read."""
    try:
        with click.open_file(file, encoding="utf-8") as source:
            text: str = source.read()
    except UnicodeDecodeError:
        # Said without its reason, which quotes what was read.
        raise click.UsageError(f"{option}: {file} is not text in UTF-8") from None
    except OSError as error:
        raise click.UsageError(f"{option}: {file}: {error.strerror}") from error
    return text
