"""Methods of third parties: of installed packages (entry points `peakbench.methods`) and of Python files.

A file names its methods METHODS, a `methods.api.Method` or several; an entry point leads to the same. Files come first:
an installed method of the same name is passed over. Imports no torch; plugins may.
"""

import re
import sys
import traceback
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from methods.api import Method, Parts

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "peakbench.methods"
_NAME = re.compile(r"\w+")


class PluginError(ValueError):
    """A plugin that cannot be used; says which and why."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """What one file or package gives."""

    origin: str
    """The file, or the package with its version."""
    methods: tuple[Method, ...]


@dataclass(frozen=True, slots=True)
class Installed:
    """Plugins of installed packages."""

    plugins: tuple[Plugin, ...]
    problems: tuple[str, ...]
    """Why others cannot be used, a sentence each."""


_FILES: dict[Path, Plugin] = {}
"""Files of this process, in the order they were given."""


def add_file(path: Path, taken: Collection[str]) -> None:
    """Read a plugin file, once.

    Args:
        path: a Python file.
        taken: names its methods cannot have.

    Raises:
        PluginError: no such file, not Python, an error of its own (with its line), or no usable METHODS.
    """
    path = path.resolve()
    if path in _FILES:
        return
    origin = f"plugin {path}"
    methods = _methods_of(_run_file(path), origin)
    names = {*taken, *(method.name for plugin in _FILES.values() for method in plugin.methods)}
    check_methods(methods, names, origin)
    _FILES[path] = Plugin(str(path), methods)


def added_files() -> tuple[Path, ...]:
    """Files read so far."""
    return tuple(_FILES)


def of_files() -> tuple[Plugin, ...]:
    """Plugins of these files."""
    return tuple(_FILES.values())


@cache
def find_installed(taken: frozenset[str]) -> Installed:
    """Import every installed plugin; one that fails is a problem, and the others are there.

    Args:
        taken: names their methods cannot have.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - only names that are not known need it

    plugins: list[Plugin] = []
    problems: list[str] = []
    names = set(taken)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package"
        origin = f"plugin '{entry.name}' of {package}"
        try:
            methods = _methods_of(_load(entry, origin), origin)
            check_methods(methods, names, origin)
        except PluginError as error:
            problems.append(str(error))
            continue
        names.update(method.name for method in methods)
        plugins.append(Plugin(package, methods))
    return Installed(tuple(plugins), tuple(problems))


def check_methods(methods: Iterable[Method], taken: Collection[str], origin: str) -> None:
    """Refuse methods that no spec could name or read.

    Raises:
        PluginError: a name that is taken or unreadable, a field of `Parts` that does not exist, a default not allowed.
    """
    names = set(taken)
    for method in methods:
        where = f"{origin}: method '{method.name}'"
        if not _NAME.fullmatch(method.name):
            raise PluginError(f"{where} needs a name of letters, digits and _")
        if method.name in names:
            raise PluginError(f"{where} is registered already: choose another name")
        if method.begins is None and not method.follows:
            raise PluginError(f"{where} can neither begin a spec (begins) nor be added to one (follows)")
        names.add(method.name)
        _check_fields(method, where)


def _check_fields(method: Method, where: str) -> None:
    known = Parts.__dataclass_fields__
    fixed = {**(method.begins or {}), **method.sets}
    for field in fixed:
        if field not in known:
            raise PluginError(f"{where} sets '{field}', which is no field of Parts; it has {', '.join(known)}")
    parts = replace(Parts(), **fixed)
    for option in (*method.begin_options, *method.options):
        target: object = parts
        for name in option.sets.split("."):
            if not hasattr(target, name):
                raise PluginError(f"{where}: option '{option.name}' sets '{option.sets}', which does not exist")
            target = getattr(target, name)
        if option.default not in option.choices and not (
            option.pattern and re.fullmatch(option.pattern, option.default)
        ):
            raise PluginError(f"{where}: option '{option.name}' is {option.values}, but its default '{option.default}'")


def _run_file(path: Path) -> object:
    """The value of METHODS in a Python file."""
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except OSError as error:
        raise PluginError(f"cannot read plugin {path}: {error.strerror}") from error
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise PluginError(f"plugin {path} is not Python{line}: {error.msg}") from error
    except ValueError as error:
        raise PluginError(f"plugin {path} is not Python: {error}") from error
    name = f"_peakbench_plugin_{len(_FILES)}_{path.stem}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up by name
    try:
        exec(code, module.__dict__)  # noqa: S102 - running it is what a plugin is for
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failed(f"plugin {path}", error, str(path)) from error
    if not hasattr(module, "METHODS"):
        raise PluginError(f"plugin {path} has no METHODS, a list of methods.api.Method (see docs/adding-a-method.md)")
    return module.METHODS


def _load(entry: "EntryPoint", origin: str) -> object:
    try:
        return entry.load()
    except (Exception, SystemExit) as error:
        raise _failed(origin, error, None) from error


def _failed(origin: str, error: BaseException, file: str | None) -> PluginError:
    """The error of a plugin with the line it comes from: the last one in `file`, or else the last one."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file is None or frame.filename == file]
    place = f" in line {frames[-1].lineno} (`{frames[-1].line}`)" if frames else ""
    return PluginError(f"{origin} fails{place}: {type(error).__name__}: {error}")


def _methods_of(value: object, origin: str) -> tuple[Method, ...]:
    if isinstance(value, Method):
        return (value,)
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise PluginError(f"{origin}: METHODS is a {type(value).__name__}, not a list of methods.api.Method")
    methods = tuple(cast("Iterable[object]", value))
    if not methods:
        raise PluginError(f"{origin}: METHODS is empty")
    for method in methods:
        if not isinstance(method, Method):
            raise PluginError(
                f"{origin}: METHODS holds {method!r}, a {type(method).__name__}, not a methods.api.Method"
            )
    return cast("tuple[Method, ...]", methods)
