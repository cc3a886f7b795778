"""The picture of a pipeline: boxes that don't overlap, lines that arrive, loops that are seen as loops."""

import itertools
import re

from tests.effort import calls_of
from workflows.engine.graph import Graph, Node, draw, shortened, text_width


def describe(components, connections, inputs=None, outputs=None, declared=True):
    return {
        "declared": declared,
        "inputs": {name: {"targets": targets, "type": "str"} for name, targets in (inputs or {}).items()},
        "outputs": {name: {"source": source, "type": "str"} for name, source in (outputs or {}).items()},
        "components": {
            name: {"type": f"pkg.mod.{kind}", "inputs": {}, "outputs": {}} for name, kind in components.items()
        },
        "connections": [{"sender": sender, "receiver": receiver} for sender, receiver in connections],
    }


RAG = describe(
    {"retriever": "BM25Retriever", "提示": "ChatPromptBuilder", "llm": "MockChatGenerator"},
    [("retriever.documents", "提示.documents"), ("提示.prompt", "llm.messages")],
    {"问题": ["retriever.query", "提示.query"]},
    {"answer": "llm.replies"},
)


def node(graph: Graph, name: str) -> Node:
    return next(each for each in graph.nodes if each.name == name)


def overlapping(graph: Graph) -> list[tuple[str, str]]:
    return [
        (a.name, b.name)
        for a, b in itertools.combinations(graph.nodes, 2)
        if a.x < b.x + b.w and b.x < a.x + a.w and a.y < b.y + b.h and b.y < a.y + a.h
    ]


def test_a_pipeline_runs_from_left_to_right():
    graph = draw(RAG)

    order = [node(graph, name).x for name in ("问题", "retriever", "提示", "llm", "answer")]
    assert order == sorted(order)
    assert len(set(order)) == 5
    assert overlapping(graph) == []
    assert node(graph, "retriever").label == "BM25Retriever"


def test_each_line_begins_and_ends_at_its_boxes():
    graph = draw(RAG)
    boxes = {each.key: each for each in graph.nodes}

    for edge in graph.edges:
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", edge.path)]
        source, target = boxes[edge.source], boxes[edge.target]
        assert abs(numbers[0] - (source.x + source.w)) < 0.2
        assert source.y <= numbers[1] <= source.y + source.h
        assert abs(numbers[-2] - target.x) < 0.2
        assert target.y <= numbers[-1] <= target.y + target.h


def test_everything_lies_within_the_picture():
    graph = draw(RAG)

    assert all(each.x >= 0 and each.y >= 0 for each in graph.nodes)
    assert max(each.x + each.w for each in graph.nodes) <= graph.width
    assert max(each.y + each.h for each in graph.nodes) <= graph.height


def test_a_loop_is_drawn_back_below_the_boxes_and_does_not_hang():
    graph = draw(describe(
        {"join": "BranchJoiner", "llm": "Llm", "check": "Validator"},
        [("join.value", "llm.messages"), ("llm.replies", "check.messages"), ("check.errors", "join.value")],
        {"q": ["join.value"]},
    ))  # fmt: skip

    (loop,) = [edge for edge in graph.edges if edge.kind == "loop"]
    assert (loop.source, loop.target) == ("component:check", "component:join")
    assert loop.label_y > max(each.y + each.h for each in graph.nodes) - 1
    assert loop.label_y < graph.height


def test_a_component_that_feeds_itself_and_one_that_feeds_nothing_are_drawn():
    graph = draw(describe({"a": "A", "b": "B"}, [("a.x", "a.y")]))

    assert [edge.kind for edge in graph.edges] == ["loop"]
    assert overlapping(graph) == []


def test_several_connections_between_two_boxes_are_one_line_with_each_label():
    graph = draw(describe({"a": "A", "b": "B"}, [("a.x", "b.x"), ("a.y", "b.z")]))

    (edge,) = graph.edges
    assert edge.label == "x, y → z"
    assert graph.summary == "a → b (x, y → z)"


def test_a_label_has_its_room_between_two_boxes():
    graph = draw(describe({"a": "A", "b": "B"}, [("a.合适的结果", "b.输入的文本"), ("a.cut", "b.value")]))

    (edge,) = graph.edges
    assert text_width(edge.label_text, 10) < node(graph, "b").x - (node(graph, "a").x + node(graph, "a").w)


def test_what_the_author_did_not_list_and_nobody_needs_is_left_out():
    description = describe({"a": "A"}, [], {"query": ["a.query"], "top_k": ["a.top_k"]}, declared=False)
    description["inputs"]["query"]["required"] = True
    description["inputs"]["top_k"]["required"] = False

    assert [each.name for each in draw(description).nodes] == ["query", "a"]


def test_lines_that_need_not_cross_do_not():
    graph = draw(describe(
        dict.fromkeys(("a1", "a2", "a3", "b1", "b2", "b3"), "X"),
        [("a1.o", "b3.i"), ("a2.o", "b1.i"), ("a3.o", "b2.i")],
    ))  # fmt: skip

    pairs = [(node(graph, a).y, node(graph, b).y) for a, b in (("a1", "b3"), ("a2", "b1"), ("a3", "b2"))]
    assert [b for _, b in sorted(pairs)] == sorted(b for _, b in pairs)


def test_wide_letters_are_given_their_room():
    assert text_width("数据库") > text_width("abc") * 1.4
    graph = draw(describe({"检索" * 40: "检索器" * 30}, []))
    (only,) = graph.nodes
    assert text_width(only.name_text, 14) <= only.w
    assert only.name_text.endswith("…")
    assert only.name == "检索" * 40


def test_a_text_that_fits_is_not_shortened():
    assert shortened("问题", 100) == "问题"


def test_sixty_components_are_drawn_without_overlap():
    names = [f"步骤{n}" for n in range(60)]
    links = [(f"步骤{n}.o", f"步骤{m}.i") for n in range(60) for m in (n + 1, n + 3, n + 7) if m < 60]

    graph = draw(describe(dict.fromkeys(names, "Component"), links))

    assert overlapping(graph) == []
    assert calls_of(lambda: draw(describe(dict.fromkeys(names, "Component"), links))) < 60_000


def test_the_same_description_gives_the_same_picture():
    assert draw(RAG) == draw(RAG)


def test_an_empty_description_is_an_empty_picture():
    graph = draw(describe({}, []))

    assert graph.nodes == []
    assert graph.width > 0
    assert graph.height > 0
