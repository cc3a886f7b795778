"""The document store: Haystack's own tests of a store, and ours of files, processes, languages and filters."""

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    FilterableDocsFixtureMixin,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
    create_filterable_docs,
)

from workflows.documents.filters import narrowing
from workflows.documents.store import DIRECTORY_VARIABLE, WorkspaceDocumentStore

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "documents"))
    return tmp_path / "documents"


@pytest.fixture
def document_store(folder):
    return WorkspaceDocumentStore()


class TestHaystacksOwnTests(
    DocumentStoreBaseExtendedTests,
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldUniqueValuesTest,
    FilterableDocsFixtureMixin,
):
    # These are about a parameter of servers that keep their documents in collections; we have files.
    test_delete_all_documents_without_recreate_index = None
    test_delete_all_documents_with_recreate_index = None

    @pytest.fixture
    def document_store(self, folder):
        return WorkspaceDocumentStore()

    @staticmethod
    def assert_documents_are_equal(received, expected):
        # Embeddings come back as 32-bit floats, which the promise of the store says; all else is the same.
        assert [_without_embedding(document) for document in received] == [
            _without_embedding(document) for document in expected
        ]
        for got, wanted in zip(received, expected, strict=True):
            assert (got.embedding is None) == (wanted.embedding is None)
            if wanted.embedding is not None:
                assert got.embedding == pytest.approx(wanted.embedding, rel=1e-6)

    def test_write_documents(self, document_store):
        document = Document(content="test doc")

        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        self.assert_documents_are_equal(document_store.filter_documents(), [document])


def _without_embedding(document):
    return {**document.to_dict(flatten=False), "embedding": None}


# Files


def test_a_store_made_or_loaded_from_yaml_touches_no_file(folder):
    store = WorkspaceDocumentStore.from_dict(WorkspaceDocumentStore(index="手册").to_dict())

    assert store.index == "手册"
    assert not folder.exists()


def test_documents_are_there_when_another_process_opens_the_index(document_store, folder):
    whole = Document(
        content="数据库连接超时怎么办",
        meta={"来源": "手册", "pages": [1, 2], "nested": {"a": None}},
        blob=ByteStream(b"\x00\xff", meta={"k": "v"}, mime_type="image/png"),
        embedding=[0.25, -1.5],
        sparse_embedding=SparseEmbedding(indices=[1, 7], values=[0.5, 0.25]),
        score=0.75,
    )
    document_store.write_documents([whole])

    script = (
        "import json; from workflows.documents.store import WorkspaceDocumentStore as Store;"
        "print(json.dumps([document.to_dict(flatten=False) for document in Store().filter_documents()]))"
    )
    printed = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True).stdout

    assert [Document.from_dict(found) for found in json.loads(printed)] == [whole]


def test_each_index_is_a_file_of_its_own(folder):
    WorkspaceDocumentStore(index="a").write_documents([Document(content="in a")])
    WorkspaceDocumentStore(index="知识库").write_documents([Document(content="在知识库里")])

    assert WorkspaceDocumentStore(index="a").count_documents() == 1
    assert {path.name for path in folder.iterdir()} == {"a.sqlite3", "知识库.sqlite3"}


def test_another_folder_is_another_workspace(document_store, folder, monkeypatch):
    document_store.write_documents([Document(content="ours")])

    monkeypatch.setenv(DIRECTORY_VARIABLE, str(folder.parent / "elsewhere"))

    assert document_store.count_documents() == 0


@pytest.mark.parametrize(
    "index",
    ["", ".", "..", "../other", "a/b", "/etc/passwd", "a.b", "a\\b", "a\0b", "a\n", "-a", " a", "长" * 61, None, 7],
)
def test_an_index_that_is_no_plain_name_is_refused(index):
    with pytest.raises(ValueError, match="can't be the name of an index"):
        WorkspaceDocumentStore(index=index)


def test_without_a_folder_the_error_says_what_is_missing(monkeypatch):
    monkeypatch.delenv(DIRECTORY_VARIABLE, raising=False)

    with pytest.raises(DocumentStoreError, match=DIRECTORY_VARIABLE):
        WorkspaceDocumentStore().count_documents()


def test_a_file_of_a_newer_layout_is_left_alone(document_store, folder):
    document_store.count_documents()
    with sqlite3.connect(folder / "default.sqlite3") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(DocumentStoreError, match="newer version"):
        document_store.write_documents([Document(content="x")])


