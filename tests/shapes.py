"""Shape checks of the library while its tests run: every call of a function whose signature names a shape is checked.

An import hook puts jaxtyping's decorator on the functions, methods and dataclasses of flowops whose annotations name a
shape of `flowops._types`. jaxtyping's own hook decorates every function there is, also those defined inside another one
at each of its calls, which took more time than the tests.

Whether a call is right follows from the types, shapes and dtypes of what goes in and comes out. A call of kinds that
were found right before is not checked again: the checks of the other calls took a tenth of the time of the tests.
"""

from __future__ import annotations

import ast
import functools
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Self

import jaxtyping
import torch
from beartype import BeartypeConf, FrozenDict, beartype
from torch import Tensor, nn

PACKAGE = "flowops"
SHAPES = {"State", "Times", "PerSample", "Jacobian"}
# beartype knows Self on decorated classes only, while jaxtyping decorates methods, so Self is read as Any
checked = jaxtyping.jaxtyped(typechecker=beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any}))))
DECORATOR = "_checked_in_the_tests"
BY_TYPE = (type(None), int, float, complex)  # annotations do not look at their values
BY_VALUE = (bool, str, type, torch.dtype, torch.device, torch.Size)


def remembered(decorated: Any) -> Any:
    """The decorator: classes are checked at every call, functions for the kinds of values that are new to them."""
    if isinstance(decorated, type):
        return checked(decorated)
    told: list[Any] = []
    right: dict[Hashable, set[Hashable]] = {}  # kinds of arguments, and of the values that they had
    whole = functools.cache(lambda: checked(decorated))  # made when it is wanted: many never are
    answer = functools.cache(lambda: checked(_answering(decorated, told)))

    @functools.wraps(decorated)
    def call(*args: Any, **kwargs: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable or torch.compiler.is_compiling():  # checks do not compile
            return decorated(*args, **kwargs)
        asked = _kinds(args, kwargs)
        if asked is None or asked not in right:
            value = whole()(*args, **kwargs)
            if asked is not None:
                right[asked] = {kind_of(value)}
            return value
        value = decorated(*args, **kwargs)
        if (given := kind_of(value)) is None or given not in right[asked]:
            told.append(value)
            try:
                answer()(*args, **kwargs)
            finally:
                told.pop()
            right[asked].add(given)
        return value

    return call


def _answering(function: FunctionType, told: list[Any]) -> Callable[..., Any]:
    """A function with the signature of another, whose value is the last that it was told."""

    def answer(*args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return told[-1]

    names = function.__globals__  # which the annotations are read in
    return functools.wraps(function)(FunctionType(answer.__code__, names, function.__name__, None, answer.__closure__))


def _kinds(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    """The kinds of all arguments, or None where one has none."""
    kinds = (*map(kind_of, args), *map(kind_of, kwargs.values()))
    return None if None in kinds else (kinds, len(args), *kwargs)


def kind_of(value: Any) -> Hashable | None:
    """What annotations look at of a value, or None for a container, whose items they may look at too."""
    kind: Any = type(value)
    if isinstance(value, Tensor):
        return kind, value.shape, value.dtype
    if kind in BY_TYPE or isinstance(value, nn.Module):
        return kind
    if kind in BY_VALUE or isinstance(value, type):
        return kind, value
    if kind in (tuple, list):
        kinds = tuple(map(kind_of, value))
        return None if None in kinds else (kind, kinds)
    return None if isinstance(value, Iterable) else kind


def install() -> None:
    """Check the shapes of every module of the library that is imported from now on; once is enough.

    Raises:
        RuntimeError: if the library is imported already.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} must not be imported before its tests; name tests before theory_checks.")
    sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules of the library as usual, and has them loaded with decorators."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is importlib.machinery.SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from its source, never from compiled files, which know no decorators."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        for node in _with_shapes(tree.body):
            decorator = ast.copy_location(ast.Name(DECORATOR, ast.Load()), node)
            # the last to be applied to a class, after @dataclass, and the first to a function, before @property
            node.decorator_list.insert(0 if isinstance(node, ast.ClassDef) else len(node.decorator_list), decorator)
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__[DECORATOR] = remembered
        super().exec_module(module)


def _with_shapes(body: Sequence[ast.stmt]) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    """The functions of a module or class whose signatures name a shape, and the classes with fields that do."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            if any(isinstance(field, ast.AnnAssign) and _names_a_shape(field.annotation) for field in node.body):
                yield node
            yield from _with_shapes(node.body)
        elif isinstance(node, ast.FunctionDef):
            arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            if _names_a_shape(node.returns) or any(_names_a_shape(argument.annotation) for argument in arguments):
                yield node


def _names_a_shape(annotation: ast.expr | None) -> bool:
    names = ast.walk(annotation) if annotation is not None else ()
    return any(isinstance(name, ast.Name) and name.id in SHAPES for name in names)
