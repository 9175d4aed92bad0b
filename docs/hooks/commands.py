"""The page of commands, from the command line itself: every command with its help and options."""

from typing import Any

PAGE = "reference/commands.md"
PROGRAM = "restor-interp"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    if page.file.src_uri != PAGE:
        return markdown
    import typer

    from restor_interp.cli import app

    sections = [
        _section(words, command) for words, command in _commands(typer.main.get_command(app))
    ]
    return "\n\n".join([markdown, *sections])


def _commands(command: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every command that does something, by its words after the program's name."""
    if not hasattr(command, "commands"):
        return [(words, command)]
    return [
        found for name, sub in command.commands.items() for found in _commands(sub, (*words, name))
    ]


def _section(words: tuple[str, ...], command: Any) -> str:
    told = f"{command.help or ''}\n\n{command.epilog or ''}"
    text, _, examples = told.partition("Example:")
    lines = [f"## {' '.join(words)}", " ".join(text.split("\n\n")[0].split())]
    lines += [" ".join(part.split()) for part in text.split("\n\n")[1:] if part.strip()]
    arguments = " ".join(
        parameter.name.upper()
        for parameter in command.params
        if parameter.param_type_name == "argument"
    )
    usage = " ".join(part for part in (PROGRAM, *words, arguments) if part)
    shown = [usage, *(" ".join(one.split()) for one in examples.split("Example:") if one.strip())]
    lines.append("``` text\n" + "\n".join(shown) + "\n```")
    rows = [
        f"| `{', '.join(parameter.opts)}` | {_escaped(parameter.help or '')} |"
        for parameter in command.params
        if parameter.param_type_name == "option"
    ]
    rows += [
        f"| {parameter.name.upper()} | {_escaped(parameter.help or '')} |"
        for parameter in command.params
        if parameter.param_type_name == "argument" and getattr(parameter, "help", None)
    ]
    if rows:
        lines.append("\n".join(["| | |", "| --- | --- |", *rows]))
    return "\n\n".join(lines)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
