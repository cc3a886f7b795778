"""A document store in one SQLite file per workspace and index, safe for many processes at once."""

import json
import math
import os
import re
import sqlite3
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from haystack import Document, default_from_dict, default_to_dict
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import expit

from workflows.documents import filters as document_filters
from workflows.documents.terms import query_terms, stored_terms

DIRECTORY_VARIABLE = "AIWORKFLOW_DOCUMENTS_DIR"  # set for each run to the folder of the workspace
_INDEX = re.compile(r"\w[\w-]{0,59}")  # letters of any script, no dot and no slash: it can't leave the folder
_BUSY_SECONDS = 30
_BATCH = 1000
_LAYOUT = 1

_CREATE = (
    """CREATE TABLE documents (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        content TEXT,
        length INTEGER,
        meta TEXT NOT NULL,
        score REAL,
        sparse_embedding TEXT,
        blob_about TEXT,
        embedding BLOB,
        blob BLOB
    )""",
    "CREATE INDEX document_lengths ON documents (length) WHERE length IS NOT NULL",
    # The terms are made by us and joined by spaces; this tokenizer takes every letter beyond ASCII as it is.
    "CREATE VIRTUAL TABLE terms USING fts5(text, tokenize = 'ascii')",
    "CREATE VIRTUAL TABLE term_places USING fts5vocab(terms, instance)",
    "CREATE TRIGGER document_deleted AFTER DELETE ON documents BEGIN DELETE FROM terms WHERE rowid = old.number; END",
    f"PRAGMA user_version = {_LAYOUT}",
)
_COLUMNS = ("id", "content", "length", "meta", "score", "sparse_embedding", "blob_about", "embedding", "blob")
_INSERT = f"INTO documents ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
_CHANGES = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS if column != "id")
_WRITE = {
    DuplicatePolicy.FAIL: f"INSERT {_INSERT} RETURNING number",
    DuplicatePolicy.SKIP: f"INSERT {_INSERT} ON CONFLICT (id) DO NOTHING RETURNING number",
    DuplicatePolicy.OVERWRITE: f"INSERT {_INSERT} ON CONFLICT (id) DO UPDATE SET {_CHANGES} RETURNING number",
}

# Okapi BM25 as Lucene has it: its idf is never negative, so small collections rank sensibly too.
_K1, _B = 1.2, 0.75
_BM25_SCALE, _DOT_PRODUCT_SCALE = 8, 100  # what Haystack's own store divides by before it scales scores to 0..1


