"""The components that search a WorkspaceDocumentStore: by the query's words, or by its embedding."""

from typing import Any, Literal

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from workflows.documents.store import WorkspaceDocumentStore


@component
class WorkspaceBM25Retriever:
    """Finds the documents in which the query's words weigh most. Chinese, Japanese and Korean need no spaces."""

    def __init__(
        self,
        document_store: WorkspaceDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        """
        :param document_store: Where to search.
        :param filters: Only documents that match these are found.
        :param top_k: How many documents to return at most.
        :param scale_score: Whether scores are scaled to lie between 0 and 1.
        :param filter_policy: Whether filters given at run time replace these or are merged with them.
        """
        _expect_store(document_store)
        self.document_store = document_store
        self.filters = filters
        self.top_k = _at_least(1, top_k)
        self.scale_score = scale_score
        self.filter_policy = _policy(filter_policy)

    def to_dict(self) -> dict[str, Any]:
        return default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            scale_score=self.scale_score,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "WorkspaceBM25Retriever":
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
    ) -> dict[str, list[Document]]:
        """
        Search the store.

        :param query: The words to look for.
        :param filters: Only documents that match these are found.
        :param top_k: How many documents to return at most.
        :param scale_score: Whether scores are scaled to lie between 0 and 1.
        :returns: The documents with their scores, the best first.
        """
        documents = self.document_store.bm25_retrieval(
            query=query,
            filters=apply_filter_policy(self.filter_policy, self.filters, filters),
            top_k=self.top_k if top_k is None else _at_least(0, top_k),
            scale_score=self.scale_score if scale_score is None else scale_score,
        )
        return {"documents": documents}


@component
class WorkspaceEmbeddingRetriever:
    """Finds the documents whose embeddings are most like the query's."""

    def __init__(
        self,
        document_store: WorkspaceDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        similarity: Literal["cosine", "dot_product"] = "cosine",
        scale_score: bool = False,
        return_embedding: bool = False,
        filter_policy: FilterPolicy = FilterPolicy.REPLACE,
    ) -> None:
        """
        :param document_store: Where to search.
        :param filters: Only documents that match these are found.
        :param top_k: How many documents to return at most.
        :param similarity: How embeddings are compared: "cosine" or "dot_product".
        :param scale_score: Whether scores are scaled to lie between 0 and 1.
        :param return_embedding: Whether the documents found carry their embeddings.
        :param filter_policy: Whether filters given at run time replace these or are merged with them.
        """
        _expect_store(document_store)
        if similarity not in ("cosine", "dot_product"):
            raise ValueError(f"similarity is 'cosine' or 'dot_product', not {similarity!r}")
        self.document_store = document_store
        self.filters = filters
        self.top_k = _at_least(1, top_k)
        self.similarity = similarity
        self.scale_score = scale_score
        self.return_embedding = return_embedding
        self.filter_policy = _policy(filter_policy)

    def to_dict(self) -> dict[str, Any]:
        return default_to_dict(
            self,
            document_store=self.document_store.to_dict(),
            filters=self.filters,
            top_k=self.top_k,
            similarity=self.similarity,
            scale_score=self.scale_score,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "WorkspaceEmbeddingRetriever":
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """
        Search the store.

        :param query_embedding: The query's embedding, made by the model that embedded the documents.
        :param filters: Only documents that match these are found.
        :param top_k: How many documents to return at most.
        :param scale_score: Whether scores are scaled to lie between 0 and 1.
        :param return_embedding: Whether the documents found carry their embeddings.
        :returns: The documents with their scores, the best first.
        """
        documents = self.document_store.embedding_retrieval(
            query_embedding=query_embedding,
            filters=apply_filter_policy(self.filter_policy, self.filters, filters),
            top_k=self.top_k if top_k is None else _at_least(0, top_k),
            similarity=self.similarity,
            scale_score=self.scale_score if scale_score is None else scale_score,
            return_embedding=self.return_embedding if return_embedding is None else return_embedding,
        )
        return {"documents": documents}


def _expect_store(document_store: Any) -> None:
    if not isinstance(document_store, WorkspaceDocumentStore):
        raise TypeError(f"document_store must be a WorkspaceDocumentStore, not {type(document_store).__name__}")


def _at_least(least: int, top_k: int) -> int:
    if top_k < least:
        raise ValueError(f"top_k must be at least {least}, not {top_k}")
    return top_k


def _policy(filter_policy: FilterPolicy | str) -> FilterPolicy:
    """YAML has no enums: there the policy is a text."""
    return FilterPolicy.from_str(filter_policy) if isinstance(filter_policy, str) else filter_policy
