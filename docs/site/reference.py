"""The reference pages of the site, from the code: commands with their options, public names with their docstrings."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

import bitface
from bitface.cli.app import app


def pages() -> dict[str, str]:
    """The name of each page → its text, Markdown."""
    return {"commands.md": commands(), "api.md": api()}


def commands() -> str:
    """Each command: what it does, its arguments and options, as `bitface COMMAND --help` has them."""
    lines = [
        "# Commands",
        "",
        "Every command says this itself: `bitface COMMAND --help`. A failure is one line on standard error.",
        "",
        "Exit codes: 0 done; 2 wrong use; 129, 130 and 143 ended by SIGHUP, Ctrl-C and SIGTERM; 1 any other failure.",
        "`verify`: 0 the same person, 1 another one, 3 it can't be told.",
    ]
    program = typer.main.get_command(app)
    for name, command in _commands(program, "bitface"):
        lines += ["", f"## {name}", "", _help(command), "", f"```text\n{_usage(name, command)}\n```"]
        for kind, rows in (("argument", "argument"), ("option", "option")):
            listed = [
                one for one in command.params if one.param_type_name == rows and not getattr(one, "hidden", False)
            ]
            if listed:
                lines += ["", f"| {kind} | |", "|---|---|", *map(_row, listed)]
    return "\n".join(lines) + "\n"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "hidden", False):
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _help(command: Any) -> str:
    """A command's docstring; its examples, which are marked so that no line is wrapped, as shell."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(command.help or ""))
    examples = [part.strip().lstrip("\b").strip() for part in paragraphs]
    return "\n\n".join(
        f"```sh\n{example}\n```" if example.startswith(("bitface ", "torchrun ")) else part
        for part, example in zip(paragraphs, examples, strict=True)
    )


def _usage(name: str, command: Any) -> str:
    words = [_word(one) for one in command.params if one.param_type_name == "argument"]
    return " ".join([name, *words, "[OPTIONS]"])


def _word(parameter: Any) -> str:
    """What stands for an argument, or for the value of an option."""
    word = str(parameter.metavar or parameter.name.strip("_").upper())
    return word if parameter.required or parameter.param_type_name == "option" else f"[{word}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        names = f"`{_word(parameter)}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
        names += "" if getattr(parameter, "is_flag", False) or not parameter.metavar else f" `{parameter.metavar}`"
    notes = [str(parameter.help or "").strip()]
    if parameter.required:
        notes.append("Needed.")
    elif parameter.default not in (None, False, (), []) and not callable(parameter.default):
        notes.append(f"Default: `{parameter.default}`.")
    text = " ".join(note for note in notes if note)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in (names, text)) + " |"


def api() -> str:
    """Each name of `bitface`: its signature and its docstring."""
    lines = [
        "# Every public name",
        "",
        "What `import bitface as bf` gives. How they belong together: [in Python](../api.md).",
    ]
    for name in sorted(bitface.__all__, key=str.lower):
        if name.startswith("__"):
            continue
        value = getattr(bitface, name)
        lines += ["", f"## bf.{name}", "", f"```python\n{_signature(name, value)}\n```", "", _docstring(value)]
        for method, function in _methods(value):
            lines += ["", f"### {name}.{method}", "", f"```python\n{_signature(method, function)}\n```"]
            lines += ["", _docstring(function)]
    return "\n".join(lines) + "\n"


def _methods(value: Any) -> Iterator[tuple[str, Any]]:
    if not inspect.isclass(value) or issubclass(value, Exception):
        return
    for name, function in vars(value).items():
        function = function.__func__ if isinstance(function, staticmethod | classmethod) else function
        if not name.startswith("_") and inspect.isfunction(function) and function.__doc__:
            yield name, function


def _signature(name: str, value: Any) -> str:
    try:
        text = f"{name}{inspect.signature(value)}"
    except (TypeError, ValueError):
        return name
    text = re.sub(r"<factory>", "…", re.sub(r"(?:[A-Za-z_]\w*\.)+([A-Za-z_]\w*)", r"\1", text))
    text = re.sub(r"Annotated\[(.*?), GetPydanticSchema\(.*?None\)\]", r"\1", text)  # how a file is read
    text = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", re.sub(r"ForwardRef\((.*?)\)", r"\1", text))
    return text if len(text) < 80 else _one_a_line(text)


def _one_a_line(signature: str) -> str:
    """A long signature with each parameter on a line of its own."""
    depth, begin, parts = 0, signature.index("(") + 1, []
    for place, character in enumerate(signature):
        depth += (character in "([{") - (character in ")]}")
        if (character == "," and depth == 1) or (character == ")" and depth == 0):
            parts.append(re.sub(r" = .{60,}$", " = …", signature[begin:place].strip()))  # settings of settings
            begin = place + 1
            if depth == 0:
                break
    return signature.partition("(")[0] + "(\n    " + ",\n    ".join(parts) + "\n)" + signature[begin:]


def _docstring(value: Any) -> str:
    """A docstring as Markdown: its sections (Args, Returns, Raises, …) as lists."""
    lines: list[str] = []
    section = False
    for line in (inspect.getdoc(value) or "").splitlines():
        if match := re.fullmatch(r"(Args|Attributes|Returns|Raises|Warns):", line):
            section = match[1] in ("Args", "Attributes", "Raises")
            lines += ["", f"**{match[1]}**", ""]
        elif section and (match := re.match(r" {4}(\w[\w, .*]*): ?(.*)", line)):
            names = ", ".join(f"`{one.strip()}`" for one in match[1].split(","))
            lines.append(f"- {names}: {match[2]}")
        elif section and line.startswith(" " * 4):
            lines.append(f"  {line.strip()}")
        else:
            section = section and not line.strip()
            lines.append(line.strip() if line.startswith("    ") and not line.startswith("    " * 2) else line)
    return textwrap.dedent("\n".join(lines)).replace("<", "&lt;")


if __name__ == "__main__":
    for name, text in pages().items():
        print(name, len(text))
