"""Probes, analyses, reports and methods as files: one decorated function each, loaded by path.

    probe      what can be read?   f(activations, facts, *, …settings) -> ProbeResult
    analysis   what happens if?    f(model, prompt, fact, *, states, true, false, …settings)
                                   -> AnalysisResult
    report     how is it told?     f(results, *, …settings) -> reporting.parts.Document
    method     how to unlearn?     f(logits, targets, *, …settings) -> LossOut
                                   (`stages.methods.own`; it becomes a Method, not a Definition)

Settings are keyword-only and have defaults. An analysis may also take what is `OFFERED`. A
decorator turns the function into a `Definition` and does nothing else: there is no registry, so
nothing can be overwritten. Results are recorded under the definition's name with its parameters
and the hash of its source.
"""

import ast
import hashlib
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from restor_interp.errors import ConfigError, RestorError, unknown_name
from restor_interp.signatures import check_default, keywords_of, page_of, source_hash, source_of

if TYPE_CHECKING:
    from restor_interp.stages.methods import Method

Kind = Literal["probe", "analysis", "report"]

FOLDERS: Mapping[Kind, str] = {"probe": "probes", "analysis": "analyses", "report": "reports"}
"""Kind -> the name of its gallery folder."""

SIGNATURES: Mapping[Kind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "probe": (("activations", "facts"), ()),
    "analysis": (("model", "prompt", "fact"), ("states", "true", "false")),
    "report": (("results",), ()),
}
"""Kind -> the names of its positional arguments, and of the keywords that it is always given."""

OFFERED: Mapping[Kind, tuple[str, ...]] = {
    "analysis": (
        *("substitute", "others", "candidates", "other_contexts", "other_facts", "role"),
        *("traced", "tuned_lens", "shared"),
    )
}
"""Kind -> keywords that it is given if it names them, with or without a default.

    substitute      another entity's name of the same kind and token length, for whom the true
                    object is not true; None where there is none
    others          several such names, `substitute` first
    candidates      objects of the fact's type, each a tuple of spellings: true, false, others
    other_contexts  the same question after other few-shot examples
    other_facts     questions about other entities: (prompt, true, false) each
    role            of the fact (`design` §2); an analysis that names it looks at as many untouched
                    facts as others, and can compare them
    traced          whether the other analyses look at this fact in this state, too
    tuned_lens      the lens that the run fitted on the clean state
    shared          a dict of the fact, empty at first, that it finds again in the next state: for
                    what is the same in all of them, such as numbers of the clean model
"""

PROBE_COLUMNS = ("state", "fitted_on", "layer", "position", "metric", "value", "control")
PROBE_COLUMNS += ("control_value", "n")


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a probe found: rows of the table `probes`.

    A row has `state` (whose activations were read), `fitted_on` (whose the probe was fitted
    on), `layer`, `position`, `metric`, `value`, `control` (which one), `control_value` and `n`
    (examples scored), and may have more. The run adds the probe's name and the seed. A value
    that could not be measured is NaN or None, and its row says why under `reason`.
    """

    rows: Sequence[Mapping[str, Any]]

    def __post_init__(self):
        for number, row in enumerate(self.rows):
            missing = [name for name in PROBE_COLUMNS if name not in row]
            if missing:
                raise ConfigError(
                    f"row {number} of a probe's result lacks {', '.join(missing)}; "
                    f"it has {', '.join(row)}"
                )
            if _is_missing(row["value"]) and not row.get("reason"):
                raise ConfigError(
                    f"row {number} of a probe's result has the value {row['value']!r} for "
                    f"{row['metric']} in state {row['state']!r}, layer {row['layer']}, without a "
                    "`reason`: give a number, or say why there is none"
                )


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """What an analysis found about one prompt: rows for a table, and more if it is wanted.

    The columns of the tables of a run are fixed (`lens`, `traces`, …), more may be added; a new
    table's name is free. The run adds the seed, and `fact_id` and `context_id` where rows have
    none.
    """

    table: str
    rows: Sequence[Mapping[str, Any]]
    tensors: Mapping[str, np.ndarray] = field(default_factory=dict)
    further: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """Rows of further tables, by the table's name."""

    def __post_init__(self):
        for table in (self.table, *self.further):
            if not table.isidentifier():
                raise ConfigError(f"a table's name is a word such as 'traces', found {table!r}")
        for name, tensor in self.tensors.items():
            if not isinstance(tensor, np.ndarray):
                kind = type(tensor).__name__
                raise ConfigError(f"the tensor {name!r} is a {kind}; give a numpy array")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One question, asked by one function: what it is called, what it takes, where it stands."""

    kind: Kind
    name: str
    run: Callable[..., Any]
    """The function itself."""
    parameters: Mapping[str, Any]
    """Settings and their defaults."""
    given: tuple[str, ...]
    """Keywords that whoever runs it fills in: those of `SIGNATURES`, and the `OFFERED` it names."""
    source_hash: str
    """Hash of the text of its file, 16 hex characters: a changed file gives a changed result."""
    doc: str
    path: Path | None
    """Its file; none for a function typed into a session."""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return self.doc.partition("\n")[0]

    def settings(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults with some of them replaced. Raises `ConfigError` for an unknown name."""
        for name in overrides:
            if name not in self.parameters:
                raise unknown_name(f"setting of the {self.kind} {self.name}", name, self.parameters)
        return {**self.parameters, **overrides}


