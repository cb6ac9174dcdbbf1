"""The grammar of expressions: what it refuses and how it says so, and what it computes."""

from __future__ import annotations

import copy
import math
import os
import pickle
from pathlib import Path

import mpmath
import pytest
import sympy
import torch
from torch import Tensor

from flowops.interpolants import Interpolant, parse
from flowops.interpolants.formulas.expressions import derivatives, symbol
from flowops.interpolants.formulas.formula import Formula, Tape
from flowops.interpolants.formulas.grammar import read
from flowops.interpolants.formulas.lowering import lower

ATTACKS = {
    "import": "__import__('os').system('touch attacked')",
    "exec": "exec('1')",
    "eval": "eval(t)",
    "open": "open(t)",
    "class of a tuple": "().__class__",
    "attribute of t": "t.__class__",
    "attribute of a number": "1..real",
    "attribute of a function": "sin.__self__",
    "subscript": "t[0]",
    "list": "[t]",
    "tuple": "t,t",
    "empty tuple": "()",
    "dict": "{t}",
    "lambda": "lambda: 0",
    "walrus": "(y:=t)",
    "condition": "t if t else 1",
    "condition without a space": "1if t else 2",
    "generator": "sin(t for t in t)",
    "hexadecimal before or": "0x1for x in t",
    "comparison": "t<1",
    "membership": "t in t",
    "logic": "t and t",
    "negation": "not t",
    "invert": "~t",
    "await": "await t",
    "yield": "(yield)",
    "string": "'t'",
    "f-string": "f'{t}'",
    "boolean": "True",
    "none": "None",
    "ellipsis": "...",
    "imaginary": "1j",
    "imaginary factor": "2j*t",
    "fullwidth t": "\uff54",
    "cyrillic name": "t\u0430",
    "null byte": "t\x00",
    "newline": "t\nt",
    "backslash": "\\",
    "comment": "t#",
    "statement": "t; t",
    "import statement": "import os",
    "assignment": "t=1",
    "keyword argument": "sin(x=t)",
    "starred": "sin(*t)",
    "two arguments": "sin(t,t)",
    "no argument": "sin()",
    "function alone": "sin",
    "call of t": "t(2)",
    "call of a number": "2(t)",
    "call of a call": "sin(t)(t)",
    "power as hat": "t^2",
    "floor division": "t//2",
    "remainder": "t%2",
    "matrix product": "t@t",
    "unknown name": "x",
    "euler": "e",
    "unknown function": "gamma(t)",
    "empty": "",
    "blank": "   ",
    "dangling": "t +",
    "juxtaposed": "t t",
    "unbalanced": "(t",
    "octal": "0777",
    "long": "t" * 1000,
    "long sum": "+".join("t" * 300),
    "many parentheses": "(" * 240 + "t" + ")" * 240,
    "deep signs": "-" * 450 + "t",
    "deep calls": "sin(" * 60 + "t" + ")" * 60,
    "large integer": "123456789" * 8,
    "huge literal": "1e999",
    "tower": "9**9**9**9",
    "tower of a constant": "2**(3**50)",
    "nested powers": "(t**60)**60",
    "nested powers through roots": "sqrt(sqrt(2**-8)**64)**64",
    "negative power": "t**-65",
    "power overflow": "t**(10.0**400)",
    "division by zero": "1/0",
    "log of zero": "log(0)",
    "log of minus one": "log1p(-1)",
    "root of minus one": "sqrt(-1)",
    "power of minus one": "(-1)**0.5",
    "zero to minus one": "0**-1",
    "exp overflow": "exp(1000)",
    "product overflow": "1e30*1e30",
    "exp of exp": "exp(exp(exp(5)))",
    "arcsine of two": "asin(2)",
    "tangent of a right angle": "tan(pi/2)",
    "hidden division by zero": "1/(t-t)",
    "hidden power": "2**(t-t+10**15)",
    "hidden nested power": "((t-t+2)**((t-t)+64))**(t-t+64)",
    "hidden exponential": "sin(exp((t-t+1)*1e10))",
    "hidden root": "sqrt(t-t-1)",
    "hidden cube root": "(t-t-1)**(1/3)",
    "hidden arcsine": "asin(t-t+2)",
    "logarithm in an exponent": "exp(t-10**15*log(2))",
    "logarithm in a power of e": "exp(1)**(t-10**15*log(2))",
    "logarithm in expm1": "expm1(t-10**15*log(2))",
    "digits": "((1e30*t)**60)**1*(1e30*t)**60",
}

