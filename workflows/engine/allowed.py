"""The classes that a definition may name, parameter by parameter, for Haystack 3.4, and what became of those of 2.x.

A class is here when nothing that a definition, trigger data or a model can hand to it reaches a file, a callable or a
host of their choosing. A parameter that isn't here doesn't exist for a definition, whatever Haystack makes of it.
"""

TOOL = "haystack.tools.component_tool.ComponentTool"

# Class by class: what it is to the policy, and the parameters it may be given.
_COMPONENTS = """
haystack.components.agents.agent.Agent: chat_generator tools system_prompt user_prompt required_variables
    exit_conditions state_schema max_agent_steps raise_on_tool_invocation_failure tool_concurrency_limit
    tool_streaming_callback_passthrough hooks streaming_callback
haystack.components.builders.answer_builder.AnswerBuilder: pattern reference_pattern last_message_only
    return_only_referenced_documents expand_reference_ranges
haystack.components.builders.chat_prompt_builder.ChatPromptBuilder: template required_variables variables
haystack.components.builders.prompt_builder.PromptBuilder: template required_variables variables
haystack.components.caching.cache_checker.CacheChecker: document_store cache_field
haystack.components.converters.csv.CSVToDocument: encoding store_full_path conversion_mode delimiter quotechar
haystack.components.converters.docx.DOCXToDocument: table_format link_format store_full_path
haystack.components.converters.html.HTMLToDocument: store_full_path encoding
haystack.components.converters.markdown.MarkdownToDocument: table_to_single_line progress_bar store_full_path
    encoding extract_frontmatter
haystack.components.converters.output_adapter.OutputAdapter: template output_type custom_filters unsafe
haystack.components.converters.pptx.PPTXToDocument: store_full_path link_format
haystack.components.converters.pypdf.PyPDFToDocument: extraction_mode plain_mode_orientations plain_mode_space_width
    layout_mode_space_vertically layout_mode_scale_weight layout_mode_strip_rotated layout_mode_font_height_weight
    store_full_path link_format
haystack.components.converters.txt.TextFileToDocument: encoding store_full_path
haystack.components.converters.xlsx.XLSXToDocument: table_format sheet_name link_format store_full_path
haystack.components.embedders.azure_document_embedder.AzureOpenAIDocumentEmbedder: azure_endpoint api_version
    azure_deployment dimensions api_key azure_ad_token organization prefix suffix batch_size progress_bar
    meta_fields_to_embed embedding_separator timeout max_retries raise_on_failure default_headers
    azure_ad_token_provider http_client_kwargs
haystack.components.embedders.azure_text_embedder.AzureOpenAITextEmbedder: azure_endpoint api_version azure_deployment
    dimensions api_key azure_ad_token organization timeout max_retries prefix suffix default_headers
    azure_ad_token_provider http_client_kwargs
haystack.components.embedders.mock_document_embedder.MockDocumentEmbedder: embedding embedding_fn dimension model meta
    prefix suffix meta_fields_to_embed embedding_separator progress_bar
haystack.components.embedders.mock_text_embedder.MockTextEmbedder: embedding embedding_fn dimension model meta prefix
    suffix
haystack.components.embedders.openai_document_embedder.OpenAIDocumentEmbedder: api_key model dimensions api_base_url
    organization prefix suffix batch_size progress_bar meta_fields_to_embed embedding_separator timeout max_retries
    http_client_kwargs raise_on_failure
haystack.components.embedders.openai_text_embedder.OpenAITextEmbedder: api_key model dimensions api_base_url
    organization prefix suffix timeout max_retries http_client_kwargs
haystack.components.evaluators.answer_exact_match.AnswerExactMatchEvaluator:
haystack.components.evaluators.context_relevance.ContextRelevanceEvaluator: examples progress_bar raise_on_failure
    chat_generator
haystack.components.evaluators.document_map.DocumentMAPEvaluator: document_comparison_field
haystack.components.evaluators.document_mrr.DocumentMRREvaluator: document_comparison_field
haystack.components.evaluators.document_ndcg.DocumentNDCGEvaluator: document_comparison_field
haystack.components.evaluators.document_recall.DocumentRecallEvaluator: mode document_comparison_field
haystack.components.evaluators.faithfulness.FaithfulnessEvaluator: examples progress_bar raise_on_failure
    chat_generator
haystack.components.evaluators.llm_evaluator.LLMEvaluator: instructions inputs outputs examples progress_bar
    raise_on_failure chat_generator
haystack.components.extractors.llm_metadata_extractor.LLMMetadataExtractor: prompt chat_generator expected_keys
    page_range raise_on_failure max_workers
haystack.components.extractors.regex_text_extractor.RegexTextExtractor: regex_pattern
haystack.components.generators.chat.azure.AzureOpenAIChatGenerator: azure_endpoint api_version azure_deployment api_key
    azure_ad_token organization streaming_callback timeout max_retries generation_kwargs default_headers tools
    tools_strict azure_ad_token_provider http_client_kwargs
haystack.components.generators.chat.azure_responses.AzureOpenAIResponsesChatGenerator: api_key azure_endpoint
    azure_deployment streaming_callback organization generation_kwargs timeout max_retries tools tools_strict
    http_client_kwargs
haystack.components.generators.chat.fallback.FallbackChatGenerator: chat_generators
haystack.components.generators.chat.llm.LLM: chat_generator system_prompt user_prompt required_variables
    streaming_callback
haystack.components.generators.chat.mock.MockChatGenerator: responses response_fn model meta streaming_callback
haystack.components.generators.chat.openai.OpenAIChatGenerator: api_key model streaming_callback api_base_url
    organization generation_kwargs timeout max_retries tools tools_strict http_client_kwargs
haystack.components.generators.chat.openai_responses.OpenAIResponsesChatGenerator: api_key model streaming_callback
    api_base_url organization generation_kwargs timeout max_retries tools tools_strict http_client_kwargs
haystack.components.generators.openai_image_generator.OpenAIImageGenerator: model quality size response_format api_key
    api_base_url organization timeout max_retries http_client_kwargs
haystack.components.joiners.answer_joiner.AnswerJoiner: join_mode top_k sort_by_score
haystack.components.joiners.branch.BranchJoiner: type_
haystack.components.joiners.document_joiner.DocumentJoiner: join_mode weights top_k sort_by_score
haystack.components.joiners.list_joiner.ListJoiner: list_type_
haystack.components.joiners.string_joiner.StringJoiner:
haystack.components.preprocessors.csv_document_cleaner.CSVDocumentCleaner: ignore_rows ignore_columns
    remove_empty_rows remove_empty_columns keep_id
haystack.components.preprocessors.csv_document_splitter.CSVDocumentSplitter: row_split_threshold
    column_split_threshold split_mode
haystack.components.preprocessors.document_cleaner.DocumentCleaner: remove_empty_lines remove_extra_whitespaces
    remove_repeated_substrings keep_id remove_substrings remove_regex unicode_normalization ascii_only
    strip_whitespaces replace_regexes min_content_length
haystack.components.preprocessors.document_preprocessor.DocumentPreprocessor: split_by split_length split_overlap
    split_threshold splitting_function respect_sentence_boundary language use_split_rules extend_abbreviations
    tokenizer_encoding remove_empty_lines remove_extra_whitespaces remove_repeated_substrings keep_id
    remove_substrings remove_regex unicode_normalization ascii_only
haystack.components.preprocessors.document_splitter.DocumentSplitter: split_by split_length split_overlap
    split_threshold splitting_function respect_sentence_boundary language use_split_rules extend_abbreviations
    skip_empty_documents tokenizer_encoding
haystack.components.preprocessors.embedding_based_document_splitter.EmbeddingBasedDocumentSplitter: document_embedder
    sentences_per_group percentile min_length max_length language use_split_rules extend_abbreviations
haystack.components.preprocessors.hierarchical_document_splitter.HierarchicalDocumentSplitter: block_sizes
    split_overlap split_by
haystack.components.preprocessors.markdown_header_splitter.MarkdownHeaderSplitter: page_break_character keep_headers
    header_split_levels secondary_split split_length split_overlap split_threshold skip_empty_documents
haystack.components.preprocessors.python_code_splitter.PythonCodeSplitter: min_effective_lines max_effective_lines
    expected_chars_per_line oversized_factor strip_docstrings preserve_class_definition secondary_split_overlap
    secondary_split_length
haystack.components.preprocessors.recursive_splitter.RecursiveDocumentSplitter: split_length split_overlap split_unit
    separators sentence_splitter_params
haystack.components.preprocessors.text_cleaner.TextCleaner: remove_regexps convert_to_lowercase remove_punctuation
    remove_numbers
haystack.components.query.query_expander.QueryExpander: chat_generator prompt_template n_expansions
    include_original_query
haystack.components.rankers.llm_ranker.LLMRanker: chat_generator prompt top_k raise_on_failure
haystack.components.rankers.lost_in_the_middle.LostInTheMiddleRanker: word_count_threshold top_k
haystack.components.rankers.meta_field.MetaFieldRanker: meta_field weight top_k ranking_mode sort_order missing_meta
    meta_value_type
haystack.components.rankers.meta_field_grouping_ranker.MetaFieldGroupingRanker: group_by subgroup_by sort_docs_by
haystack.components.retrievers.auto_merging_retriever.AutoMergingRetriever: document_store threshold
haystack.components.retrievers.filter_retriever.FilterRetriever: document_store filters
haystack.components.retrievers.in_memory.bm25_retriever.InMemoryBM25Retriever: document_store filters top_k scale_score
    filter_policy
haystack.components.retrievers.in_memory.embedding_retriever.InMemoryEmbeddingRetriever: document_store filters top_k
    scale_score return_embedding filter_policy
haystack.components.retrievers.multi_query_embedding_retriever.MultiQueryEmbeddingRetriever: retriever query_embedder
    max_workers
haystack.components.retrievers.multi_query_text_retriever.MultiQueryTextRetriever: retriever max_workers
haystack.components.retrievers.multi_retriever.MultiRetriever: retrievers filters top_k_per_retriever top_k max_workers
    join_mode
haystack.components.retrievers.sentence_window_retriever.SentenceWindowRetriever: document_store window_size
    source_id_meta_field split_id_meta_field raise_on_missing_meta_fields
haystack.components.retrievers.text_embedding_retriever.TextEmbeddingRetriever: retriever text_embedder
haystack.components.routers.conditional_router.ConditionalRouter: routes custom_filters unsafe validate_output_type
    optional_variables
haystack.components.routers.document_length_router.DocumentLengthRouter: threshold
haystack.components.routers.document_type_router.DocumentTypeRouter: mime_types mime_type_meta_field
    file_path_meta_field additional_mimetypes
haystack.components.routers.file_type_router.FileTypeRouter: mime_types additional_mimetypes raise_on_failure
haystack.components.routers.llm_messages_router.LLMMessagesRouter: chat_generator output_names output_patterns
    system_prompt
haystack.components.routers.metadata_router.MetadataRouter: rules output_type strict_datetime_comparison
haystack.components.samplers.top_p.TopPSampler: top_p score_field min_top_k
haystack.components.validators.json_schema.JsonSchemaValidator: json_schema error_template
haystack.components.writers.document_writer.DocumentWriter: document_store policy
workflows.documents.retrievers.WorkspaceBM25Retriever: document_store filters top_k scale_score filter_policy
workflows.documents.retrievers.WorkspaceEmbeddingRetriever: document_store filters top_k similarity scale_score
    return_embedding filter_policy
"""

