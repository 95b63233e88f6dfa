"""What a verb answers: a value that is told in words, or written as JSON, on standard output."""

from __future__ import annotations

import ctypes
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from foveal.cli.console import say, say_json
from foveal.cli.outcomes import Outcome, naming_missing_packages, outcome_of
from foveal.distributed import is_first_process
from foveal.text import counted, listed, without_nan

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_MAX_NAMES = 8
SCHEMA = "schema"
"""The key of a field's metadata that names the file of results which it shows."""

DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Say what would be read, written and replaced, and stop before anything is.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Write the result on the screen as one JSON document instead."),
]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a verb has done.

    Attributes:
        document: the result as a dataclass of plain values, of which a schema is published.
        tell: says the result in words, on standard output.
        outcome: how it ended, from which follows the exit code.
        then: what goes on after the result was told, such as a server.
    """

    document: DataclassInstance
    tell: Callable[[], None]
    outcome: Outcome = Outcome.DONE
    then: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a verb would do, which --dry-run asks for.

    Attributes:
        reads: files, folders and addresses of data that would be read.
        writes: files and folders that would be written; those that exist would be replaced.
        removes: what else would be removed, such as an earlier run's files.
        steps: what would be done, a sentence each.
    """

    reads: Sequence[Path | str] = ()
    writes: Sequence[Path] = ()
    removes: Sequence[Path] = ()
    steps: Sequence[str] = ()


def verb(
    name: str, *documents: type[DataclassInstance], examples: Sequence[str], version: int = 1
) -> Callable[[Callable[..., Answer | Plan]], Callable[..., None]]:
    """Make a command of a function that answers: it gets --json, and its answer is told.

    Standard output holds the result alone. With --json that is one document: of the result, of a
    plan, or of the error, whatever libraries print meanwhile.

    Args:
        name: what people type after `foveal`, such as 'data check'.
        documents: the kind of its result; or the kinds, of which it is one.
        examples: whole command lines, for the help.
        version: of its JSON; rises where a field goes or means something else.
    """

    def decorate(function: Callable[..., Answer | Plan]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        parameters = [
            each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for each in inspect.signature(function).parameters.values()
        ]
        parameters.append(
            inspect.Parameter(
                "as_json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=AsJson
            )
        )

        @wraps(function)
        def command(*, as_json: bool, **given: Any) -> None:
            head = {"verb": name, "schema_version": version}
            call = naming_missing_packages()(function)
            outcome = _answer_json(call, given, head) if as_json else _answer(call, given)
            if outcome.code:
                raise typer.Exit(outcome.code)

        command.__signature__ = inspect.Signature(parameters)  # pyrefly: ignore[missing-attribute]
        command.__annotations__ = {each.name: each.annotation for each in parameters}
        for attribute, value in (
            ("verb", name),
            ("documents", documents),
            ("examples", tuple(examples)),
            ("version", version),
        ):
            setattr(command, attribute, value)
        return command

    return decorate


def add_verb(app: typer.Typer, command: Callable[..., None], **options: Any) -> None:
    """Let an app have a command that `verb` made, with its examples at the end of the help.

    Args:
        app: of all commands, or of a group of them.
        command: as `verb` made it.
        options: of `typer.Typer.command`.
    """
    made: Any = command
    epilog = "\n\n".join(("Examples:", *made.examples))
    text = _without_line_breaks(inspect.getdoc(command) or "")
    app.command(made.verb.rpartition(" ")[2], help=text, epilog=epilog, **options)(command)


def _without_line_breaks(text: str) -> str:
    """Paragraphs of one line each, which the terminal breaks at its own width.

    Typer keeps the line breaks of all paragraphs but the first: those of the source, which are
    longer than most terminals.
    """
    return "\n\n".join(" ".join(each.split()) for each in text.split("\n\n"))


def _answer(function: Callable[..., Answer | Plan], given: dict[str, Any]) -> Outcome:
    answer = function(**given)
    if isinstance(answer, Plan):
        if is_first_process():
            _tell_plan(answer)
        return Outcome.DONE
    if is_first_process():
        answer.tell()
    if answer.then is not None:
        answer.then()
    return answer.outcome


def _answer_json(
    function: Callable[..., Answer | Plan], given: dict[str, Any], head: dict[str, Any]
) -> Outcome:
    with _only_documents() as write:
        try:
            answer = function(**given)
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, typer.Exit):
                said = {"kind": type(error).__name__, "message": str(error)}
                write({**head, "outcome": outcome_of(error).word, "error": said})
            raise
        outcome = Outcome.DONE if isinstance(answer, Plan) else answer.outcome
        if isinstance(answer, Plan):
            content: dict[str, Any] = {"dry_run": True, **_plan_values(answer)}
        else:
            content = asdict(answer.document)
        write({**head, "outcome": outcome.word, **_plain(content)})
        if isinstance(answer, Answer) and answer.then is not None:
            answer.then()
    return outcome


