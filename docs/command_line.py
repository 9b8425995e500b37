"""Puts the options of every `dpseg` command into their page, as `--help` knows them."""

from __future__ import annotations

from html import escape
from typing import Any

import typer.main

from dpseg.cli import app

MARK = "<!-- commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark by all commands; mkdocs calls this for every page."""
    if MARK not in markdown:
        return markdown
    return markdown.replace(MARK, "\n\n".join(describe(typer.main.get_command(app), "dpseg")))


def describe(command: Any, name: str) -> list[str]:
    """Describe a command, or all commands of a group, in Markdown.

    Args:
        command: what typer makes of an application; with `commands` if it is a group.
        name: the words that call it.
    """
    if commands := getattr(command, "commands", None):
        return [part for one in commands for part in describe(commands[one], f"{name} {one}")]
    context = typer.Context(command)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    records = (parameter.get_help_record(context) for parameter in command.params)
    rows = [f"| `{record[0]}` | {plain(record[1])} |" for record in records if record]
    table = "\n".join(["| option | does |", "|---|---|", *rows])
    return [f"## {name}", plain(command.help or ""), f"```text\n{usage}\n```", table]


def plain(text: str) -> str:
    """Escape what Markdown or a table would take for its own."""
    return "".join(f"&#{ord(sign)};" if sign in "*_|[]" else sign for sign in escape(text))