class WorkspaceDocumentStore:
    """Keeps the documents of one workspace under the name `index`, for all its workflows, until they are deleted.

    The file is opened at first use, so that loading a pipeline touches nothing. Each method is one transaction:
    it happens whole or not at all, and other processes may read and write meanwhile. Embeddings are kept as
    32-bit floats.
    """

    def __init__(self, index: str = "default") -> None:
        if not isinstance(index, str) or not _INDEX.fullmatch(index):
            raise ValueError(
                f"{index!r} can't be the name of an index: up to 60 letters, digits, '_' and '-' can, "
                "and the first is no '-'."
            )
        self.index = index

    def to_dict(self) -> dict[str, Any]:
        return default_to_dict(self, index=self.index)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "WorkspaceDocumentStore":
        return default_from_dict(cls, data)

    # Reading

    def count_documents(self) -> int:
        with self._reading() as connection:
            return connection.execute("SELECT count(*) FROM documents").fetchone()[0]

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """The documents that match, in the order in which they were first written."""
        with self._reading() as connection:
            return [document for _, document in _matching(connection, filters)]

    def count_documents_by_filter(self, filters: dict[str, Any]) -> int:
        if not filters:
            return self.count_documents()
        with self._reading() as connection:
            return sum(1 for _ in _matching(connection, filters, bare=True))

    def count_unique_metadata_by_filter(self, filters: dict[str, Any], metadata_fields: list[str]) -> dict[str, int]:
        """How many different values each meta field has among the matching documents."""
        keys = [field.removeprefix("meta.") for field in metadata_fields]
        values: dict[str, set[tuple[str, str]]] = {key: set() for key in keys}
        for meta in self._metas(filters):
            for key in keys:
                if meta.get(key) is not None:
                    values[key].add(_identity(meta[key]))
        return {key: len(found) for key, found in values.items()}

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Each meta field's type: "boolean", "int", "float", or "keyword" for all else and for a mixture."""
        types: dict[str, set[str]] = {}
        for meta in self._metas(None):
            for key, value in meta.items():
                if value is not None:
                    name = {bool: "boolean", int: "int", float: "float"}.get(type(value), "keyword")
                    types.setdefault(key, set()).add(name)
        numbers = {"int", "float"}
        return {
            key: {"type": found.pop() if len(found) == 1 else "float" if found == numbers else "keyword"}
            for key, found in types.items()
        }

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """The least and the greatest value of a meta field, None where there is none or they can't be compared."""
        key = metadata_field.removeprefix("meta.")
        values = [meta[key] for meta in self._metas(None) if isinstance(meta.get(key), int | float | str)]
        try:
            return {"min": min(values, default=None), "max": max(values, default=None)}
        except TypeError:  # numbers beside texts
            return {"min": None, "max": None}

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int = 10,
        filters: dict[str, Any] | None = None,
    ) -> tuple[list[Any], int]:
        """One page of a meta field's different values in the order of their texts, and how many there are in all."""
        key = metadata_field.removeprefix("meta.")
        unique = {_identity(meta[key]): meta[key] for meta in self._metas(filters) if meta.get(key) is not None}
        if search_term:
            unique = {i: value for i, value in unique.items() if search_term.casefold() in str(value).casefold()}
        ordered = sorted(unique, key=lambda identity: (str(unique[identity]), identity[0]))
        return [unique[identity] for identity in ordered[from_ : from_ + size]], len(ordered)

    # Searching

    def bm25_retrieval(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int = 10, scale_score: bool = False
    ) -> list[Document]:
        """The `top_k` documents in which the query's words and pairs of characters weigh most, without embeddings.

        Only documents that hold at least one of them are returned, each with its score.
        """
        if not query:
            raise ValueError("The query is empty.")
        with self._reading() as connection:
            scores = _bm25_scores(connection, query)
            best = _best(connection, scores, filters=filters, top_k=top_k, with_embedding=False)
        if scale_score:
            best = [replace(document, score=float(expit(document.score / _BM25_SCALE))) for document in best]
        return best

    def embedding_retrieval(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        similarity: Literal["cosine", "dot_product"] = "cosine",
    ) -> list[Document]:
        """The `top_k` documents whose embeddings are most like the query's; those without one are left out."""
        query = np.asarray(query_embedding, dtype=np.float32)
        if query.ndim != 1 or not len(query):
            raise ValueError("The query's embedding must be a list of numbers that is not empty.")
        with self._reading() as connection:
            scores = _similarities(connection, query, filters=filters, similarity=similarity)
            best = _best(connection, scores, filters=filters, top_k=top_k, with_embedding=return_embedding)
        if scale_score and similarity == "cosine":
            best = [replace(document, score=(document.score + 1) / 2) for document in best]
        elif scale_score:
            best = [replace(document, score=float(expit(document.score / _DOT_PRODUCT_SCALE))) for document in best]
        return best

    # Writing

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write all of the documents or, where one can't be written, none; say how many were. NONE means FAIL."""
        if not isinstance(documents, Iterable) or isinstance(documents, str | bytes | dict):
            raise ValueError("Please provide a list of Documents.")
        documents = list(documents)
        if not all(isinstance(document, Document) for document in documents):
            raise ValueError("Please provide a list of Documents.")
        statement = _WRITE[DuplicatePolicy.FAIL if policy == DuplicatePolicy.NONE else policy]
        # Whatever takes time is done before the file is locked for other writers.
        prepared = [_row(document) for document in documents]

        written = 0
        with self._writing() as connection:
            for row, terms in prepared:
                try:
                    number = connection.execute(statement, row).fetchone()
                except sqlite3.IntegrityError as error:
                    raise DuplicateDocumentError(f"A document with the id {row[0]!r} already exists.") from error
                if number is None:
                    continue
                written += 1
                connection.execute("DELETE FROM terms WHERE rowid = ?", number)
                if terms:
                    connection.execute("INSERT INTO terms (rowid, text) VALUES (?, ?)", (*number, terms))
        return written

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete the documents with these ids; one that doesn't exist is no error."""
        ids = [(document_id,) for document_id in document_ids]
        with self._writing() as connection:
            connection.executemany("DELETE FROM documents WHERE id = ?", ids)

    def delete_all_documents(self) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM documents")

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match, and say how many. No filter at all is refused: see delete_all_documents."""
        document_filters.refuse_malformed(filters)
        with self._writing() as connection:
            numbers = [(number,) for number, _ in _matching(connection, filters, bare=True)]
            connection.executemany("DELETE FROM documents WHERE number = ?", numbers)
        return len(numbers)

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Merge `meta` into that of each matching document, and say how many there were. Ids stay as they are."""
        document_filters.refuse_malformed(filters)
        with self._writing() as connection:
            changes = [
                (_json({**document.meta, **meta}, document.id), number)
                for number, document in _matching(connection, filters, bare=True)
            ]
            connection.executemany("UPDATE documents SET meta = ? WHERE number = ?", changes)
        return len(changes)

    # The file

    @property
    def path(self) -> Path:
        """Where the documents are kept, or DocumentStoreError where this process has been told no folder."""
        folder = os.environ.get(DIRECTORY_VARIABLE)
        if not folder:
            raise DocumentStoreError(
                f"{DIRECTORY_VARIABLE} is not set, so there is no folder for the index {self.index!r}. "
                "The runner sets it for each run."
            )
        return Path(folder) / f"{unicodedata.normalize('NFC', self.index)}.sqlite3"

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with closing(_opened(self.path)) as connection:
            connection.execute("BEGIN")  # one snapshot, however many statements
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with closing(_opened(self.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")  # a lock taken later could not be waited for
            yield connection
            connection.execute("COMMIT")

    def _metas(self, filters: dict[str, Any] | None) -> list[dict[str, Any]]:
        with self._reading() as connection:
            return [document.meta for _, document in _matching(connection, filters, bare=True)]


def _opened(path: Path) -> sqlite3.Connection:
    """A connection for one method call: so there is nothing to share between threads or to inherit by a fork."""
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            _lay_out(connection)
            return connection
        except sqlite3.OperationalError as error:
            connection.close()
            # SQLite doesn't wait while another process switches the new file to WAL or recovers it: we do.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise DocumentStoreError(f"The document store {path.name} can't be opened: {error}") from error
            time.sleep(0.02)
        except BaseException:
            connection.close()
            raise


def _lay_out(connection: sqlite3.Connection) -> None:
    layout = _layout(connection)
    if layout == 0:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        if _layout(connection) == 0:  # nobody was quicker
            for statement in _CREATE:
                connection.execute(statement)
        connection.execute("COMMIT")
    elif layout > _LAYOUT:
        raise DocumentStoreError("The document store was written by a newer version of this program.")


def _layout(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


# Between documents and rows


def _row(document: Document) -> tuple[tuple[Any, ...], str]:
    terms = stored_terms(document.content) if document.content is not None else None
    blob, sparse = document.blob, document.sparse_embedding
    row = (
        document.id,
        document.content,
        None if terms is None else len(terms),
        _json(document.meta, document.id),
        document.score,
        json.dumps(sparse.to_dict()) if sparse is not None else None,
        _json({"meta": blob.meta, "mime_type": blob.mime_type}, document.id) if blob is not None else None,
        np.asarray(document.embedding, dtype="<f4").tobytes() if document.embedding is not None else None,
        blob.data if blob is not None else None,
    )
    return row, " ".join(terms or ())


def _json(value: Any, document_id: str) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_iso_format)
    except (TypeError, ValueError) as error:
        raise DocumentStoreError(f"The meta of document {document_id} can't be kept as JSON: {error}") from error


def _iso_format(value: Any) -> str:
    if isinstance(value, date | datetime):  # filters read ISO dates as dates
        return value.isoformat()
    raise TypeError(f"a {type(value).__name__} is not JSON")


_BARE = "number, id, content, meta, score"
_WHOLE = f"{_BARE}, sparse_embedding, blob_about, blob, embedding"
_READ = f"SELECT {_WHOLE} FROM documents WHERE number = ?"  # noqa: S608 - the columns are ours


def _document(row: tuple[Any, ...], *, with_embedding: bool = True) -> Document:
    _, document_id, content, meta, score, *large = row
    sparse, blob_about, blob, embedding = large or (None, None, None, None)
    return Document(
        id=document_id,
        content=content,
        meta=json.loads(meta),
        score=score,
        sparse_embedding=SparseEmbedding.from_dict(json.loads(sparse)) if sparse is not None else None,
        blob=ByteStream(data=blob, **json.loads(blob_about)) if blob_about is not None else None,
        embedding=np.frombuffer(embedding, dtype="<f4").tolist() if with_embedding and embedding is not None else None,
    )


def _identity(value: Any) -> tuple[str, str]:
    """What tells values apart that Python thinks equal: 1, 1.0 and True."""
    return type(value).__name__, json.dumps(value, sort_keys=True)


# Finding


def _matching(
    connection: sqlite3.Connection, filters: dict[str, Any] | None, *, bare: bool = False
) -> Iterator[tuple[int, Document]]:
    """The matching documents with their numbers; `bare` ones lack what is large, unless a filter asks for it."""
    if filters:
        document_filters.refuse_malformed(filters)
    columns = _BARE if bare and not document_filters.asks_for_large(filters) else _WHOLE
    condition, values = document_filters.narrowing(filters)
    statement = f"SELECT {columns} FROM documents WHERE {condition} ORDER BY number"  # noqa: S608 - values are bound
    for row in connection.execute(statement, values):
        document = _document(row)
        if document_filters.matches(document, filters):
            yield row[0], document


_PLACES = "SELECT doc, count(*) AS times FROM term_places WHERE"
_FIND = f"SELECT number, times, length FROM ({_PLACES} term = ? GROUP BY doc) JOIN documents ON number = doc"  # noqa: S608
_FIND_BEGINNING = _FIND.replace("term = ?", "term >= ? AND term < ?")


def _bm25_scores(connection: sqlite3.Connection, query: str) -> dict[int, float]:
    count, average = connection.execute(
        "SELECT count(*), avg(length) FROM documents WHERE length IS NOT NULL"
    ).fetchone()
    scores: dict[int, float] = {}
    for term in query_terms(query):
        if term.begins:
            found = connection.execute(_FIND_BEGINNING, (term.text, term.text + "\U0010ffff")).fetchall()
        else:
            found = connection.execute(_FIND, (term.text,)).fetchall()
        rarity = math.log(1 + (count - len(found) + 0.5) / (len(found) + 0.5))
        for number, times, length in found:
            weight = times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * length / average))
            scores[number] = scores.get(number, 0.0) + rarity * weight
    return scores


