#!/usr/bin/env python3
"""Writes manual pages and completions into a folder laid out as /usr/share: `make deb` calls it.

    generate_manual.py FOLDER

Pages of commands come from the commands' own help, the page of the
configuration from the comments of deploy/sluice.toml, so that none of them says
what the program does not.
"""

from __future__ import annotations

import gzip
import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "proto"), str(ROOT / "deploy")]

from build_package import commands  # noqa: E402

from cli.completion import script  # noqa: E402

COMPLETIONS = {
    "bash": "bash-completion/completions/sluicectl",
    "zsh": "zsh/vendor-completions/_sluicectl",
    "fish": "fish/vendor_completions.d/sluicectl.fish",
}
# The console script of sluicectl is a function around its click command.
_CLICK = {"sluicectl": ("cli.main", "sluicectl")}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the configuration: where it is, its example or default, and what it means."""

    section: str
    name: str
    value: str
    meaning: str


def settings(text: str) -> list[Setting]:
    """The settings of a configuration file by its comments, which stand before each."""
    found: list[Setting] = []
    section, comment = "", []
    for line in text.splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section, comment = match[1], []
        elif match := re.fullmatch(r"(?:# )?(\w+) = (.*)", line):
            # Several settings may share the comment before the first of them.
            shared = found[-1].meaning if found and found[-1].section == section else ""
            found.append(Setting(section, match[1], match[2], " ".join(comment) or shared))
            comment = []
        elif line.startswith("# "):
            comment.append(line[2:])
    return found


def command(name: str) -> click.Command:
    """The click command behind a console script."""
    module, function = _CLICK.get(name) or commands()[name].split(":")
    found: click.Command = getattr(importlib.import_module(module), function)
    return found


def escape(text: str) -> str:
    """Text as roff has it (groff(7))."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of a help text, each a line; click's mark for 'as it stands' is left out."""
    for block in re.split(r"\n\s*\n", text.replace("\b\n", "").strip()):
        yield ".PP"
        yield escape(" ".join(block.split()))


def options(context: click.Context) -> Iterator[str]:
    """Each argument and option with its help."""
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record:
            yield ".TP"
            yield f"\\fB{escape(record[0])}\\fR"
            yield escape(" ".join(record[1].split()) or " ")


def described(context: click.Context) -> Iterator[str]:
    """What a command does, with which options, and its epilog."""
    usage = " ".join(context.command.collect_usage_pieces(context))
    yield ".PP"
    yield f"\\fB{escape(context.command_path)}\\fR {escape(usage)}"
    yield from paragraphs(context.command.help or "")
    yield from options(context)
    if context.command.epilog:
        yield from paragraphs(context.command.epilog)


def subcommands(context: click.Context) -> Iterator[str]:
    """Every command below this one, depth first."""
    if not isinstance(context.command, click.Group):
        return
    for name in context.command.list_commands(context):
        found = context.command.get_command(context, name)
        if found is None or found.hidden:
            continue
        below = click.Context(found, info_name=name, parent=context)
        yield f".SS {escape(below.command_path)}"
        yield from described(below)
        yield from subcommands(below)


def command_page(name: str) -> str:
    """The manual page of a command, section 1 for sluicectl and 8 for daemons."""
    found = command(name)
    context = click.Context(found, info_name=name)
    first = (found.help or name).strip().split("\n\n")[0]
    lines = [
        title(name, section(name)),
        ".SH NAME",
        f"{escape(name)} \\- {escape(' '.join(first.split()).rstrip('.'))}",
    ]
    lines += [".SH DESCRIPTION", *described(context)]
    below = list(subcommands(context))
    if below:
        lines += [".SH COMMANDS", *below]
    lines += [".SH FILES", ".I /etc/sluice/sluice.toml", ".SH SEE ALSO"]
    others = [f"\\fB{escape(other)}\\fR({section(other)})" for other in commands() if other != name]
    return "\n".join([*lines, ", ".join([*others, "\\fBsluice.toml\\fR(5)"]), ""])


def configuration_page() -> str:
    """sluice.toml(5)."""
    lines = [
        title("sluice.toml", 5),
        ".SH NAME",
        "sluice.toml \\- configuration of sluice\\-agent(8)",
        ".SH DESCRIPTION",
    ]
    lines += [
        "/etc/sluice/sluice.toml, in TOML, is read when the agent starts; \\fBsluice\\-agent \\-\\-config FILE"
        " \\-\\-check\\fR reports every mistake. Values here are the defaults, or examples where a setting is required."
    ]
    current = ""
    for one in settings((ROOT / "deploy" / "sluice.toml").read_text()):
        if one.section != current:
            current = one.section
            lines.append(f".SH [{current}]")
        lines += [".TP", f"\\fB{escape(one.name)}\\fR = {escape(one.value)}", escape(one.meaning)]
    return "\n".join([*lines, ".SH SEE ALSO", "\\fBsluice\\-agent\\fR(8), \\fBsluicectl\\fR(1)", ""])


def section(name: str) -> int:
    """The section of the manual a command belongs to."""
    return 1 if name == "sluicectl" else 8


def title(name: str, number: int) -> str:
    """The first line of a page."""
    return f'.TH "{name.upper()}" "{number}" "" "Sluice" "Sluice manual"'


def main() -> None:
    """Write all of them."""
    share = Path(sys.argv[1])
    pages = {f"man{section(name)}/{name}.{section(name)}": command_page(name) for name in commands()}
    pages["man5/sluice.toml.5"] = configuration_page()
    for name, text in pages.items():
        file = share / "man" / f"{name}.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(text.encode(), mtime=0))
    for shell, name in COMPLETIONS.items():
        file = share / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script(command("sluicectl"), shell))


if __name__ == "__main__":
    main()
