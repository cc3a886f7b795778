"""How results are shown."""

from jobs import rendering


def test_messages_documents_and_texts_are_told_apart():
    parts = rendering.parts(
        {
            "llm": {"replies": [{"role": "assistant", "content": [{"text": "你好"}], "meta": {}}]},
            "documents": [{"id": "a1", "content": "文本", "meta": {"file": "a.md"}, "score": 0.5}],
            "answer": "四十二",
            "numbers": [1, 2],
        }
    )

    assert [(part.name, part.pieces[0].kind) for part in parts] == [
        ("llm.replies", "message"),
        ("documents", "document"),
        ("answer", "text"),
        ("numbers", "json"),
    ]
    assert parts[0].pieces[0].text == "你好"
    assert parts[1].pieces[0].facts == [("score", "0.5"), ("file", "a.md")]


def test_a_document_tells_its_facts_without_bookkeeping_and_with_short_hashes():
    meta = {"title": "手册", "source_id": "c2f8" * 16, "_split_overlap": [], "author": None}

    (part,) = rendering.parts({"documents": [{"id": "a1", "content": "文本", "meta": meta}]})

    assert part.pieces[0].facts == [("title", "手册"), ("source_id", "c2f8c2f8c2f8")]


def test_a_tool_call_in_a_message_is_kept_as_json():
    (part,) = rendering.parts({"replies": [{"role": "assistant", "content": [{"tool_call": {"tool_name": "算"}}]}]})

    assert "算" in part.pieces[0].details


def test_a_long_text_is_cut_and_says_so():
    (part,) = rendering.parts({"answer": "长" * (rendering.SHOWN_AT_MOST + 1)})

    assert part.pieces[0].cut
    assert len(part.pieces[0].text) == rendering.SHOWN_AT_MOST


def test_of_many_documents_the_rest_is_counted():
    (part,) = rendering.parts({"texts": ["一"] * (rendering.PIECES_AT_MOST + 3)})

    assert (len(part.pieces), part.hidden) == (rendering.PIECES_AT_MOST, 3)


def test_a_result_that_is_no_object_is_shown_too():
    assert rendering.parts(None)[0].pieces[0].text == "null"
