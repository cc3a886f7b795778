"""Reads a definition's YAML into plain data, refusing what could harm, and remembers where everything stood."""

from dataclasses import dataclass

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

from workflows.engine.errors import Problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 48
MAX_NODES = 60_000  # counted as written, and again with every alias and merge key written out

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_TAGS_OF = {
    ScalarNode: {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")},
    SequenceNode: {_TAG + "seq"},
    MappingNode: {_TAG + "map"},
}
_MERGE = _TAG + "merge"
_STR = _TAG + "str"


class Refused(Exception):
    """The text is not a document that we read; `problems` says why."""

    def __init__(self, *problems: Problem):
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = list(problems)


@dataclass(frozen=True)
class Document:
    """The data of a definition's YAML, the same that PyYAML's safe loader makes of it, and where each part stood."""

    data: dict
    _root: MappingNode

    def locate(self, path: str, *, value: bool = False) -> tuple[int, int]:
        """The line and column, from 1, of what `path` names: its key, or with `value` what stands behind the key.

        Where the path goes deeper than the text, the nearest place above it.
        """
        node, key, rest = self._root, None, path
        while rest:
            step = _step(node, rest)
            if step is None:
                break
            key, node, rest = step
        mark = (node if value or key is None else key).start_mark
        return mark.line + 1, mark.column + 1


def parse(text: str) -> Document:
    """The document in `text`. Raises Refused with a problem, or several, never anything else."""
    if not isinstance(text, str):
        raise Refused(Problem("yaml_not_text", "The YAML must be text."))
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise Refused(
            Problem("yaml_syntax", "The text holds half of a surrogate pair, which is no character.", "", line)
        ) from error
    if size > MAX_BYTES:
        raise Refused(
            Problem("yaml_too_large", f"The YAML is {size:,} bytes long; up to {MAX_BYTES:,} bytes are allowed.")
        )
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            raise Refused(_nothing())
        builder = _Builder(loader)
        data = builder.build(root, "", 0)
    except yaml.YAMLError as error:
        raise Refused(_syntax_problem(error, text)) from error
    except RecursionError as error:
        raise Refused(Problem("yaml_too_deep", f"The YAML is nested deeper than {MAX_DEPTH} levels.")) from error
    finally:
        loader.dispose()
    if data is None and not builder.problems:
        raise Refused(_nothing())
    if not isinstance(root, MappingNode):
        kind = "a list" if isinstance(root, SequenceNode) else "just text"
        raise Refused(
            *builder.problems,
            _at(
                "yaml_not_a_mapping",
                f"A definition is a mapping that begins with `components:`; this is {kind}.",
                "",
                root,
            ),
        )
    if builder.problems:
        raise Refused(*builder.problems)
    return Document(data, root)


def _nothing() -> Problem:
    return Problem("yaml_empty", "The YAML is empty. A definition needs at least `components:`.", "", 1, 1)


class _Loader(_Base):
    """PyYAML's safe loader, which stops as soon as the text has too many nodes or nests too deep."""

    def __init__(self, stream):
        super().__init__(stream)
        self.nodes = self.depth = 0

    def resolve(self, kind, value, implicit):
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"has more than {MAX_NODES:,} values", problem_mark=None)
        return super().resolve(kind, value, implicit)

    def descend_resolver(self, current_node, current_index):
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:  # the root counts as a descent of its own
            raise yaml.MarkedYAMLError(
                problem=f"is nested deeper than {MAX_DEPTH} levels",
                problem_mark=current_node.start_mark if current_node is not None else None,
            )
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self):
        self.depth -= 1
        super().ascend_resolver()