@contextmanager
def _only_documents() -> Iterator[Callable[[dict[str, Any]], None]]:
    """Let what anybody prints go to standard error; gives what writes a document to the output.

    Libraries written in C print past Python: so the file descriptor is turned too.
    """
    output = sys.stdout
    with suppress(AttributeError):
        output.flush()
    output_copy: int | None = None
    with suppress(OSError):  # a descriptor that is closed needs no turning
        output_copy = os.dup(1)
        os.dup2(2, 1)
    own = output_copy is not None and _descriptor(output) == 1
    sys.stdout = sys.stderr

    def write(document: dict[str, Any]) -> None:
        if not is_first_process():
            return
        if not own:
            sys.stdout = output
            say_json(document)
            sys.stdout = sys.stderr
            return
        assert output_copy is not None
        with os.fdopen(
            output_copy, "w", encoding=output.encoding, errors=output.errors, closefd=False
        ) as stream:
            sys.stdout = stream
            say_json(document)
            sys.stdout = sys.stderr

    try:
        yield write
    finally:
        sys.stdout = output
        if output_copy is not None:
            _flush_libraries()
            os.dup2(output_copy, 1)
            os.close(output_copy)


def _descriptor(stream: Any) -> int | None:
    try:
        number = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return None
    return number if isinstance(number, int) else None


def _flush_libraries() -> None:
    """Let C's own buffer go where it was meant to, before the descriptor is turned back."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)


def _plain(value: Any) -> Any:
    """The values as JSON has them: paths and choices as texts, null for what is undefined."""

    def walk(part: Any) -> Any:
        if isinstance(part, dict):
            return {str(name): walk(each) for name, each in part.items()}
        if isinstance(part, (list, tuple)):
            return [walk(each) for each in part]
        if isinstance(part, Enum):
            return walk(part.value)
        return str(part) if isinstance(part, Path) else part

    return without_nan(walk(value))


def _plan_values(plan: Plan) -> dict[str, Any]:
    return {
        "reads": [str(each) for each in plan.reads],
        "writes": [str(each) for each in plan.writes],
        "replaces": [str(each) for each in _replaced(plan)],
        "removes": [str(each) for each in plan.removes],
        "steps": list(plan.steps),
    }


def _replaced(plan: Plan) -> list[Path]:
    """What would be written and is there already; folders are written into and not replaced."""
    return [each for each in plan.writes if each.is_file() or each.is_symlink()]


def _tell_plan(plan: Plan) -> None:
    say("Nothing is done (--dry-run). It would:")
    for step in plan.steps:
        say(f"  {step}")
    for word, paths in (
        ("read", plan.reads),
        ("write", plan.writes),
        ("replace", _replaced(plan)),
        ("remove", plan.removes),
    ):
        if paths:
            names = [str(each) for each in paths]
            many = f" ({counted(len(names), 'path')})" if len(names) > _MAX_NAMES else ""
            say(f"  {word}{many}: {listed(names, _MAX_NAMES, longest=200)}")