def probe(function: Callable[..., ProbeResult]) -> Definition:
    """Define a probe: `f(activations, facts, *, settings…) -> ProbeResult`."""
    return _define("probe", function)


def analysis(function: Callable[..., AnalysisResult]) -> Definition:
    """Define an analysis: `f(model, prompt, fact, *, states, true, false, settings…)`."""
    return _define("analysis", function)


def report(function: Callable[..., Any]) -> Definition:
    """Define a report: `f(results, *, settings…) -> restor_interp.reporting.parts.Document`."""
    return _define("report", function)


def load_definitions(
    source: str | Path | Iterable[str | Path],
    *,
    on_error: Callable[[RestorError], None] | None = None,
) -> list[Definition]:
    """The definitions in a file, in a folder, or in several of them.

    Of a folder, those files are executed that have a function decorated with `@probe`,
    `@analysis` or `@report`; other scripts that lie there are left alone.

    Args:
        on_error: is told of each file that cannot be loaded, and the others are loaded all the
            same. Without it the first such file raises.

    Raises:
        ConfigError: a path that does not exist, a file that cannot be imported, a function of the
            wrong signature, two definitions of one kind and name (both files are named).
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    found: dict[tuple[Kind, str], Definition] = {}
    loaded: set[Path] = set()
    for entry in sources:
        for path in _files(Path(entry), on_error):
            if path in loaded:
                continue
            loaded.add(path)
            try:
                for definition in _load_file(path):
                    key = (definition.kind, definition.name)
                    if key in found:
                        raise ConfigError(
                            f"two definitions are called {definition.kind} {definition.name!r}: "
                            f"{found[key].path} and {path}; rename one of the functions"
                        )
                    found[key] = definition
            except RestorError as error:
                if on_error is None:
                    raise
                on_error(error)
    return list(found.values())


def find_definition(kind: Kind, name: str) -> Definition:
    """A definition by its name (in the galleries of the current folder, then ours) or its file.

    Raises `ConfigError` for one that does not exist, or whose file cannot be loaded.
    """
    if name.endswith(".py"):
        own = [definition for definition in load_definitions(name) if definition.kind == kind]
        if len(own) == 1:
            return own[0]
        raise ConfigError(
            f"{name} defines {len(own)} functions with @{kind}; name a file that defines one"
        )
    problems: list[RestorError] = []
    known: set[str] = set()
    for folder in gallery_folders():
        for definition in load_definitions(folder, on_error=problems.append):
            if (definition.kind, definition.name) == (kind, name):
                return definition
            known |= {definition.name} if definition.kind == kind else set()
    if problems:
        raise problems[0]
    raise unknown_name(kind, name, known)


def find_method(name: str | Path) -> "Method":
    """An unlearning method by its name, or by the path of a `.py` file that defines one.

    The file has one function decorated with `@method`. Raises `ConfigError` for a name that does
    not exist (with the nearest ones), and for a file that is absent, cannot be loaded, or does not
    define exactly one method.
    """
    # Not at the top of the file: who looks for a probe does not wait for torch.
    from restor_interp.stages.methods import METHODS
    from restor_interp.stages.methods import Method as MethodType

    name = str(name)
    if name in METHODS:
        return METHODS[name]
    if not name.endswith(".py"):
        raise unknown_name("method", name, METHODS)
    path = Path(name).resolve()
    if not path.is_file():
        raise ConfigError(
            f"there is no file {name}; a method is one of {', '.join(METHODS)}, or a .py file with "
            "one function decorated with @method"
        )
    own = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    found = {
        value.name: value
        for value in vars(_executed(path)).values()
        if isinstance(value, MethodType) and value.source_hash == own
    }
    if len(found) != 1:
        names = f" ({', '.join(found)})" if found else ""
        raise ConfigError(
            f"{name} defines {len(found)} methods{names}: decorate one function with @method, and "
            "give each method a file of its own"
        )
    return next(iter(found.values()))


def gallery_folders() -> list[Path]:
    """Where definitions are looked for: the galleries of the current folder, then ours.

    Ours lie beside the package in a checkout, and inside it in an installed wheel.
    """
    package = Path(__file__).resolve().parent
    project = package.parent / "pyproject.toml"
    in_checkout = project.is_file() and 'name = "restor-interp"' in project.read_text("utf-8")
    homes = [Path.cwd(), package.parent if in_checkout else package / "_galleries"]
    folders = [(home / name).resolve() for home in homes for name in FOLDERS.values()]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _define(kind: Kind, function: Callable[..., Any]) -> Definition:
    parameters, given = _settings_of(kind, function)
    path, source = source_of(function)
    return Definition(
        kind=kind,
        name=function.__name__,
        run=function,
        parameters=parameters,
        given=given,
        source_hash=source_hash(source),
        doc=page_of(function, path),
        path=path,
    )


def _settings_of(
    kind: Kind, function: Callable[..., Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The function's settings and the keywords it is given, after its signature was checked."""
    positional, given = SIGNATURES[kind]
    expected = f"{function.__name__}({', '.join([*positional, '*', *given])}, …settings=default)"

    def refuse(reason: str) -> ConfigError:
        return ConfigError(
            f"the {kind} {function.__name__}{inspect.signature(function)} {reason}; "
            f"a {kind} is {expected}"
        )

    keywords = keywords_of(function, positional=positional, given=given, refuse=refuse)
    given += tuple(name for name in OFFERED.get(kind, ()) if name in keywords)
    settings = {name: p for name, p in keywords.items() if name not in given}
    for parameter in settings.values():
        check_default(parameter, refuse)
    return {name: parameter.default for name, parameter in settings.items()}, given