class _Builder:
    """Makes plain data of nodes, counting what the aliases would come to if they were written out."""

    def __init__(self, loader):
        self.loader = loader
        self.problems: list[Problem] = []
        # By node: its data, how many nodes it stands for, and how many levels of lists and mappings it has.
        self.made: dict[int, tuple[object, int, int]] = {}
        self.open: set[int] = set()

    def build(self, node, path: str, depth: int):
        return self._build(node, path, depth)[0]

    def _build(self, node, path, depth):
        done = self.made.get(id(node))
        if done is not None:
            if depth + done[2] > MAX_DEPTH:
                raise Refused(_too_deep(path, node))
            return done
        if id(node) in self.open:
            self._problem("yaml_recursive", "This alias contains itself.", path, node)
            return None, 1, 0
        if node.tag not in _TAGS_OF[type(node)]:
            self._problem(
                "yaml_tag_not_allowed",
                f"The tag {_short(node.tag)} is not allowed: a definition holds only text, numbers, true, false, "
                "null, lists and mappings.",
                path,
                node,
            )
            return None, 1, 0
        if depth > MAX_DEPTH:
            raise Refused(_too_deep(path, node))
        self.open.add(id(node))
        if isinstance(node, ScalarNode):
            made = self._scalar(node, path), 1, 0
        elif isinstance(node, SequenceNode):
            made = self._sequence(node, path, depth)
        else:
            made = self._mapping(node, path, depth)
        self.open.discard(id(node))
        self.made[id(node)] = made
        if made[1] > MAX_NODES:
            raise Refused(
                _at(
                    "yaml_too_many_values",
                    f"With its aliases written out, this would have more than {MAX_NODES:,} values.",
                    path,
                    node,
                )
            )
        return made

    def _scalar(self, node, path):
        if node.tag == _STR or node.tag == _MERGE:
            return node.value
        try:
            value = self.loader.construct_object(node)
        except (yaml.YAMLError, ValueError, KeyError, OverflowError, TypeError):
            kind = node.tag.removeprefix(_TAG)
            self._problem(
                "yaml_bad_value", f"{_shown(node.value)} cannot be read as {kind}; put it in quotes.", path, node
            )
            return None
        if type(value) is int and not -(2**63) <= value < 2**63:
            self._problem(
                "yaml_bad_value", f"{_shown(node.value)} does not fit in 64 bits; put it in quotes.", path, node
            )
            return None
        return value

    def _sequence(self, node, path, depth):
        items, count, height = [], 1, 0
        for index, child in enumerate(node.value):
            value, size, levels = self._build(child, f"{path}[{index}]", depth + 1)
            items.append(value)
            count += size
            height = max(height, levels)
            if count > MAX_NODES:
                break
        return items, count, height + 1

    def _mapping(self, node, path, depth):
        merged, found, count, height = {}, {}, 1, 0
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._problem("yaml_bad_key", "A key must be text, not a list or a mapping.", path, key_node)
                continue
            if key_node.tag == _MERGE:
                size, levels = self._merge(value_node, merged, path, depth)
                count += size
                height = max(height, levels)
                continue
            key = key_node.value
            place = f"{path}.{key}" if path else key
            if key_node.tag != _STR:
                self._problem(
                    "yaml_bad_key",
                    f"The key {_shown(key)} is read as {_KINDS.get(key_node.tag.removeprefix(_TAG), 'something')}, "
                    "not as text; put it in quotes.",
                    place,
                    key_node,
                )
                continue
            if key in found:
                self._problem(
                    "yaml_duplicate_key",
                    f"The key {_shown(key)} stands twice here; only one can count. Rename or remove one.",
                    place,
                    key_node,
                )
                continue
            found[key], size, levels = self._build(value_node, place, depth + 1)
            count += size + 1
            height = max(height, levels)
            if count > MAX_NODES:
                break
        return ({**merged, **found} if merged else found), count, height + 1

    def _merge(self, node, into: dict, path, depth) -> tuple[int, int]:
        """Add the mappings behind `<<:` to `into`, the first one named winning, as the YAML 1.1 merge key says."""
        sources = node.value if isinstance(node, SequenceNode) else [node]
        count, height, values = 1, 0, []
        for source in sources[:100]:
            if not isinstance(source, MappingNode):
                self._problem("yaml_bad_merge", "Behind `<<:` stands a mapping, or a list of mappings.", path, source)
                return count, height
            value, size, levels = self._build(source, path, depth)
            count += size
            height = max(height, levels)
            values.append(value or {})
        if len(sources) > 100:
            self._problem("yaml_bad_merge", "More than 100 mappings are merged here.", path, node)
        for value in reversed(values):
            into.update(value)
        return count, height

    def _problem(self, code, message, path, node):
        if len(self.problems) < 100:
            self.problems.append(_at(code, message, path, node))


