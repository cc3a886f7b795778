"""A component to measure with: BM25 over 500 documents that it holds in memory, two to three milliseconds of work."""

from haystack import Document, component
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

SUBJECTS = [
    "人工智能",
    "机器学习",
    "知识库",
    "向量检索",
    "语言模型",
    "数据库",
    "消息队列",
    "工作流",
    "文档",
    "语音识别",
]
TEXT = (
    "第 {n} 篇：{subject}是什么，怎样用于{other}。Passage number {n} of the collection tells how a team put {subject} "
    "to use, what it cost, and what they would do another time with {other}; it is about as long as a passage is."
)


@component
class Retrieval:
    def __init__(self):
        # The pattern that the store has by itself takes a sentence in Chinese for one word.
        store = InMemoryDocumentStore(bm25_tokenization_regex=r"(?u)[\u4e00-\u9fff]|[a-zA-Z0-9]+")
        pairs = [(subject, other) for subject in SUBJECTS for other in SUBJECTS] * 5
        texts = [TEXT.format(n=n, subject=subject, other=other) for n, (subject, other) in enumerate(pairs)]
        store.write_documents([Document(content=text) for text in texts])
        self._retriever = InMemoryBM25Retriever(store, top_k=5)

    @component.output_types(documents=list[Document])
    def run(self, query: str) -> dict:
        return self._retriever.run(query)