EXPRESSIONS = [
    "1-t",
    "cos(pi*t/2)",
    "sqrt(t)*exp(-t**2)",
    "t**t",
    "2.5**(-t)+t**2.5",
    "tan(t)/(1+t)-asin(t/2)*acos(t/3)",
    "sinh(t)-cosh(t)*tanh(t)+atan(3*t)",
    "expm1(-t)*log1p(t)/log(2+t)",
    "abs(t-1/3)*(t-2)**3",
    "-(1-t)/3-t",
    "1/(1+t)/(2+t)**2/sqrt(1+t)",
    "sqrt(sin(t)*sin(3-t))",
    "sqrt((1-t)**2)",
    "+t*pi**2-1e-3",
]


@pytest.fixture
def times() -> Tensor:
    return torch.tensor([0.05, 0.3, 0.5, 0.77, 0.95], dtype=torch.float64)


def value(expression: str, t: Tensor) -> Tensor:
    return Formula(expression, "alpha")(t)


@pytest.mark.parametrize("expression", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_is_outside_the_grammar_is_refused(
    expression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^`alpha` must .*, got .*; .*\.$"):
        Interpolant.from_expressions(expression, "t")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", "got an empty string"),
        ("t" * 501, "at most 500 characters, got 501"),
        ("t^2", r"write powers with \*\*"),
        ("e*t", r"unknown name 'e'; write exp\(1\)"),
        ("ln(t)", "unknown name 'ln'; write log"),
        ("x", "use the names t, pi, sin, .*, abs only"),
        ("sin", r"write sin\(\.\.\.\)"),
        ("sin(t, t)", "one argument"),
        ("t.real", "attribute access"),
        ("t**100", "exponents up to 64 .* with 100"),
        ("2*log(0)", r"'log\(0\)', which is undefined"),
        ("exp(1000)*t", r"'exp\(1000\)', which overflows"),
        ("sin(t", "well-formed .*never closed"),
        ("--" * 50 + "t", "nested at most 40 deep"),
        ("1" * 30, "integers up to 1e[+]15, got one of 30 digits"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(expression: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Interpolant.from_expressions("1-t", "t", gamma=expression)


def test_what_reaches_a_limit_is_read() -> None:
    rows = "+".join([f"({'+'.join('t' * 12)})"] * 16 + [f"({'+'.join('t' * 8)})"])  # 200 names and 199 sums
    for expression in ("2**64", "t**64", f"-{rows}"):
        read(expression, "alpha")
    with pytest.raises(ValueError, match="at most 400 parts"):
        read(f"--{rows}", "alpha")


def test_the_sentence_names_the_coefficient() -> None:
    with pytest.raises(ValueError, match="^`beta` must"):
        Interpolant.from_expressions("1-t", "y")
    with pytest.raises(ValueError, match="^`gamma` must"):
        Interpolant.from_expressions("1-t", "t", "y")


@pytest.mark.parametrize("thing", [None, 1, 1.5, b"t", ["t"], len])
def test_only_strings_are_expressions(thing: object) -> None:
    with pytest.raises(TypeError, match="must be a string such as"):
        read(thing, "alpha")


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_values_are_those_of_mpmath(expression: str, times: Tensor) -> None:
    with mpmath.workdps(40):
        exact = [float(eval(expression, {**vars(mpmath), "abs": abs, "t": mpmath.mpf(t)})) for t in times.tolist()]
    torch.testing.assert_close(value(expression, times), torch.tensor(exact, dtype=times.dtype), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_derivatives_are_those_of_autograd_and_of_differences(expression: str, times: Tensor) -> None:
    coefficient = Formula(expression, "alpha")
    leaf = times.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(coefficient(leaf).sum(), leaf)
    torch.testing.assert_close(coefficient.rules["derivative"](times), by_autograd, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(coefficient.rules["half_square_derivative"](times), coefficient(times) * by_autograd)
    h = 1e-5
    difference = (coefficient(times + h) - coefficient(times - h)) / (2 * h)
    torch.testing.assert_close(coefficient.rules["derivative"](times), difference, rtol=1e-7, atol=1e-7)


def test_a_derivative_can_be_differentiated_again(times: Tensor) -> None:
    coefficient = Formula("cos(pi*t/2)*sqrt(1+t)", "alpha")
    slope = torch.func.jvp(coefficient.rules["derivative"], (times,), (torch.ones_like(times),))[1]
    exact = sympy.lambdify(symbol(), sympy.diff(parse("cos(pi*t/2)*sqrt(1+t)"), symbol(), 2), "math")
    expected = torch.tensor([exact(t) for t in times.tolist()], dtype=times.dtype)
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize(
    ("expression", "at", "derivative", "half"),
    [
        ("sqrt(1-t)", 1.0, -math.inf, -0.5),
        ("sqrt(t)", 0.0, math.inf, 0.5),
        ("sqrt(sin(pi*t)*(2-t))", 0.0, math.inf, math.pi),
        ("3*sqrt(-expm1(-2*t))", 0.0, math.inf, 9.0),
        ("abs(t-1/2)", 0.5, 0.0, 0.0),
    ],
)
def test_half_the_derivative_of_the_square_is_finite_where_the_derivative_is_not(
    expression: str, at: float, derivative: float, half: float
) -> None:
    coefficient = Formula(expression, "alpha")
    for dtype in (torch.float32, torch.float64):
        t = torch.tensor(at, dtype=dtype)
        torch.testing.assert_close(coefficient.rules["derivative"](t), torch.tensor(derivative, dtype=dtype))
        torch.testing.assert_close(coefficient.rules["half_square_derivative"](t), torch.tensor(half, dtype=dtype))


def test_a_sum_is_not_multiplied_out() -> None:
    t = torch.tensor(1 - 2.0**-22)
    exact = torch.tensor(2.0**-22 / 10)
    torch.testing.assert_close(value("0.1*(1-t)", t), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(value("-(1-t)/10", t), -exact, rtol=1e-6, atol=0)


def test_small_arguments_keep_their_digits() -> None:
    t = torch.tensor(1e-12, dtype=torch.float64)
    torch.testing.assert_close(value("expm1(t)", t), t, rtol=1e-10, atol=0)
    torch.testing.assert_close(value("log1p(t)", t), t, rtol=1e-10, atol=0)


@pytest.mark.parametrize("expression", ["1", "2*pi/3", "t-t", "t/t", "expm1(0)", "t", "sqrt(1-t)"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_shape_and_dtype_are_those_of_the_times(expression: str, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    t = torch.full(shape, 0.25, dtype=dtype)
    coefficient = Formula(expression, "alpha")
    for result in (coefficient(t), coefficient.rules["derivative"](t), coefficient.rules["half_square_derivative"](t)):
        assert (result.shape, result.dtype) == (t.shape, dtype)


def test_a_coefficient_is_no_alias_of_its_times() -> None:
    t = torch.zeros(3)
    value("t", t).add_(1)
    assert (t == 0).all()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_tapes_run_under_vmap_and_jvp(expression: str, times: Tensor) -> None:
    coefficient = Formula(expression, "alpha")
    for f in (coefficient, coefficient.rules["derivative"], coefficient.rules["half_square_derivative"]):
        torch.testing.assert_close(torch.func.vmap(f)(times), f(times))
    slope = torch.func.jvp(coefficient, (times,), (torch.ones_like(times),))[1]
    torch.testing.assert_close(slope, coefficient.rules["derivative"](times))


def test_a_tape_compiles_without_breaks(times: Tensor) -> None:
    coefficient = Formula("sqrt(sin(pi*t)*(2-t))/(1+t)**3", "alpha")

    def both(t: Tensor) -> Tensor:
        return coefficient(t) * coefficient.rules["derivative"](t)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(times), both(times))


def test_equal_subexpressions_are_computed_once() -> None:
    steps, result = lower(parse("sin(pi*t)**2+sin(pi*t)*exp(sin(pi*t))"))
    names = [name for name, _ in steps]
    assert names.count("sin") == 1
    assert len(steps) == result == 6


def test_a_tape_holds_numbers_and_names_only() -> None:
    coefficient = Formula("exp(-t**2/3)*sqrt(2)", "alpha")
    for tape in coefficient.rules.values():
        assert isinstance(tape, Tape)
        operands = [operand for _, operands in tape.steps for operand in operands]
        assert all(type(operand) in (int, float) for operand in operands)
    for twin in (copy.deepcopy(coefficient), pickle.loads(pickle.dumps(coefficient))):
        torch.testing.assert_close(twin(torch.ones(2)), coefficient(torch.ones(2)))


@pytest.mark.parametrize("f", [sympy.floor(symbol()), sympy.Max(symbol(), 1)], ids=["one argument", "two arguments"])
def test_a_function_without_a_counterpart_is_refused_by_name(f: sympy.Expr) -> None:
    with pytest.raises(
        ValueError, match=f"^`beta` must have a derivative in elementary functions, got one with {f.func};"
    ):
        lower(f, "beta")


def test_literals_are_exact() -> None:
    assert parse("0.1+0.2") == sympy.Rational(3, 10)
    assert parse("1e-3*t") == symbol() / 1000


def test_parse_gives_an_expression_to_print_and_to_differentiate() -> None:
    f = parse("cos(pi*t/2)*exp(-t)")
    assert sympy.simplify(derivatives(f)[1] - sympy.diff(f, symbol())) == 0
    assert "cos" in sympy.latex(f)
    assert parse("expm1(t)+log1p(t)").doit() == sympy.exp(symbol()) - 1 + sympy.log(1 + symbol())


def test_parse_leaves_sympy_as_it_was() -> None:
    parse("0.1*(1-t)")
    x = sympy.Symbol("x")
    assert (2 * (x + 1)).is_Add