def _files(source: Path, on_error: Callable[[RestorError], None] | None) -> list[Path]:
    """The files to execute; a file given by name is one, whatever is in it."""
    if source.is_file():
        return [source.resolve()]
    if not source.is_dir():
        raise ConfigError(
            f"there is no file or folder {source}; definitions are .py files, looked for in "
            f"{', '.join(str(folder) for folder in gallery_folders())}"
        )
    files = []
    for path in sorted(source.resolve().glob("*.py")):
        text = path.read_text("utf-8", errors="replace")
        try:
            declares = _declares_definition(text)
        except SyntaxError as error:
            if "restor_interp" in text:
                problem = ConfigError(f"{path}:{error.lineno}: {error.msg}")
                if on_error is None:
                    raise problem from None
                on_error(problem)
        else:
            files += [path] if declares else []
    return files


def _declares_definition(text: str) -> bool:
    decorators = (
        decorator
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
    )
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in decorators}
    return bool(names & set(FOLDERS))


def _load_file(path: Path) -> list[Definition]:
    """The definitions among the attributes of a file."""
    module = _executed(path)
    found = {id(value): value for value in vars(module).values() if isinstance(value, Definition)}
    own = [definition for definition in found.values() if definition.path == path]
    if not own:
        raise ConfigError(
            f"{path} defines nothing: decorate a function with @probe, @analysis or @report"
        )
    return own


def _executed(path: Path) -> ModuleType:
    """A file imported under a private name."""
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"_restor_interp_definitions_{place}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    # Dataclasses with postponed annotations look their module up here while it is executed.
    sys.modules[name] = module
    try:
        # Not through a loader: it would run stale bytecode after an edit within the same second.
        exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), vars(module))
    except (Exception, SystemExit) as error:  # a stranger's file may raise anything at all
        del sys.modules[name]
        raise ConfigError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}{_line_of(error, path)}"
        ) from error
    return module


def _line_of(error: BaseException, path: Path) -> str:
    """Where in the file it went wrong, for the message."""
    if isinstance(error, SyntaxError):
        return ""  # its own text has the line
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return f" (line {lines[-1]})" if lines else ""


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and math.isnan(value))