# What may stand inside a component's parameters, besides components.
_PARTS = """
haystack.document_stores.in_memory.document_store.InMemoryDocumentStore: bm25_tokenization_regex bm25_algorithm
    bm25_parameters embedding_similarity_function index shared return_embedding strict_datetime_comparison
workflows.documents.store.WorkspaceDocumentStore: index
haystack.hooks.budget.hooks.TokenBudgetHook: max_total_tokens add_final_message
haystack.hooks.compaction.hooks.CompactionHook: compactor context_window compact_at compact_to token_counter
haystack.hooks.compaction.sliding_window.SlidingWindowCompactor: min_keep_steps omission_note
haystack.hooks.compaction.summarization.SummarizationCompactor: chat_generator min_keep_steps
    approximate_summary_tokens summary_instruction raise_on_failure
haystack.hooks.compaction.tool_result_pruning.ToolResultPruningCompactor: min_keep_steps min_tokens placeholder
    skip_meta_keys
haystack.token_counters.approximate_counter.ApproximateTokenCounter: *
"""


def _table(text: str) -> dict[str, frozenset[str] | None]:
    table: dict[str, frozenset[str] | None] = {}
    for entry in text.strip().replace("\n    ", " ").splitlines():
        name, _, parameters = entry.partition(":")
        words = parameters.split()
        table[name] = None if words == ["*"] else frozenset(words)
    return table


