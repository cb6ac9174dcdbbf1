"""Shape checks of the library while its tests run: every call of a function whose signature names a shape is checked.

An import hook puts jaxtyping's decorator on the functions, methods and dataclasses of flowops whose annotations name a
shape of `flowops._types`. jaxtyping's own hook decorates every function there is, also those defined inside another one
at each of its calls, which took more time than the tests.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from types import CodeType, ModuleType
from typing import Any, Self

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

PACKAGE = "flowops"
SHAPES = {"State", "Times", "PerSample", "Jacobian"}
# beartype knows Self on decorated classes only, while jaxtyping decorates methods, so Self is read as Any
checked = jaxtyping.jaxtyped(typechecker=beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any}))))
DECORATOR = "_checked_in_the_tests"


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
        module.__dict__[DECORATOR] = checked
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
