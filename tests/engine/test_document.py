"""Reading a definition's YAML: what is refused, and that every part is found again."""

import pytest
import yaml

from tests.effort import calls_of
from workflows.engine.document import MAX_BYTES, MAX_NODES, Refused, parse

GOOD = """\
# 一个小流程
components:
  prompt:
    type: haystack.components.builders.prompt_builder.PromptBuilder
    init_parameters:
      template: "问题：{{ query }}"
      required_variables: [query]
  写作: {type: a.b, init_parameters: {}}
connections:
  - sender: prompt.prompt
    receiver: 写作.text
"""


def problem_of(text: str):
    with pytest.raises(Refused) as caught:
        parse(text)
    return caught.value.problems[0]


def test_the_data_is_what_pyyaml_makes_of_it():
    document = parse(GOOD)

    assert document.data == yaml.safe_load(GOOD)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("", (2, 1)),
        ("components", (2, 1)),
        ("components.prompt.type", (4, 5)),
        ("components.prompt.init_parameters.required_variables[0]", (7, 28)),
        ("components.写作.type", (8, 8)),
        ("connections[0]", (10, 5)),
        ("connections[0].receiver", (11, 5)),
        ("components.prompt.init_parameters.nowhere.at.all", (5, 5)),
        ("connections[7].sender", (9, 1)),
        ("nowhere", (2, 1)),
    ],
)
def test_every_part_is_found_by_its_path(path, place):
    assert parse(GOOD).locate(path) == place


def test_the_value_is_found_behind_its_key():
    assert parse(GOOD).locate("components.prompt.type", value=True) == (4, 11)


def test_a_merged_part_is_found_where_it_was_written():
    text = "base: &b\n  type: x\na:\n  <<: *b\n  other: 1\n"

    assert parse(text).data["a"] == {"type": "x", "other": 1}
    assert parse(text).locate("a.type") == (2, 3)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n",
        "a: &x {k: 1}\nb: &y {k: 2, m: 1}\nc: {m: 9, <<: [*x, *y]}\n",
        "a: &x {k: 1}\nb: &y {<<: *x, z: 1}\nc: {<<: *y}\n",
        "a: &s [1, 2]\nb: *s\nc: [*s, *s]\n",
        "a: 0o7\nb: 010\nc: 1_000\nd: 1:30\ne: 2024-01-01\nf: yes\ng: ~\nh: 1e3\ni: .5\nj: !!str 12\nk: ! 12\n",
        "a: |\n  多行\n  文本\nb: >-\n  folded\n  text\n",
    ],
)
def test_aliases_merges_and_odd_scalars_are_read_as_pyyaml_reads_them(text):
    assert parse(text).data == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "yaml_empty"),
        ("  \n# 只有注释\n", "yaml_empty"),
        ("null", "yaml_empty"),
        ("just text", "yaml_not_a_mapping"),
        ("42", "yaml_not_a_mapping"),
        ("- a\n- b\n", "yaml_not_a_mapping"),
        ("components: [unclosed", "yaml_syntax"),
        ("a: 'unclosed", "yaml_syntax"),
        ("a:\n\tb: 1", "yaml_syntax"),
        ("a: b: c", "yaml_syntax"),
        ("a: *nowhere", "yaml_syntax"),
        ("a: \x00", "yaml_syntax"),
        ("a: \ud800", "yaml_syntax"),
        ('a: "\\ud800"', "yaml_syntax"),
        ("a: 1\n---\nb: 2\n", "yaml_syntax"),
        ("%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [id]", "yaml_tag_not_allowed"),
        ("a: !!python/object/apply:os.system [id]", "yaml_tag_not_allowed"),
        ("a: !!python/name:os.system", "yaml_tag_not_allowed"),
        ("a: !!binary aGk=", "yaml_tag_not_allowed"),
        ("a: !!set {x}", "yaml_tag_not_allowed"),
        ("a: !secret x", "yaml_tag_not_allowed"),
        ("a: !!map [1]", "yaml_tag_not_allowed"),
        ("a: !!int 一", "yaml_bad_value"),
        ("a: !!bool 2", "yaml_bad_value"),
        ("a: " + "9" * 5000, "yaml_bad_value"),
        ("a: 9223372036854775808", "yaml_bad_value"),
        ("a: 2024-13-45", "yaml_bad_value"),
        ("a: =", "yaml_bad_value"),
        ("a: 1\nb: 2\na: 3", "yaml_duplicate_key"),
        ("键: {x: 1, x: 2}", "yaml_duplicate_key"),
        ("1: a", "yaml_bad_key"),
        ("on: a", "yaml_bad_key"),
        ("~: a", "yaml_bad_key"),
        ("? [a]\n: b", "yaml_bad_key"),
        ("a: &x [*x]", "yaml_recursive"),
        ("a: &x {b: *x}", "yaml_recursive"),
        ("a: {<<: [1]}", "yaml_bad_merge"),
        ("a: " + "[" * 60 + "]" * 60, "yaml_too_deep"),
        ("[" * 100_000, "yaml_too_deep"),
        ("a: " + "{a: " * 3000, "yaml_too_deep"),
        ("a: " + "x" * MAX_BYTES, "yaml_too_large"),
        ("a: [" + "1," * (MAX_NODES + 1) + "]", "yaml_too_many_values"),
    ],
)
def test_what_is_no_definition_or_could_harm_is_refused(text, code):
    problem = problem_of(text)

    assert problem.code == code
    assert problem.message
    assert calls_of(lambda: problem_of(text)) < 1_000_000


def bomb(merge: bool) -> str:
    lines = ["a0: &a0 {x: [" + ",".join("1" * 9) + "]}" if merge else "a0: &a0 [" + ",".join("1" * 9) + "]"]
    for level in range(1, 12):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        inner = "{<<: [" + aliases + f"], k{level}: *a{level - 1}" + "}" if merge else "[" + aliases + "]"
        lines.append(f"a{level}: &a{level} {inner}")
    return "\n".join(lines)


@pytest.mark.parametrize("merge", [False, True])
def test_an_alias_bomb_is_refused_before_it_is_written_out(merge):
    problem = problem_of(bomb(merge))

    assert problem.code == "yaml_too_many_values"
    assert calls_of(lambda: problem_of(bomb(merge))) < 10_000


def test_aliases_that_nest_too_deep_together_are_refused():
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 200)]

    document = parse("\n".join(lines[:40]))

    assert document.data["a39"]
    assert problem_of("\n".join(lines)).code == "yaml_too_deep"


def test_a_syntax_error_says_where_and_what_to_do():
    problem = problem_of("components:\n  prompt:\n    type: a: b\n")

    assert (problem.line, problem.column) == (3, 12)
    assert "indentation" in problem.message


def test_a_character_that_yaml_forbids_is_found():
    problem = problem_of("a: 1\nb: 好\x07\n")

    assert problem.line == 2
    assert "U+0007" in problem.message


def test_every_duplicate_is_reported_and_not_only_the_first():
    with pytest.raises(Refused) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\n")

    assert [problem.path for problem in caught.value.problems] == ["a", "b.c"]
    assert [problem.line for problem in caught.value.problems] == [2, 3]
