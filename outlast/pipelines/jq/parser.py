"""The parser of expressions: recursive descent over jq's grammar, without what is not supported."""

from collections.abc import Callable, Collection

from outlast.pipelines.jq import syntax
from outlast.pipelines.jq.functions import FUNCTIONS
from outlast.pipelines.jq.text_literals import TextLiterals
from outlast.pipelines.jq.tokens import (
    MAX_QUOTED,
    UNSUPPORTED,
    SyntaxProblem,
    number_of,
)
from outlast.text.hints import hint, nearest
from outlast.text.texts import cut

MAX_EXPRESSION_BYTES = 10_000
"""Size of one expression."""

MAX_NESTING = 30
"""Levels of brackets of one expression, and parts of one path."""

MAX_DEPTH = 100
"""Levels of the syntax tree of one expression: each operator of a chain is a level."""


_KEYWORDS = frozenset(
    ("if", "then", "elif", "else", "end", "as", "and", "or", "try", "catch", "not")
)
_CONSTANTS = {"null": None, "true": True, "false": False}
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_ASSIGNMENTS = ("=", "|=", "+=", "-=", "*=", "/=", "%=", "//=")


def parse(text: str, variables: Collection[str]) -> syntax.Node:
    """Return the syntax tree of an expression that may use these variables.

    Raises `SyntaxProblem`, which names the place and the nearest known name.
    """
    if len(text.encode(errors="replace")) > MAX_EXPRESSION_BYTES:
        raise SyntaxProblem(f"an expression has at most {MAX_EXPRESSION_BYTES:,} bytes")
    parser = _Parser(text, frozenset(variables))
    node = parser.pipe()
    parser.expect_end()
    if syntax.depth_of(node) > MAX_DEPTH:
        raise SyntaxProblem(
            f"{cut(text, MAX_QUOTED)!r}: more than {MAX_DEPTH} operators in a chain; use several steps"
        )
    return node


