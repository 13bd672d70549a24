"""The registry: every method by name, and the reading of specs against it. Imports no torch."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from methods import plugins
from methods.api import Method, Option, Parts
from methods.asy_infopro import ASY_INFOPRO
from methods.backlink import BACKLINK
from methods.backprop import E2E
from methods.boostresnet import BOOSTRESNET
from methods.checkpointing import CHECKPOINT
from methods.contsup import CONTSUP
from methods.dgl import DGL
from methods.dib import DIB
from methods.greedy import GREEDY, GREEDY_PLUS
from methods.infopro import DECODER, INFOPRO
from methods.mlaan import LAM, MLAAN, MLM
from methods.spec import SpecError, Term, parse_terms

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        *(E2E, CHECKPOINT, GREEDY, GREEDY_PLUS, DGL, INFOPRO, CONTSUP, BACKLINK, MLAAN, MLM, LAM, DECODER),
        *(ASY_INFOPRO, BOOSTRESNET, DIB),
    )
}


@dataclass(frozen=True, slots=True)
class Spec:
    """A method spec read against the registry."""

    text: str
    """Canonical form: the first option always, others where they differ from their default."""
    parts: Parts

    def __str__(self) -> str:
        return self.text


def add_plugin(path: Path) -> None:
    """Register the methods of a plugin file in this process.

    Raises:
        PluginError: see `methods.plugins.add_file`.
    """
    plugins.add_file(path, METHODS)


def find_methods() -> dict[str, tuple[Method, str | None]]:
    """Every method by name, with the file or package that gives it; None for those of this package."""
    own: dict[str, tuple[Method, str | None]] = {name: (method, None) for name, method in METHODS.items()}
    found = (*plugins.of_files(), *_installed().plugins)
    return own | {method.name: (method, plugin.origin) for plugin in reversed(found) for method in plugin.methods}


def plugin_problems() -> tuple[str, ...]:
    """Why installed plugins cannot be used, a sentence each."""
    return _installed().problems


def _installed() -> plugins.Installed:
    return plugins.find_installed(frozenset(METHODS))


def _registered(terms: Iterable[Term]) -> dict[str, Method]:
    """The registry; installed plugins are imported only where a spec names something else."""
    methods = METHODS | {method.name: method for plugin in plugins.of_files() for method in plugin.methods}
    if all(term.name in methods for term in terms):
        return methods
    return {name: method for name, (method, _) in find_methods().items()}


def read_spec(text: str) -> Spec:
    """Read a method spec such as `contsup[E]+checkpoint`.

    Args:
        text: the spec; grammar in `methods/spec.py`.

    Raises:
        SpecError: unknown method, option or value, or a combination that makes no sense; says what is allowed.
    """
    parts, canonical = Parts(), []
    terms = parse_terms(text)
    methods = _registered(terms)
    for place, term in enumerate(terms):
        method = _find(term.name, methods)
        _check_place(method, place, parts, text, methods)
        options = method.options if place else method.options + method.begin_options
        values = _read_options(method, options, term)
        parts = replace(parts, **{**({} if place else method.begins or {}), **method.sets})
        for option in options:
            parts = _set(parts, option.sets.split("."), _value(option, values[option.name]))
        canonical.append(_canonical(method, options, values))
    if len({name.partition("[")[0] for name in canonical}) < len(canonical):
        raise SpecError(f"method '{text}' names the same part twice")
    for wrong, reason in _CONTRADICTIONS:
        if wrong(parts):
            raise SpecError(f"method '{text}' makes no sense: {reason}")
    return Spec("+".join(canonical), parts)


_CONTRADICTIONS: tuple[tuple[Callable[[Parts], bool], str], ...] = (
    (
        lambda parts: parts.link is not None and parts.cascade is not None,
        "BackLink and MLAAN's windows both say how far a loss reaches; choose one",
    ),
    (
        lambda parts: parts.step == "per_module" and (parts.link is not None or parts.cascade is not None),
        "the next module's loss still trains a module's units, so they cannot be updated before; use step=end",
    ),
    (
        lambda parts: parts.context is not None and parts.cascade is not None and parts.cascade.repeat,
        "windows that run again (forwards=repeat) are released for plain modules only; use forwards=share",
    ),
    (
        lambda parts: parts.deeper and any((parts.decoder, parts.link, parts.cascade, parts.leap)),
        "Greedy SL+ has the FLOPs of InfoPro by its added blocks alone; add parts to 'greedy'",
    ),
    (
        lambda parts: parts.sequential is not None and (parts.link is not None or parts.cascade is not None),
        "modules are trained one after the other, so no loss can reach a module before, which is finished",
    ),
    (
        lambda parts: parts.sequential is not None and parts.leap is not None,
        "modules are trained one after the other, so the later units that are copied are not trained yet",
    ),
    (
        lambda parts: parts.sequential is not None and parts.sequential.boosts and parts.decoder,
        "boosting weighs modules by what their classifiers say; a decoder belongs to 'asy_infopro'",
    ),
)
"""What no spec may combine, and why."""


def _find(name: str, methods: Mapping[str, Method]) -> Method:
    if name in methods:
        return methods[name]
    close = get_close_matches(name, methods, n=1, cutoff=0.6)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(methods)}"
    own = "a method of your own needs --plugin FILE"
    raise SpecError("; ".join([f"unknown method '{name}': {hint}", *([] if close else [own]), *plugin_problems()]))


def _check_place(method: Method, place: int, parts: Parts, text: str, methods: Mapping[str, Method]) -> None:
    if place == 0 and method.begins is None:
        raise SpecError(f"'{method.name}' is a part that is added to a method, as in 'contsup[E]+{method.name}'")
    if place > 0 and not method.follows:
        parts_to_add = ", ".join(name for name, other in methods.items() if other.follows)
        raise SpecError(f"'{method.name}' cannot be added to another method in '{text}'; parts to add: {parts_to_add}")
    if place > 0 and method.needs_local_loss and parts.local_loss is None:
        raise SpecError(f"'{method.name}' needs a method with local modules before it (method: '{text}')")
    if place > 0 and any(getattr(parts, field) != getattr(Parts(), field) for field in method.sets):
        raise SpecError(f"'{method.name}' is already part of the method before it in '{text}'")


def _read_options(method: Method, allowed: tuple[Option, ...], term: Term) -> dict[str, str]:
    """Value of every option: the given ones checked, the others by default."""
    options = {option.name: option for option in allowed}
    given: dict[str, str] = {}
    for key, value in term.arguments:
        if not options:
            raise SpecError(f"method '{method.name}' has no options (got '{value}')")
        name = key or next((o.name for o in allowed if o.name not in given and _allows(o, value)), None)
        name = name or next(iter(options))
        if name not in options:
            raise SpecError(f"method '{method.name}' has no option '{name}'; it has {', '.join(options)}")
        if name in given:
            raise SpecError(f"option '{name}' of method '{method.name}' is given twice ('{given[name]}', '{value}')")
        if not _allows(options[name], value):
            close = get_close_matches(value, options[name].choices, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise SpecError(f"{method.name}: {name} is {options[name].values}, not '{value}'{hint}")
        given[name] = value
    return {option.name: given.get(option.name, option.default) for option in allowed}


def _allows(option: Option, value: str) -> bool:
    return value in option.choices or bool(option.pattern and re.fullmatch(option.pattern, value))


def _value(option: Option, value: str) -> object:
    return option.choices[value] if value in option.choices else option.read(value)


def _set(record: Any, path: list[str], value: object) -> Any:
    """Replace a field of a record, or of the record in one of its fields."""
    name, *rest = path
    return replace(record, **{name: _set(getattr(record, name), rest, value) if rest else value})


def _canonical(method: Method, options: tuple[Option, ...], values: Mapping[str, str]) -> str:
    shown = [
        values[o.name] if o.variant else f"{o.name}={values[o.name]}"
        for o in options
        if o.variant or values[o.name] != o.default
    ]
    return f"{method.name}[{','.join(shown)}]" if shown else method.name