COMPONENTS = _table(_COMPONENTS)
PARTS = _table(_PARTS)
TOOL_KEYS = frozenset(
    ("component", "name", "description", "parameters", "outputs_to_string", "inputs_from_state", "outputs_to_state")
)

# These read whatever path they are given, so only uploaded bytes may reach their `sources`.
FILE_READERS = frozenset(
    name for name in COMPONENTS if name.startswith("haystack.components.converters.") and "output_adapter" not in name
) | {"haystack.components.routers.file_type_router.FileTypeRouter"}
FILE_ROUTER = "haystack.components.routers.file_type_router.FileTypeRouter"

# Where a class goes when its YAML names no address, and the secret that it then takes by itself.
_OPENAI = (
    "haystack.components.embedders.openai_document_embedder.OpenAIDocumentEmbedder",
    "haystack.components.embedders.openai_text_embedder.OpenAITextEmbedder",
    "haystack.components.generators.chat.openai.OpenAIChatGenerator",
    "haystack.components.generators.chat.openai_responses.OpenAIResponsesChatGenerator",
    "haystack.components.generators.openai_image_generator.OpenAIImageGenerator",
)
_AZURE = (
    "haystack.components.embedders.azure_document_embedder.AzureOpenAIDocumentEmbedder",
    "haystack.components.embedders.azure_text_embedder.AzureOpenAITextEmbedder",
    "haystack.components.generators.chat.azure.AzureOpenAIChatGenerator",
    "haystack.components.generators.chat.azure_responses.AzureOpenAIResponsesChatGenerator",
)
DEFAULT_URLS = dict.fromkeys(_OPENAI, "https://api.openai.com/v1")
DEFAULT_SECRETS = {**dict.fromkeys(_OPENAI, "OPENAI_API_KEY"), **dict.fromkeys(_AZURE, "AZURE_OPENAI_API_KEY")}
URL_REQUIRED = dict.fromkeys(_AZURE, "azure_endpoint")
# Without a generator of their own these make one that goes to OpenAI.
GENERATOR_REQUIRED = frozenset(
    (
        "haystack.components.evaluators.context_relevance.ContextRelevanceEvaluator",
        "haystack.components.evaluators.faithfulness.FaithfulnessEvaluator",
        "haystack.components.evaluators.llm_evaluator.LLMEvaluator",
        "haystack.components.query.query_expander.QueryExpander",
        "haystack.components.rankers.llm_ranker.LLMRanker",
    )
)