_KINDS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "null": "null",
    "timestamp": "a date",
}


def _step(node, rest: str):
    """The key node, value node and remaining path of the first step of `rest` within `node`, or None."""
    if isinstance(node, SequenceNode):
        if not rest.startswith("["):
            return None
        index, _, after = rest[1:].partition("]")
        if not index.isdigit() or int(index) >= len(node.value):
            return None
        item = node.value[int(index)]
        return item, item, after.removeprefix(".")
    if not isinstance(node, MappingNode):
        return None
    best = None
    for key_node, value_node in node.value:
        key = key_node.value if isinstance(key_node, ScalarNode) else None
        if key is None or not rest.startswith(key):
            continue
        after = rest[len(key) :]
        if (not after or after[0] in ".[") and (best is None or len(key) > len(best[0].value)):
            best = key_node, value_node, after.removeprefix(".")
    return best or _step_into_merged(node, rest)


def _step_into_merged(node, rest):
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            for source in value_node.value if isinstance(value_node, SequenceNode) else [value_node]:
                step = _step(source, rest) if isinstance(source, MappingNode) else None
                if step is not None:
                    return step
    return None


def _at(code, message, path, node) -> Problem:
    return Problem(code, message, path, node.start_mark.line + 1, node.start_mark.column + 1)


def _too_deep(path, node) -> Problem:
    return _at("yaml_too_deep", f"This is nested deeper than {MAX_DEPTH} levels.", path, node)


def _short(tag: str) -> str:
    return _shown("!!" + tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag)


def _shown(text: str) -> str:
    return f"`{text if len(text) <= 60 else text[:57] + '…'}`"


# What PyYAML says, and what to do about it in most cases.
_HINTS = (
    ("found character '\\t'", "Indent with spaces, not with tabs."),
    ("cannot start any token", "Put the value in quotes: it begins with a character that means something in YAML."),
    ("mapping values are not allowed", "Check the indentation, or put a value that holds `: ` in quotes."),
    ("could not find expected ':'", "A `:` is missing, or a quote or a bracket above was not closed."),
    ("did not find expected ':'", "A `:` is missing, or a quote or a bracket above was not closed."),
    ("did not find expected key", "Check the indentation of this line, and the quotes above it."),
    ("did not find expected '-' indicator", "Check the indentation of this line."),
    ("did not find expected ',' or ']'", "A `[` was not closed."),
    ("did not find expected ',' or '}'", "A `{` was not closed; put a template such as `{{ query }}` in quotes."),
    ("found unexpected end of stream", "A quote was not closed."),
    ("found undefined alias", "Define it above with `&`, or put a value that begins with `*` in quotes."),
    ("found another document", "Write one definition only, without `---` between two."),
    ("duplicate anchor", "Give each anchor a name of its own."),
)


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)  # the C parser counts bytes, so we look again
        position = found.start() if found else 0
        line = text.count("\n", 0, position) + 1
        column = position - text.rfind("\n", 0, position)
        character = f"the character U+{ord(found[0]):04X}" if found else "one of its characters"
        return Problem("yaml_syntax", f"YAML does not allow {character}.", "", line, column)
    said = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    if said.startswith("is nested deeper") or "nesting depth" in said:
        return Problem("yaml_too_deep", f"The YAML is nested deeper than {MAX_DEPTH} levels.", "", line, column)
    if said.startswith("has more than"):
        return Problem("yaml_too_many_values", f"The YAML {said}.", "", line, column)
    hint = next((hint for sign, hint in _HINTS if sign in said), "")
    where = f" ({context})" if context else ""
    return Problem("yaml_syntax", f"This is not YAML: {said}{where}. {hint}".rstrip(), "", line, column)