def _similarities(
    connection: sqlite3.Connection, query: np.ndarray, *, filters: dict[str, Any] | None, similarity: str
) -> dict[int, float]:
    if filters:
        document_filters.refuse_malformed(filters)
    condition, values = document_filters.narrowing(filters)
    statement = f"SELECT number, embedding FROM documents WHERE embedding IS NOT NULL AND ({condition})"  # noqa: S608
    cursor = connection.execute(statement, values)
    scores: dict[int, float] = {}
    while rows := cursor.fetchmany(_BATCH):  # in batches: all the vectors at once might not fit
        sizes = {len(embedding) // 4 for _, embedding in rows}
        if sizes != {len(query)}:
            raise DocumentStoreError(
                f"The query's embedding has {len(query)} numbers, but there are documents with "
                f"{', '.join(str(size) for size in sorted(sizes - {len(query)}))}: embed all by the same model."
            )
        vectors = np.frombuffer(b"".join(embedding for _, embedding in rows), dtype="<f4").reshape(len(rows), -1)
        products = vectors @ query
        if similarity == "cosine":
            norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
            products = np.divide(products, norms, out=np.zeros_like(products), where=norms > 0)
        scores.update(zip((number for number, _ in rows), products.tolist(), strict=True))
    return scores


def _best(
    connection: sqlite3.Connection,
    scores: dict[int, float],
    *,
    filters: dict[str, Any] | None,
    top_k: int,
    with_embedding: bool,
) -> list[Document]:
    """The matching documents with the highest scores, the earlier written first where two are equal."""
    if filters:
        document_filters.refuse_malformed(filters)
    best: list[Document] = []
    for number in sorted(scores, key=lambda number: (-scores[number], number)):
        if len(best) >= top_k:
            break
        row = connection.execute(_READ, (number,)).fetchone()
        if not document_filters.matches(_document(row), filters):
            continue
        best.append(replace(_document(row, with_embedding=with_embedding), score=scores[number]))
    return best