# Many processes


def _write_many(writer: int, rounds: int, each: int) -> None:
    store = WorkspaceDocumentStore(index="shared")
    everybody = {"field": "id", "operator": "==", "value": "tally"}
    for round_number in range(rounds):
        store.write_documents([Document(id="tally")], policy=DuplicatePolicy.SKIP)
        store.write_documents(
            [
                Document(id=f"{writer}-{round_number}-{i}", content=f"第{writer}号进程 writer{writer} 写入")
                for i in range(each)
            ]
        )
        store.write_documents([Document(id="contested", content=f"by {writer}")], policy=DuplicatePolicy.OVERWRITE)
        store.update_by_filter(everybody, meta={f"{writer}-{round_number}": True})


def _open_new_files(writer: int, together, indexes: int) -> None:
    for number in range(indexes):
        together.wait(timeout=60)
        WorkspaceDocumentStore(index=f"new{number}").write_documents([Document(id=str(writer), content="新的")])


def _run_at_once(target, *, processes: int, arguments: tuple) -> list[int | None]:
    spawn = multiprocessing.get_context("spawn")
    started = [spawn.Process(target=target, args=(number, *arguments)) for number in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(timeout=120)
    return [process.exitcode for process in started]


def test_many_processes_write_to_one_index_at_once_and_nothing_is_lost(folder):
    assert _run_at_once(_write_many, processes=6, arguments=(10, 5)) == [0] * 6

    store = WorkspaceDocumentStore(index="shared")
    assert store.count_documents() == 6 * 10 * 5 + 2
    for writer in range(6):
        assert len(store.bm25_retrieval(f"writer{writer}", top_k=1000)) == 50
    (tally,) = store.filter_documents({"field": "id", "operator": "==", "value": "tally"})
    assert len(tally.meta) == 60
    with sqlite3.connect(folder / "shared.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_many_processes_may_be_the_first_to_open_an_index(folder):
    together = multiprocessing.get_context("spawn").Barrier(6)

    assert _run_at_once(_open_new_files, processes=6, arguments=(together, 25)) == [0] * 6

    assert [WorkspaceDocumentStore(index=f"new{number}").count_documents() for number in range(25)] == [6] * 25


def test_an_index_that_another_process_is_just_making_is_waited_for(document_store, folder):
    folder.mkdir()
    maker = sqlite3.connect(folder / "default.sqlite3", isolation_level=None, check_same_thread=False)
    maker.execute("BEGIN IMMEDIATE")
    soon = threading.Timer(0.3, maker.execute, ["COMMIT"])
    soon.start()

    assert document_store.write_documents([Document(content="等一等")]) == 1

    soon.join()
    maker.close()


def test_a_reader_does_not_wait_for_a_writer(document_store, folder):
    document_store.write_documents([Document(content="before")])
    writer = sqlite3.connect(folder / "default.sqlite3", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM documents")
    try:
        assert document_store.count_documents() == 1
    finally:
        writer.close()


def test_a_store_goes_on_working_in_a_forked_child(document_store):
    document_store.write_documents([Document(id="parent", content="父进程")])
    child = os.fork()
    if child == 0:
        try:
            document_store.write_documents([Document(id="child", content="子进程")])
            os._exit(0)
        finally:
            os._exit(1)

    assert os.waitpid(child, 0)[1] == 0
    assert [document.id for document in document_store.filter_documents()] == ["parent", "child"]


# Writing


def test_where_one_document_cannot_be_written_none_is(document_store):
    document_store.write_documents([Document(id="1", content="old")])

    with pytest.raises(DuplicateDocumentError, match="'1'"):
        document_store.write_documents([Document(id="2", content="new"), Document(id="1", content="again")])
    with pytest.raises(DocumentStoreError, match="document 3"):
        document_store.write_documents([Document(id="2", content="new"), Document(id="3", meta={"x": {1, 2}})])
    with pytest.raises(DocumentStoreError, match="document 4"):
        document_store.write_documents([Document(id="4", content="new", meta={"x": float("nan")})])

    assert [document.content for document in document_store.filter_documents()] == ["old"]


def test_an_overwritten_or_deleted_document_is_no_longer_found_by_its_old_words(document_store):
    document_store.write_documents([Document(id="1", content="苹果 apples"), Document(id="2", content="香蕉 bananas")])

    document_store.write_documents([Document(id="1", content="橙子 oranges")], policy=DuplicatePolicy.OVERWRITE)
    document_store.delete_documents(["2"])

    assert document_store.bm25_retrieval("苹果 apples 香蕉 bananas") == []
    assert [document.id for document in document_store.bm25_retrieval("橙子")] == ["1"]


def test_what_is_deleted_leaves_no_terms_behind(document_store, folder):
    document_store.write_documents([Document(id=str(n), content="苹果 apples", meta={"n": n}) for n in range(5)])

    document_store.delete_documents(["0", "no such document"])
    document_store.delete_by_filter({"field": "meta.n", "operator": "<=", "value": 2})
    left = _stored_terms(folder)
    document_store.delete_all_documents()

    assert left == ["苹果 果 apples"] * 2
    assert _stored_terms(folder) == []


def _stored_terms(folder):
    with sqlite3.connect(folder / "default.sqlite3") as connection:
        terms = [text for (text,) in connection.execute("SELECT text FROM terms")]
    connection.close()
    return terms


def test_deleting_by_no_filter_is_refused_and_deletes_nothing(document_store):
    document_store.write_documents([Document(content="kept")])

    with pytest.raises(FilterError):
        document_store.delete_by_filter({})

    assert document_store.count_documents() == 1


def test_no_document_is_changed_in_place(document_store):
    document = Document(content="机器学习", embedding=[1.0, 0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        document_store.write_documents([document])
        document_store.bm25_retrieval("机器学习", scale_score=True)
        document_store.embedding_retrieval([1.0, 0.0], scale_score=True)

    assert document.score is None


# BM25

LIBRARY = [
    Document(id="timeout", content="如果数据库连接超时，请检查防火墙和网络设置。"),
    Document(id="refund", content="怎么办理退款？请在订单页面点击“申请退款”。"),
    Document(id="backup", content="数据库每天凌晨备份一次。"),
    Document(id="weather", content="上海今天天气晴朗，海风很大。"),
    Document(id="engine", content="Charles Babbage designed the Analytical Engine in 1837."),
    Document(id="lovelace", content="Ada Lovelace wrote the first program for Babbage's engine."),
    Document(id="mixed", content="用 Python3 编写的 Django 应用；使用ＰｏｓｔｇｒｅＳＱＬ。"),
    Document(id="kana", content="東京タワーは港区にあります"),
    Document(id="hangul", content="데이터베이스를 백업합니다"),
    Document(id="nothing", content=None, meta={"title": "数据库"}),
    Document(id="empty", content=""),
]


@pytest.fixture
def library(document_store):
    document_store.write_documents(LIBRARY)
    return document_store


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("数据库超时", "timeout"),
        ("数据库连接超时怎么办", "timeout"),
        ("退款", "refund"),
        ("申请退款怎么办理", "refund"),
        ("备份数据库", "backup"),
        ("analytical ENGINE", "engine"),
        ("who was Ada Lovelace?", "lovelace"),
        ("postgresql", "mixed"),
        ("用python3写的应用", "mixed"),
        ("タワー", "kana"),
        ("ﾀﾜｰ", "kana"),
        ("데이터베이스", "hangul"),
    ],
)
def test_the_document_that_answers_best_comes_first(library, query, first):
    found = library.bm25_retrieval(query)

    assert found[0].id == first
    scores = [document.score for document in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[-1] > 0


def test_documents_that_share_only_scattered_characters_are_not_found(library):
    assert library.bm25_retrieval("海生") == []
    assert [document.id for document in library.bm25_retrieval("上海")] == ["weather"]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("库", {"timeout", "backup"}),
        ("晴", {"weather"}),
        ("朗", {"weather"}),  # the last of its run
        ("次", {"backup"}),
        ("猫", set()),
    ],
)
def test_a_single_character_is_found_wherever_it_stands(library, query, ids):
    assert {document.id for document in library.bm25_retrieval(query)} == ids


def test_a_word_in_half_of_a_small_library_still_ranks(document_store):
    document_store.write_documents(
        [Document(id="two", content="人工智能和人工智能"), Document(id="one", content="人工智能和其他的技术")]
    )

    found = document_store.bm25_retrieval("人工智能")

    assert [document.id for document in found] == ["two", "one"]
    assert found[0].score > found[1].score > 0.1


def test_punctuation_is_no_query_and_an_empty_one_is_an_error(library):
    assert library.bm25_retrieval("？！…") == []
    with pytest.raises(ValueError, match="empty"):
        library.bm25_retrieval("")


@pytest.mark.parametrize("query", ['"', "a OR b", "NEAR(数据库)", "text:数据库", "*", "' OR 1=1 --", "数据库\0", "()"])
def test_a_query_is_words_and_never_syntax(library, query):
    assert {document.id for document in library.bm25_retrieval(query)} <= {"timeout", "backup"}


def test_a_query_as_long_as_a_page_is_answered(library):
    assert library.bm25_retrieval("数据库超时。" + "".join(chr(0x4E00 + i) for i in range(5000)))[0].id == "timeout"


def test_scaled_scores_lie_between_zero_and_one(library):
    assert all(0.5 < document.score < 1 for document in library.bm25_retrieval("数据库超时", scale_score=True))


def test_filters_and_top_k_choose_among_what_matches(document_store):
    document_store.write_documents(
        [Document(content="部署指南 " * (n + 1), meta={"lang": "zh" if n % 2 else "en"}) for n in range(8)]
    )
    filters = {"field": "meta.lang", "operator": "==", "value": "zh"}

    found = document_store.bm25_retrieval("部署指南", filters=filters, top_k=3)

    assert len(found) == 3
    assert {document.meta["lang"] for document in found} == {"zh"}
    assert document_store.bm25_retrieval("部署指南", top_k=0) == []


# Embeddings


@pytest.fixture
def vectors(document_store):
    document_store.write_documents(
        [
            Document(id="east", content="东", embedding=[1.0, 0.0], meta={"n": 1}),
            Document(id="north", content="北", embedding=[0.0, 3.0], meta={"n": 2}),
            Document(id="far east", content="远东", embedding=[10.0, 1.0], meta={"n": 3}),
            Document(id="zero", content="零", embedding=[0.0, 0.0], meta={"n": 4}),
            Document(id="none", content="无"),
        ]
    )
    return document_store


def test_cosine_looks_at_direction_and_dot_product_at_length_too(vectors):
    by_cosine = vectors.embedding_retrieval([2.0, 0.0])
    by_dot = vectors.embedding_retrieval([2.0, 0.0], similarity="dot_product")

    assert [document.id for document in by_cosine] == ["east", "far east", "north", "zero"]
    assert [document.score for document in by_cosine] == pytest.approx([1.0, 0.9950372, 0.0, 0.0])
    assert [(document.id, document.score) for document in by_dot][:2] == [("far east", 20.0), ("east", 2.0)]
    assert all(document.embedding is None for document in by_cosine)


def test_embeddings_are_searched_among_the_filtered_and_returned_when_asked(vectors):
    filters = {"field": "meta.n", "operator": ">", "value": 1}

    found = vectors.embedding_retrieval([1.0, 0.0], filters=filters, top_k=1, return_embedding=True)

    assert [(document.id, document.embedding) for document in found] == [("far east", [10.0, 1.0])]


def test_more_documents_than_one_batch_are_all_compared(document_store):
    documents = [Document(id=str(n), embedding=[1.0, n / 2500]) for n in range(2500)]
    document_store.write_documents(documents)

    assert document_store.embedding_retrieval([-0.5, 1.0], top_k=1)[0].id == "2499"


def test_an_embedding_of_another_model_is_told(vectors):
    with pytest.raises(DocumentStoreError, match="has 3 numbers, but there are documents with 2"):
        vectors.embedding_retrieval([1.0, 0.0, 0.0])
    with pytest.raises(ValueError, match="not empty"):
        vectors.embedding_retrieval([])


# Filters

TEXTS = ["x", "数据", "2024-01-02", "2024-01-02T00:00:00", ""]
HARD_VALUES = [*TEXTS, 1, 1.0, True, False, 0, None, 2**70, [1], {"b": "数据"}]
COMPARISONS = [
    {"field": field, "operator": operator, "value": value}
    for field in ("meta.a", "a", "meta.a.b", "id", "content", "meta", "meta.a-b", 'meta.a"b', "nowhere.at.all")
    for operator, values in {
        "==": HARD_VALUES,
        "!=": HARD_VALUES,
        "in": [[], ["x", "数据"], [1], [None, "x"], ["2024-01-02"], [True], ["x", 2**70], [0, 1, "3"]],
        "not in": [["x"], [1, None]],
    }.items()
    for value in values
]


def _filterable(number, value):
    return Document(id=str(number), content=str(value), meta={"a": value, "a-b": value, 'a"b': value})


@pytest.fixture
def beside_haystacks_own(document_store):
    documents = [_filterable(number, value) for number, value in enumerate(HARD_VALUES)]
    documents += [Document(id="bare", content="x"), *create_filterable_docs()]
    own = InMemoryDocumentStore()
    for store in (own, document_store):
        store.write_documents(documents)
    return document_store, own


def test_every_comparison_finds_what_haystacks_own_store_finds(beside_haystacks_own):
    ours, theirs = beside_haystacks_own

    for comparison in COMPARISONS:
        wanted = [document.id for document in theirs.filter_documents(comparison)]
        assert [document.id for document in ours.filter_documents(comparison)] == wanted, comparison
        assert ours.count_documents_by_filter(comparison) == len(wanted)


def test_every_pair_of_comparisons_finds_what_haystacks_own_store_finds(beside_haystacks_own):
    ours, theirs = beside_haystacks_own
    few = COMPARISONS[::17]

    for operator in ("AND", "OR", "NOT"):
        for first in few:
            for second in few[::3]:
                nested = {"operator": "OR", "conditions": [second]}
                both = {"operator": operator, "conditions": [first, nested]}
                wanted = [document.id for document in theirs.filter_documents(both)]
                assert [document.id for document in ours.filter_documents(both)] == wanted, both


def test_simple_filters_are_narrowed_by_sql_and_others_are_not():
    simple = {"field": "meta.lang", "operator": "==", "value": "zh"}
    date = {"field": "meta.day", "operator": "==", "value": "2024-01-02"}

    assert narrowing(simple)[1] == ['["zh"]']
    assert narrowing({"operator": "AND", "conditions": [date, simple]})[1] == ['["zh"]']
    assert narrowing({"operator": "OR", "conditions": [date, simple]}) == ("1", [])
    assert narrowing({"operator": "NOT", "conditions": [simple]}) == ("1", [])
    assert narrowing(date) == ("1", [])


def test_dates_are_compared_as_points_in_time(document_store):
    document_store.write_documents(
        [
            Document(id="early", meta={"at": "2024-03-01T09:00:00+08:00"}),
            Document(id="late", meta={"at": "2024-03-01T09:00:00"}),
        ]
    )

    def found(operator, value):
        filters = {"field": "meta.at", "operator": operator, "value": value}
        return [document.id for document in document_store.filter_documents(filters)]

    assert found("<", "2024-03-01T02:00:00+00:00") == ["early"]
    assert found("==", "2024-03-01T01:00:00Z") == ["early"]
    assert found(">=", "2024-03-01") == ["early", "late"]


@pytest.mark.parametrize(
    "filters",
    [
        {"field": "meta.a", "value": 1},
        {"field": "meta.a", "operator": "=="},
        {"field": "meta.a", "operator": "~", "value": 1},
        {"field": 3, "operator": "==", "value": 1},
        {"field": "meta.a", "operator": ">", "value": {}},
        {"operator": "XOR", "conditions": []},
        {"operator": "AND", "conditions": {"field": "meta.a"}},
        {"operator": "AND", "conditions": ["meta.a == 1"]},
        {"a": 1},
        ["a"],
    ],
)
def test_a_malformed_filter_is_an_error_even_where_there_are_no_documents(document_store, filters):
    for use in (
        document_store.filter_documents,
        document_store.count_documents_by_filter,
        document_store.delete_by_filter,
        lambda filters: document_store.bm25_retrieval("x", filters=filters),
        lambda filters: document_store.embedding_retrieval([1.0], filters=filters),
    ):
        with pytest.raises(FilterError):
            use(filters)


def test_filters_nested_without_end_are_an_error(document_store):
    filters = {"field": "meta.a", "operator": "==", "value": 1}
    for _ in range(60):
        filters = {"operator": "AND", "conditions": [filters]}

    with pytest.raises(FilterError, match="deep"):
        document_store.filter_documents(filters)