# Core classes that exist and may not be used, and why: for the message alone. Whatever is not listed above is refused.
_FILES = "it reads files, and a definition has none"
REFUSED = {
    "haystack.components.converters.file_to_file_content.FileToFileContent": _FILES,
    "haystack.components.converters.image.document_to_image.DocumentToImageContent": _FILES,
    "haystack.components.converters.image.file_to_document.ImageFileToDocument": _FILES,
    "haystack.components.converters.image.file_to_image.ImageFileToImageContent": _FILES,
    "haystack.components.converters.image.pdf_to_image.PDFToImageContent": _FILES,
    "haystack.components.converters.json.JSONConverter": "its jq expressions can read the environment",
    "haystack.components.converters.msg.MSGToDocument": _FILES,
    "haystack.components.converters.multi_file_converter.MultiFileConverter": _FILES
    + "; use FileTypeRouter and single converters",
    "haystack.components.converters.pdfminer.PDFMinerToDocument": _FILES + "; use PyPDFToDocument",
    "haystack.components.evaluators.sas_evaluator.SASEvaluator": "it downloads models",
    "haystack.components.extractors.image.llm_document_content_extractor.LLMDocumentContentExtractor": _FILES,
    "haystack.components.fetchers.link_content.LinkContentFetcher": "it fetches any address that it is given",
    "haystack.core.super_component.super_component.SuperComponent": "it hides a pipeline within the pipeline; write "
    "its components directly",
    "haystack.tools.tool.Tool": "a tool may not name a function; wrap an allowed component in a ComponentTool",
    "haystack.tools.pipeline_tool.PipelineTool": "it hides a pipeline; wrap an allowed component in a ComponentTool",
    "haystack.tools.agent_tool.AgentTool": "wrap the Agent in a ComponentTool",
    "haystack.tools.toolset.Toolset": "list ComponentTools instead",
    "haystack.tools.searchable_toolset.SearchableToolset": "list ComponentTools instead",
    "haystack.tools.skills.skill_toolset.SkillToolset": "it reads directories",
    "haystack.skill_stores.file_system.skill_store.FileSystemSkillStore": "it reads directories",
    "haystack.hooks.from_function.FunctionHook": "it names a function",
    "haystack.hooks.human_in_the_loop.hooks.ConfirmationHook": "it waits for somebody at a terminal",
    "haystack.hooks.tool_result_offloading.hooks.ToolResultOffloadHook": "it writes files",
    "haystack.hooks.tool_result_offloading.stores.FileSystemToolResultStore": "it writes files",
    "haystack.hooks.compaction.tool_result_offloading.ToolResultOffloadCompactor": "it writes files",
}