class _Parser(TextLiterals):
    """Reads one expression from left to right. Each method reads one level of precedence."""

    def __init__(self, text: str, variables: frozenset[str]) -> None:
        self._variables = variables
        self._depth = 0
        super().__init__(text)

    def expect_end(self) -> None:
        """Raise `SyntaxProblem` unless everything is read."""
        if self._kind == "mark" and self._token in _ASSIGNMENTS:
            raise self._problem(
                f"the assignment {self._token!r} is not supported; write . + {{name: value}}"
            )
        if self._kind != "end":
            raise self._problem(f"unexpected {self._shown()}")

    def _nested(self, read: Callable[[], syntax.Node]) -> syntax.Node:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._problem(f"nested deeper than {MAX_NESTING} levels")
        node = read()
        self._depth -= 1
        return node

    def pipe(self) -> syntax.Node:
        """Read a whole expression."""
        return self._nested(self._pipe)

    def _pipe(self) -> syntax.Node:
        # Not by recursion: a long pipe is no deep one.
        parts = [self._comma()]
        while self._take("|"):
            parts.append(self._comma())
        return _folded_right(parts, syntax.Pipe)

    def _comma(self) -> syntax.Node:
        parts = [self._alternative()]
        while self._take(","):
            parts.append(self._alternative())
        return parts[0] if len(parts) == 1 else syntax.Comma(tuple(parts))

    def _alternative(self) -> syntax.Node:
        parts = [self._or()]
        while self._take("//"):
            parts.append(self._or())
        return _folded_right(parts, syntax.Alternative)

    def _or(self) -> syntax.Node:
        node = self._and()
        while self._take("or"):
            node = syntax.Logic("or", node, self._and())
        return node

    def _and(self) -> syntax.Node:
        node = self._comparison()
        while self._take("and"):
            node = syntax.Logic("and", node, self._comparison())
        return node

    def _comparison(self) -> syntax.Node:
        node = self._sum()
        if self._kind == "mark" and self._token in _COMPARISONS:
            operator = self._token
            self._advance()
            node = syntax.Binary(operator, node, self._sum())
            if self._kind == "mark" and self._token in _COMPARISONS:
                raise self._problem("comparisons cannot be chained; use 'and'")
        return node

    def _sum(self) -> syntax.Node:
        node = self._product()
        while self._is("+", "-"):
            operator = self._token
            self._advance()
            node = syntax.Binary(operator, node, self._product())
        return node

    def _product(self) -> syntax.Node:
        node = self._postfix()
        while self._is("*", "/", "%"):
            operator = self._token
            self._advance()
            node = syntax.Binary(operator, node, self._postfix())
        return node

    def _postfix(self) -> syntax.Node:
        """Read a term with its suffixes: `.a.b[0]?`, and `as $name | …`."""
        if self._take("-"):
            return syntax.Negation(self._nested(self._postfix))
        node = self._suffixed(self._term())
        if self._take("as"):
            return self._binding(node)
        return node

    def _binding(self, source: syntax.Node) -> syntax.Node:
        if self._kind != "variable":
            raise self._problem(f"expected a variable such as $name, not {self._shown()}")
        name = self._token[1:]
        self._advance()
        self._expect("|")
        outer = self._variables
        self._variables = outer | {name}
        body = self.pipe()
        self._variables = outer
        return syntax.Binding(source, name, body)

    def _suffixed(self, node: syntax.Node) -> syntax.Node:
        suffixes = 0
        while True:  # bounded by the size of the expression
            if self._kind == "field":
                node = syntax.Index(node, syntax.Literal(self._token[1:]))
                self._advance()
            elif self._is("."):
                self._advance()
                node = self._after_dot(node)
            elif self._is("["):
                node = self._bracket(node)
            elif self._take("?"):
                node = syntax.Try(node, None)
            else:
                return node
            suffixes += 1
            if suffixes > MAX_NESTING:
                raise self._problem(f"a path has at most {MAX_NESTING} parts")

    def _after_dot(self, node: syntax.Node) -> syntax.Node:
        if self._is('"'):
            return syntax.Index(node, self._text_literal(self.pipe))
        if self._is("["):
            return self._bracket(node)
        raise self._problem(f"expected a name after '.', not {self._shown()}")

    def _bracket(self, target: syntax.Node) -> syntax.Node:
        self._expect("[")
        if self._take("]"):
            return syntax.Each(target)
        if self._take(":"):
            end = self.pipe()
            self._expect("]")
            return syntax.Slice(target, None, end)
        key = self.pipe()
        if self._take(":"):
            end_or_none = None if self._is("]") else self.pipe()
            self._expect("]")
            return syntax.Slice(target, key, end_or_none)
        self._expect("]")
        return syntax.Index(target, key)

    def _term(self) -> syntax.Node:
        kind, token = self._kind, self._token
        if kind == "number":
            self._advance()
            return syntax.Literal(number_of(token))
        if kind == "variable":
            return self._variable()
        if kind == "field":
            self._advance()
            return syntax.Index(syntax.Identity(), syntax.Literal(token[1:]))
        if kind == "name":
            return self._named()
        if kind == "format":
            raise self._problem(f"the format {token!r} is not supported")
        if kind == "mark":
            return self._marked()
        raise self._problem(f"expected a value, not {self._shown()}")

    def _variable(self) -> syntax.Node:
        name = self._token[1:]
        if name not in self._variables:
            known = sorted(f"${each}" for each in self._variables)
            raise self._problem(f"${name} is not known here; {hint('$' + name, known)}")
        self._advance()
        return syntax.Variable(name)

    def _marked(self) -> syntax.Node:
        if self._is('"'):
            return self._text_literal(self.pipe)
        if self._is(".."):
            raise self._problem("'..' is not supported")
        if self._take("."):
            if self._is('"', "["):
                return self._after_dot(syntax.Identity())
            return syntax.Identity()
        if self._take("("):
            node = self.pipe()
            self._expect(")")
        elif self._take("["):
            node = syntax.Array(None if self._is("]") else self.pipe())
            self._expect("]")
        elif self._take("{"):
            node = self._object()
        else:
            raise self._problem(f"expected a value, not {self._shown()}")
        return node

    def _named(self) -> syntax.Node:
        name = self._token
        if name in _CONSTANTS:
            self._advance()
            return syntax.Literal(_CONSTANTS[name])
        if name == "if":
            self._advance()
            return self._condition()
        if name == "try":
            self._advance()
            body = self._nested(self._try_operand)
            handler = self._nested(self._try_operand) if self._take("catch") else None
            return syntax.Try(body, handler)
        if name in UNSUPPORTED:
            raise self._problem(f"{name!r} {UNSUPPORTED[name]}")
        if name in _KEYWORDS and name != "not":
            raise self._problem(f"unexpected {name!r}")
        return self._call(name)

    def _try_operand(self) -> syntax.Node:
        return self._suffixed(self._term())

    def _call(self, name: str) -> syntax.Node:
        start = self._start
        self._advance()
        arguments: list[syntax.Node] = []
        if self._take("("):
            arguments.append(self.pipe())
            while self._take(";"):
                arguments.append(self.pipe())
            self._expect(")")
        counts = sorted(count for known, count in FUNCTIONS if known == name)
        self._start = start
        if not counts:
            near = nearest(name, {known for known, _ in FUNCTIONS})
            advice = "" if near is None else f"; did you mean {near!r}?"
            raise self._problem(f"there is no function {name!r}{advice}")
        if len(arguments) not in counts:
            expected = " or ".join(map(str, counts))
            raise self._problem(
                f"{name} takes {expected} arguments, not {len(arguments)}; ';' separates them"
            )
        return syntax.Call(name, tuple(arguments))

    def _condition(self) -> syntax.Node:
        test = self.pipe()
        self._expect("then")
        yes = self.pipe()
        no: syntax.Node = syntax.Identity()
        if self._take("elif"):
            return syntax.Condition(test, yes, self._nested(self._condition))
        if self._take("else"):
            no = self.pipe()
        self._expect("end")
        return syntax.Condition(test, yes, no)

    def _object(self) -> syntax.Node:
        entries: list[tuple[syntax.Node, syntax.Node]] = []
        while not self._is("}"):
            entries.append(self._entry())
            if not self._take(","):
                break
        self._expect("}")
        return syntax.Object(tuple(entries))

    def _entry(self) -> tuple[syntax.Node, syntax.Node]:
        if self._kind == "variable":
            value = self._variable()
            name = value.name if isinstance(value, syntax.Variable) else ""
            return syntax.Literal(name), value
        if self._kind == "name":
            key: syntax.Node = syntax.Literal(self._token)
            self._advance()
        elif self._is('"'):
            key = self._text_literal(self.pipe)
        elif self._take("("):
            key = self.pipe()
            self._expect(")")
            self._expect(":")
            return key, self._nested(self._entry_value)
        else:
            raise self._problem(f"expected a key, not {self._shown()}")
        if self._take(":"):
            return key, self._nested(self._entry_value)
        return key, syntax.Index(syntax.Identity(), key)

    def _entry_value(self) -> syntax.Node:
        # A comma separates entries here, so the value is an expression above it.
        parts = [self._alternative()]
        while self._take("|"):
            parts.append(self._alternative())
        return _folded_right(parts, syntax.Pipe)


def _folded_right(
    parts: list[syntax.Node], make: Callable[[syntax.Node, syntax.Node], syntax.Node]
) -> syntax.Node:
    node = parts[-1]
    for part in reversed(parts[:-1]):
        node = make(part, node)
    return node
