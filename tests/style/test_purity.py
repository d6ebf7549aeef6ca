"""Holds consensus/ and state/ledger/ to being pure: same input, same bytes, on every machine and in every run.

Reads their source as a syntax tree and looks for what would bring in a clock, chance, the outside world, rounding, or
the order of a hash table. The last tests plant each fault and see it found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PURE_ROOMS = ("consensus", "state/ledger")

IMPURE_MODULES = frozenset(
    "aiohttp asyncio concurrent datetime decimal glob io logging math multiprocessing noise numpy os pathlib plyvel"
    " prometheus_client random sched secrets select selectors shelve shutil signal socket sqlite3 ssl state.genesis"
    " state.mempool state.store statistics structlog subprocess sys tempfile threading time urllib uuid uvloop weakref"
    " zoneinfo".split()
)
EXACT_IN_MATH = frozenset({"isqrt", "gcd", "lcm", "comb", "perm", "factorial", "prod"})
IMPURE_CALLS = frozenset(
    "breakpoint eval exec float globals hash id input locals open print round vars".split()
)
SET_MAKERS = frozenset({"set", "frozenset"})
SET_TYPES = frozenset({"set", "frozenset", "Set", "AbstractSet", "MutableSet", "FrozenSet"})
SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference"})
ORDER_BLIND = frozenset({"sorted", "sum", "min", "max", "any", "all", "len", "set", "frozenset"})
ORDER_BOUND = frozenset(
    {"list", "tuple", "enumerate", "iter", "next", "zip", "map", "filter", "reversed", "dict", "join"}
)

Fault = tuple[int, str]


def callee(node: ast.expr) -> str:
    """The last name of what a call calls: `sorted` of `sorted(x)`, `join` of `", ".join(x)`."""
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
            return name
        case _:
            return ""


def impure_imports(tree: ast.Module) -> Iterator[Fault]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            named = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in named:
            if module == "math" and name in EXACT_IN_MATH:
                continue
            reached = {module, module.split(".")[0], f"{module}.{name}"}
            if reached & IMPURE_MODULES:
                yield node.lineno, f"imports {module}{'.' + name if name else ''}, which is not pure"


def inexact_numbers(tree: ast.Module) -> Iterator[Fault]:
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex() as value):
                yield node.lineno, f"the number {value} is not an integer"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node.lineno, "true division makes a float; use // and say which way it rounds"
            case ast.Name(id="float" | "complex" as name):
                yield node.lineno, f"{name} has no place here: integers only"
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS - {"float"}:
                yield node.lineno, f"calls {name}()"


def annotated_as_set(annotation: ast.expr | None) -> bool:
    match annotation:
        case ast.Subscript(value=inner):
            return annotated_as_set(inner)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in SET_TYPES
        case _:
            return False


class SetOrder(ast.NodeVisitor):
    """Finds places whose outcome depends on the order in which a set gives its members."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.scopes: list[set[str]] = [set()]
        self.fields: set[str] = set()

    def is_set(self, node: ast.expr) -> bool:
        match node:
            case ast.Set() | ast.SetComp():
                return True
            case ast.Call(func=ast.Name(id=name)):
                return name in SET_MAKERS
            case ast.Call(func=ast.Attribute(value=inner, attr=name)):
                return name in SET_METHODS and self.is_set(inner)
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.Sub() | ast.BitXor(), right=right):
                return self.is_set(left) or self.is_set(right)
            case ast.Name(id=name):
                return any(name in scope for scope in self.scopes)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return name in self.fields
            case _:
                return False

    def found(self, node: ast.expr) -> None:
        if self.is_set(node):
            self.faults.append(
                (node.lineno, f"the order of the set `{ast.unparse(node)}` is not fixed; sort it first")
            )

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.scopes.append({argument.arg for argument in arguments if annotated_as_set(argument.annotation)})
        self.generic_visit(node)
        self.scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self.fields = (
            self.fields,
            {
                part.target.id
                for part in ast.walk(node)
                if isinstance(part, ast.AnnAssign)
                and isinstance(part.target, ast.Name)
                and annotated_as_set(part.annotation)
            }
            | {
                part.target.attr
                for part in ast.walk(node)
                if isinstance(part, ast.AnnAssign)
                and isinstance(part.target, ast.Attribute)
                and annotated_as_set(part.annotation)
            },
        )
        self.generic_visit(node)
        self.fields = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            if isinstance(target, ast.Name):
                (self.scopes[-1].add if self.is_set(node.value) else self.scopes[-1].discard)(target.id)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and annotated_as_set(node.annotation):
            self.scopes[-1].add(node.target.id)

    def visit_For(self, node: ast.For) -> None:
        self.found(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        self.found(node.value)
        self.generic_visit(node)

    def visit_comprehensions(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> None:
        for generator in node.generators:
            self.found(generator.iter)
        self.generic_visit(node)

    visit_ListComp = visit_DictComp = visit_GeneratorExp = visit_comprehensions

    def visit_Call(self, node: ast.Call) -> None:
        name = callee(node)
        if name in ORDER_BOUND:
            for argument in node.args:
                self.found(argument)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args:
            self.found(node.func.value)
        if name in ORDER_BLIND and isinstance(node.func, ast.Name):
            # Whatever order a generator gives, these make the same of it: look only inside its element.
            for argument in node.args:
                self.visit(argument.elt if isinstance(argument, ast.GeneratorExp) else argument)
            return
        self.generic_visit(node)


def set_order(tree: ast.Module) -> list[Fault]:
    visitor = SetOrder()
    visitor.visit(tree)
    return visitor.faults


def faults_of(source: str) -> list[Fault]:
    tree = ast.parse(source)
    return sorted([*impure_imports(tree), *inexact_numbers(tree), *set_order(tree)])


WORK = ROOT / "consensus" / "work"
"""Its products are exact in float32, which is shown there: the one room of these that may use numpy, but for its chance."""
FORBIDDEN_IN_WORK = ("np.random", "np.load", "np.save", "np.fromfile", "tofile")


def allowed(path: Path, what: str) -> bool:
    return path.is_relative_to(WORK) and what.startswith("imports numpy")


PURE_FILES = sorted(path for room in PURE_ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", PURE_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_room_has_no_impurity(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    faults = [fault for fault in faults_of(source) if not allowed(path, fault[1])]
    assert not faults, "\n" + "\n".join(f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in faults)


def test_work_uses_nothing_of_numpy_that_is_not_pure() -> None:
    for path in WORK.glob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert not [word for word in FORBIDDEN_IN_WORK if word in source], path.name


def test_every_pure_room_is_looked_at() -> None:
    for room in PURE_ROOMS:
        assert any(path.is_relative_to(ROOT / room) for path in PURE_FILES), f"no file found under {room}"


@pytest.mark.parametrize(
    "planted",
    [
        "import time",
        "import os.path",
        "from asyncio import sleep",
        "from datetime import datetime as clock",
        "import collections, random",
        "from math import sqrt",
        "from state.store import Store",
        "from state import mempool",
        "def f():\n    import secrets",
        "rate = 0.5",
        "big = 1e9",
        "half = stake / 2",
        "stake /= 2",
        "def f(x: float) -> int: ...",
        "seed = hash(name)",
        "print('here')",
        "for x in {1, 2}: ...",
        "for x in set(names): ...",
        "names = {n for n in ()}\nfor n in names: ...",
        "for x in set(a) - set(b): ...",
        "xs = [x for x in frozenset(ys)]",
        "first = next(iter({1, 2}))",
        "xs = list({1, 2})",
        "xs = [*{1, 2}]",
        "text = ','.join({'a', 'b'})",
        "def f(xs: set[int]) -> None:\n    for x in xs: ...",
        "def f(xs: frozenset[int]) -> int:\n    return xs.pop()",
        "class A:\n    seen: set[int]\n    def f(self):\n        return [x for x in self.seen]",
        "class A:\n    def f(self):\n        self.seen: set[int] = set()\n        yield from (x for x in self.seen)",
    ],
)
def test_planted_impurity_is_found(planted: str) -> None:
    assert faults_of(planted)


@pytest.mark.parametrize(
    "clean",
    [
        "from math import isqrt",
        "from collections import deque",
        "half = stake // 2",
        "for x in sorted({2, 1}): ...",
        "total = sum(weights[x] for x in {1, 2})",
        "known = any(x in seen for x in set(names))",
        "names = set(a)\nnames = sorted(names)\nfor n in names: ...",
        "both = {x for x in set(a) if x in b}",
        "class A:\n    seen: set[int]\n    def f(self, x):\n        return x in self.seen",
        "top = stack.pop()",
    ],
)
def test_clean_code_is_let_through(clean: str) -> None:
    assert not faults_of(clean)