def _moved(package: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(
        names,
        f"It left Haystack's core for the package {package}; whoever runs this site can install that and name the "
        "class in PIPELINE_COMPONENTS",
    )


_CHAT = "haystack.components.generators.chat."
# By class name: definitions written for Haystack 2 that 3.x no longer loads.
MOVED = {
    "OpenAIGenerator": f"Text generators are gone in Haystack 3; use {_CHAT}openai.OpenAIChatGenerator, which takes "
    "a plain string for `messages` too",
    "AzureOpenAIGenerator": f"Text generators are gone in Haystack 3; use {_CHAT}azure.AzureOpenAIChatGenerator",
    "HuggingFaceAPIGenerator": "Text generators are gone in Haystack 3; use a chat generator such as "
    f"{_CHAT}openai.OpenAIChatGenerator with `api_base_url`",
    "HuggingFaceLocalGenerator": "Text generators are gone in Haystack 3; use a chat generator such as "
    f"{_CHAT}openai.OpenAIChatGenerator with `api_base_url`",
    "DALLEImageGenerator": "It is now haystack.components.generators.openai_image_generator.OpenAIImageGenerator",
    "ToolInvoker": "It is gone in Haystack 3: haystack.components.agents.agent.Agent calls its tools itself",
    "AsyncPipeline": "It is gone in Haystack 3: there is one Pipeline",
    "DynamicChatPromptBuilder": "It is now haystack.components.builders.chat_prompt_builder.ChatPromptBuilder",
    "DynamicPromptBuilder": "It is now haystack.components.builders.prompt_builder.PromptBuilder",
    "Multiplexer": "It is now haystack.components.joiners.branch.BranchJoiner",
    **_moved(
        "sentence-transformers-haystack",
        "SentenceTransformersTextEmbedder",
        "SentenceTransformersDocumentEmbedder",
        "SentenceTransformersSparseTextEmbedder",
        "SentenceTransformersSparseDocumentEmbedder",
        "SentenceTransformersDocumentImageEmbedder",
        "SentenceTransformersDiversityRanker",
        "SentenceTransformersSimilarityRanker",
    ),
    **_moved(
        "transformers-haystack",
        "TransformersSimilarityRanker",
        "ExtractiveReader",
        "TransformersZeroShotTextRouter",
        "TransformersTextRouter",
        "TransformersZeroShotDocumentClassifier",
        "HuggingFaceLocalChatGenerator",
        "NamedEntityExtractor",
    ),
    **_moved(
        "huggingface-api-haystack",
        "HuggingFaceAPIChatGenerator",
        "HuggingFaceAPITextEmbedder",
        "HuggingFaceAPIDocumentEmbedder",
        "HuggingFaceTEIRanker",
    ),
    **_moved("serperdev-haystack", "SerperDevWebSearch"),
    **_moved("searchapi-haystack", "SearchApiWebSearch"),
    **_moved("tika-haystack", "TikaDocumentConverter"),
    **_moved("azure-form-recognizer-haystack", "AzureOCRDocumentConverter"),
    **_moved("openapi-haystack", "OpenAPIConnector", "OpenAPIServiceConnector", "OpenAPIServiceToFunctions"),
    **_moved("whisper-haystack", "LocalWhisperTranscriber", "RemoteWhisperTranscriber"),
    **_moved("langdetect-haystack", "DocumentLanguageClassifier", "TextLanguageRouter"),
}

# Parameters of Haystack 2 that 3.x refuses, by class name.
GONE_PARAMETERS = {
    ("Agent", "confirmation_strategies"): "Haystack 3 has `hooks` instead; remove it.",
}

# Type names that a definition may write where a component takes a type. Anything else under `typing` or `haystack`
# can be a function, and some of those evaluate strings.
TYPE_NAMES = frozenset(
    (
        *("str", "int", "float", "bool", "bytes", "list", "dict", "set", "tuple", "frozenset", "None", "NoneType"),
        *("object", "builtins.str", "builtins.int", "builtins.float", "builtins.bool", "builtins.list"),
        *("builtins.dict", "builtins.set", "builtins.tuple"),
        *("typing.Any", "typing.Optional", "typing.Union", "typing.List", "typing.Dict", "typing.Set"),
        *("typing.Tuple", "typing.Sequence", "typing.Iterable", "Any", "Optional", "Union"),
        "haystack.dataclasses.Document",
        "haystack.dataclasses.document.Document",
        "haystack.dataclasses.ChatMessage",
        "haystack.dataclasses.chat_message.ChatMessage",
        "haystack.dataclasses.chat_message.ToolCall",
        "haystack.dataclasses.ByteStream",
        "haystack.dataclasses.byte_stream.ByteStream",
        "haystack.dataclasses.GeneratedAnswer",
        "haystack.dataclasses.answer.GeneratedAnswer",
        "haystack.dataclasses.answer.ExtractedAnswer",
        "haystack.dataclasses.SparseEmbedding",
        "haystack.dataclasses.sparse_embedding.SparseEmbedding",
        "haystack.dataclasses.image_content.ImageContent",
        "haystack.dataclasses.file_content.FileContent",
    )
)
