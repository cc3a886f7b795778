"""The static check: what a definition may say, judged on the parsed YAML alone, before anything is imported for it.

Haystack's own allow-list goes by module and is no sandbox: loading a definition already runs code. So only exact
classes, known parameters, addresses and secrets that the operator named get through here.
"""

import difflib
import re

from workflows.engine import allowed
from workflows.engine.addresses import address, host_allowed, is_bound, shown
from workflows.engine.config import Config
from workflows.engine.document import Document
from workflows.engine.errors import RETRY_REASONS, Problem

MAX_COMPONENTS = 300
MAX_CONNECTIONS = 1500
MAX_RUNS = 100  # Haystack's own default, which its dumps write
MAX_PROBLEMS = 200

HAYSTACK_KEYS = ("components", "connections", "metadata", "max_runs_per_component", "connection_type_validation")
OUR_KEYS = ("inputs", "outputs", "workflow")
WORKFLOW_LIMITS = {"timeout_seconds": (1, 86_400), "max_attempts": (1, 10), "priority": (0, 9)}
WORKFLOW_KEYS = (*WORKFLOW_LIMITS, "retry_on", "keep_warm")

# Sockets that trigger data never reaches, not even when the author lists them: they take code, not data.
NEVER_INPUTS = frozenset(("streaming_callback", "tools", "hook_context"))

_NAME = re.compile(r"[^\W\d][\w-]{0,63}")
_SOCKET = re.compile(r"[^\W\d]\w{0,127}")
_INDEX = re.compile(r"\w[\w-]{0,59}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:/{2,}[^\s\"'<>`]*")
_TYPE_TEXT = re.compile(r"[\w.\[\], |]{1,500}")
_TYPE_WORD = re.compile(r"[\w.]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CALLABLES = _words(
    "function async_function handler streaming_callback response_fn embedding_fn splitting_function "
    "azure_ad_token_provider custom_filters callback callbacks"
)
_WAYS_OUT = _words(
    "unsafe client_kwargs http_client_kwargs async_client_kwargs http_client proxies proxy verify extra_headers "
    "extra_body extra_query default_headers default_query request_headers headers extraction_kwargs read_excel_kwargs "
    "read_csv_kwargs table_format_kwargs async_executor server_url connector_id"
)
_FILES = _words(
    "path paths file files filename file_path file_paths filepath root root_path root_dir dir directory folder "
    "persist_path save_path output_dir cache_dir cache_folder sources command args"
)
_SECRET_PARAMETERS = _words("api_key azure_ad_token token api_token access_token password secret")
_CORE_SECRET_PARAMETERS = frozenset(("api_key", "azure_ad_token"))
_URL_PARAMETERS = _words(
    "api_base_url azure_endpoint base_url api_base api_url url urls host hosts hostname endpoint endpoint_url uri "
    "server"
)
# Text for a model or a template, and plain data: an address in there is only words.
_TEXT_PARAMETERS = _words(
    "template system_prompt user_prompt prompt prompt_template instructions error_template examples responses meta "
    "filters prefix suffix omission_note placeholder summary_instruction description rules additional_mimetypes"
)
# Where a component, a store or another part of a component stands, or several.
_SLOTS = _words(
    "chat_generator chat_generators document_store retriever retrievers text_embedder query_embedder document_embedder "
    "compactor token_counter"
)
_TYPE_PARAMETERS = frozenset(("type_", "list_type_", "output_type"))


def examine(document: Document, config: Config) -> list[Problem]:
    """Everything that the policy has against `document`, in the order of its lines. Imports nothing for it."""
    return Examination(document, config).problems


def allowed_components(config: Config) -> frozenset[str]:
    """The exact names of every class that the runner may make for a definition on this site."""
    return frozenset((*allowed.COMPONENTS, *allowed.PARTS, allowed.TOOL, *config.components))


def run_secrets(document: Document, config: Config) -> dict[str, str]:
    """The values of the secrets that `document` names and the policy grants it, and of no others."""
    return secret_values(Examination(document, config).secrets, config)


def secret_values(names, config: Config) -> dict[str, str]:
    return {name: config.secret_values[name] for name in sorted(names) if name in config.secret_values}


class Examination:
    """One look at a document: `problems`, sorted by line, and `secrets`, the names that were granted."""

    def __init__(self, document: Document, config: Config):
        self.document = document
        self.config = config
        self.found: list[Problem] = []
        self.secrets: set[str] = set()
        self.components: dict[str, str] = {}  # name: type, of those whose shape is right
        self._bindings = _bindings(config.secrets)
        self._extra = frozenset(config.components)
        self._document()
        self.problems = sorted(self.found, key=lambda problem: (problem.line or 0, problem.column or 0))

    def say(self, code, message, path, *, value=False, severity="error"):
        if len(self.found) < MAX_PROBLEMS:
            line, column = self.document.locate(path, value=value)
            self.found.append(Problem(code, message, path, line, column, severity))

    # The sections of a definition.

    def _document(self):
        data = self.document.data
        for key in data:
            if key not in HAYSTACK_KEYS and key not in OUR_KEYS:
                known = ", ".join((*HAYSTACK_KEYS, *OUR_KEYS))
                hint = (
                    "max_runs_per_component" if key == "max_loops_allowed" else _near(key, (*HAYSTACK_KEYS, *OUR_KEYS))
                )
                self.say(
                    "unknown_key", f"`{_cut(key)}` means nothing here.{_did_you_mean(hint)} Known are {known}.", key
                )
        self._components(data.get("components"))
        self._connections(data.get("connections"))
        self._max_runs(data)
        if data.get("connection_type_validation", True) is not True:
            self.say(
                "type_validation_off",
                "`connection_type_validation` must stay true: without it a component is handed what it can't take.",
                "connection_type_validation",
            )
        self._inputs(data.get("inputs"))
        self._outputs(data.get("outputs"))
        self._workflow(data.get("workflow"))

    def _max_runs(self, data):
        runs = data.get("max_runs_per_component", MAX_RUNS)
        if type(runs) is not int or not 1 <= runs <= MAX_RUNS:
            self.say(
                "max_runs_out_of_range",
                f"`max_runs_per_component` must be a whole number from 1 to {MAX_RUNS}.",
                "max_runs_per_component",
            )

    def _components(self, components):
        if "components" not in self.document.data:
            self.say("components_missing", "A definition needs `components:`, a mapping of names to components.", "")
            return
        if not isinstance(components, dict) or not components:
            self.say(
                "components_not_a_mapping",
                "`components` must map each component's name to its `type` and `init_parameters`; "
                f"this is {_kind(components)}.",
                "components",
            )
            return
        if len(components) > MAX_COMPONENTS:
            self.say(
                "too_many_components",
                f"Up to {MAX_COMPONENTS} components are allowed, not {len(components)}.",
                "components",
            )
            return
        for name, component in components.items():
            path = f"components.{name}"
            if not _NAME.fullmatch(name):
                self.say(
                    "bad_component_name",
                    f"`{_cut(name)}` can't be a component's name: begin with a letter or `_`, then letters, digits, "
                    "`_` and `-`, up to 64 in all.",
                    path,
                )
            if not isinstance(component, dict):
                self.say(
                    "component_not_a_mapping",
                    f"The component `{_cut(name)}` must have a `type` and `init_parameters`; "
                    f"this is {_kind(component)}.",
                    path,
                )
                continue
            type_name = self._object(component, path, inner=False)
            self.components[name] = type_name or ""

    def _connections(self, connections):
        if connections is None:
            return
        if not isinstance(connections, list):
            self.say(
                "connections_not_a_list",
                f"`connections` must be a list of `sender` and `receiver`; this is {_kind(connections)}.",
                "connections",
            )
            return
        if len(connections) > MAX_CONNECTIONS:
            self.say(
                "too_many_connections",
                f"Up to {MAX_CONNECTIONS} connections are allowed, not {len(connections)}.",
                "connections",
            )
            return
        for index, connection in enumerate(connections):
            path = f"connections[{index}]"
            if not isinstance(connection, dict):
                self.say(
                    "connection_not_a_mapping",
                    f"A connection has a `sender` and a `receiver`; this is {_kind(connection)}.",
                    path,
                )
                continue
            for key in connection:
                if key not in ("sender", "receiver"):
                    self.say(
                        "unknown_key",
                        f"`{_cut(key)}` means nothing in a connection. Known are sender and receiver.",
                        f"{path}.{key}",
                    )
            ends = {}
            for key in ("sender", "receiver"):
                if key in connection:
                    ends[key] = self._endpoint(connection[key], f"{path}.{key}")
                else:
                    self.say("connection_incomplete", f"This connection has no `{key}`.", path)
            self._file_connection(ends.get("sender"), ends.get("receiver"), path)

    def _file_connection(self, sender, receiver, path):
        """What arrives at a converter's `sources` may be a path that it would read: only uploads may arrive there."""
        if not sender or not receiver or self.components.get(receiver[0]) not in allowed.FILE_READERS:
            return
        from_router = self.components.get(sender[0]) == allowed.FILE_ROUTER
        if receiver[1] != "meta" and not from_router:
            self.say(
                "files_not_allowed",
                "Only a FileTypeRouter or the definition's `inputs` may feed "
                f"`{receiver[0]}.{receiver[1] or 'sources'}`: anything else could name a file of the server.",
                f"{path}.receiver",
            )

    def _endpoint(self, value, path, *, needs_socket=False) -> tuple[str, str] | None:
        """The component and socket of "component.socket", when the component exists."""
        if not isinstance(value, str) or not value:
            self.say("bad_endpoint", f"Write this as `component.socket`; it is {_kind(value)}.", path)
            return None
        component, _, socket = value.partition(".")
        if (needs_socket and not socket) or (socket and not _SOCKET.fullmatch(socket)):
            self.say("bad_endpoint", f"Write `{_cut(value)}` as `component.socket`.", path, value=True)
            return None
        if component not in self.components:
            self.say(
                "no_such_component",
                f"There is no component `{_cut(component)}` in this definition."
                f"{_did_you_mean(_near(component, self.components))}",
                path,
                value=True,
            )
            return None
        return component, socket

    def _inputs(self, inputs):
        if inputs is None:
            return
        if not isinstance(inputs, dict):
            self.say(
                "inputs_not_a_mapping",
                "`inputs` must map each input's name to a `component.socket` or a list of them; "
                f"this is {_kind(inputs)}.",
                "inputs",
            )
            return
        taken: dict[tuple[str, str], str] = {}
        for name, targets in inputs.items():
            path = f"inputs.{name}"
            self._port_name(name, path)
            listed = targets if isinstance(targets, list) else [targets]
            if not listed:
                self.say("bad_endpoint", f"The input `{_cut(name)}` reaches no socket.", path)
            for index, target in enumerate(listed):
                place = f"{path}[{index}]" if isinstance(targets, list) else path
                end = self._endpoint(target, place, needs_socket=True)
                if end is None:
                    continue
                if end[1] in NEVER_INPUTS:
                    self.say("input_not_allowed", f"`{target}` takes code, not data: it can't be an input.", place)
                if end in taken:
                    self.say(
                        "duplicate_target",
                        f"`{target}` is already reached by the input `{taken[end]}`.",
                        place,
                        value=True,
                    )
                taken.setdefault(end, name)

    def _outputs(self, outputs):
        if outputs is None:
            return
        if not isinstance(outputs, dict):
            self.say(
                "outputs_not_a_mapping",
                f"`outputs` must map each output's name to a `component.socket`; this is {_kind(outputs)}.",
                "outputs",
            )
            return
        for name, source in outputs.items():
            self._port_name(name, f"outputs.{name}")
            self._endpoint(source, f"outputs.{name}", needs_socket=True)

    def _port_name(self, name, path):
        if not _NAME.fullmatch(name):
            self.say(
                "bad_name",
                f"`{_cut(name)}` can't be a name here: begin with a letter or `_`, then letters, digits, `_` and `-`, "
                "up to 64 in all.",
                path,
            )

    def _workflow(self, workflow):
        if workflow is None:
            return
        known = ", ".join(WORKFLOW_KEYS)
        if not isinstance(workflow, dict):
            self.say(
                "workflow_not_a_mapping", f"`workflow` is a mapping of {known}; this is {_kind(workflow)}.", "workflow"
            )
            return
        for key, value in workflow.items():
            path = f"workflow.{key}"
            if key == "retry_on":
                self._retry_on(value, path)
                continue
            if key == "keep_warm":
                self._keep_warm(value, path)
                continue
            if key not in WORKFLOW_LIMITS:
                self.say(
                    "unknown_key",
                    f"`{_cut(key)}` means nothing in `workflow`.{_did_you_mean(_near(key, WORKFLOW_KEYS))} "
                    f"Known are {known}.",
                    path,
                )
                continue
            low, high = WORKFLOW_LIMITS[key]
            if type(value) is not int or not low <= value <= high:
                self.say("out_of_range", f"`{key}` must be a whole number from {low} to {high:,}.", path)

    def _retry_on(self, reasons, path: str):
        known = ", ".join(RETRY_REASONS)
        if not isinstance(reasons, list):
            self.say("not_a_list", f"`retry_on` is a list of {known}; this is {_kind(reasons)}.", path)
            return
        for number, reason in enumerate(reasons):
            if reason not in RETRY_REASONS:
                word = str(reason)
                said = f"`{_cut(word)}` is no reason to try again.{_did_you_mean(_near(word, RETRY_REASONS))}"
                self.say("not_a_reason", f"{said} Known are {known}.", f"{path}[{number}]")

    def _keep_warm(self, value, path):
        if type(value) is not bool:
            self.say("not_a_flag", "`keep_warm` must be true or false.", path)
        elif value and not self.config.residents:
            self.say(
                "keep_warm_not_allowed",
                "Runs may not share a process here. Leave `keep_warm` out, or let the operator set PIPELINE_RESIDENTS.",
                path,
            )

    # Objects: a class's name and its parameters, wherever they stand.

    def _object(self, found: dict, path: str, *, inner=True) -> str | None:
        """Check a component, store, tool or hook. Its class name, when it may be used."""
        name = found.get("type")
        if not isinstance(name, str) or not name:
            self.say("type_missing", "This has no `type`: write the full path of a component's class.", path)
            return None
        if name == allowed.TOOL:
            self.say(
                "component_not_allowed",
                "A ComponentTool belongs in the `tools` of an Agent or a generator.",
                f"{path}.type",
            )
            return None
        if name in allowed.PARTS and not inner:
            self.say(
                "component_not_allowed",
                f"{_short(name)} is no component of its own: it stands inside another's parameters.",
                f"{path}.type",
            )
            return None
        if name not in allowed.COMPONENTS and name not in allowed.PARTS and name not in self._extra:
            self._refuse_class(name, f"{path}.type")
            return None
        if inner and name in allowed.FILE_READERS:
            self.say(
                "files_not_allowed",
                f"{_short(name)} can't stand inside another component: what reaches it there could name a file.",
                f"{path}.type",
            )
        for key in found:
            if key not in ("type", "init_parameters", "position"):
                near = "init_parameters" if key in ("data", "params", "parameters", "init_params") else None
                near = near or _near(key, ("type", "init_parameters"))
                self.say(
                    "unknown_key",
                    f"`{_cut(key)}` means nothing in a component.{_did_you_mean(near)} "
                    "Known are type and init_parameters.",
                    f"{path}.{key}",
                )
        parameters = found.get("init_parameters", {})
        if parameters is None:
            parameters = {}
        if not isinstance(parameters, dict):
            self.say(
                "parameters_not_a_mapping",
                f"`init_parameters` must be a mapping; this is {_kind(parameters)}.",
                f"{path}.init_parameters",
            )
            return name
        self._parameters(name, parameters, f"{path}.init_parameters", path)
        return name

    def _refuse_class(self, name, path):
        short = _short(name)
        ours = "." not in name or name.startswith(("haystack.", "workflows."))
        full = _BY_SHORT_NAME.get(short)
        near = _did_you_mean(_BY_SHORT_NAME.get(_near(short, _BY_SHORT_NAME)))
        refused = name if name in allowed.REFUSED else _REFUSED_BY_SHORT_NAME.get(short) if ours else None
        if refused:
            self.say("component_not_allowed", f"{short} can't be used here: {allowed.REFUSED[refused]}.", path)
        elif ours and short in allowed.MOVED:
            self.say("unknown_component", f"`{_cut(name)}` is not in Haystack 3. {allowed.MOVED[short]}.", path)
        elif ours and full:
            self.say("unknown_component", f"Write `{_cut(name)}` with the path of its own module: {full}.", path)
        elif ours:
            self.say("unknown_component", f"There is no component `{_cut(name)}`.{near}", path)
        else:
            self.say(
                "component_not_allowed",
                f"`{_cut(name)}` is not among the components that may be used on this site.{near} "
                "Whoever runs the site can name further classes in PIPELINE_COMPONENTS.",
                path,
            )

    def _parameters(self, name, parameters, path, component_path):
        known = allowed.COMPONENTS.get(name, allowed.PARTS.get(name)) if name not in self._extra else None
        for key, value in parameters.items():
            place = f"{path}.{key}"
            if self._is_forbidden(key, value, place):
                continue
            if known is not None and key not in known:
                if key in _CALLABLES or key in _WAYS_OUT or key in _FILES:
                    continue  # forbidden, but left empty, as Haystack's dumps write it
                gone = allowed.GONE_PARAMETERS.get((_short(name), key))
                hint = f" {gone}" if gone else _did_you_mean(_near(key, known))
                self.say(
                    "unknown_parameter",
                    f"{_short(name)} has no parameter `{_cut(key)}` that may be set here.{hint}",
                    place,
                )
                continue
            self._parameter(name, key, value, place)
        self._address_and_secrets(name, parameters, path, component_path)

    def _parameter(self, name, key, value, path):
        if value is None:
            return
        if isinstance(value, dict) and isinstance(value.get("type"), str) and "." in value["type"]:
            self._object(value, path)  # Haystack makes an object of it, whatever the parameter is for
        elif key == "tools":
            self._tools(value, path)
        elif key == "hooks" and name not in self._extra:
            self._hooks(value, path)
        elif key == "state_schema":
            self._state_schema(value, path)
        elif key in _TYPE_PARAMETERS:
            self._type_name(value, path)
        elif key == "routes":
            self._routes(value, path)
        elif key == "inputs" and _short(name) == "LLMEvaluator":
            self._evaluator_inputs(value, path)
        elif key == "json_schema":
            self._schema(value, path)
        elif key == "generation_kwargs":
            self._generation_kwargs(value, path)
        elif key == "index":
            if not isinstance(value, str) or not _INDEX.fullmatch(value):
                self.say("bad_index", "An index is named by letters, digits, `_` and `-`, up to 60 in all.", path)
        elif key in _SECRET_PARAMETERS and isinstance(value, str):
            self.say(
                "secret_in_plain",
                f"A secret may not stand in a definition. Write `{key}: {{type: env_var, env_vars: [NAME]}}` "
                "with a name of PIPELINE_SECRETS.",
                path,
            )
        elif key in _URL_PARAMETERS:
            self._addresses(value, path)
        elif key in _TEXT_PARAMETERS and name not in self._extra:
            self._plain_data(value, path)
        elif isinstance(value, dict) and value.get("type") == "env_var":
            pass  # looked at with the addresses, in `_secret_value`
        elif key in _SLOTS:
            self._inner(value, path)
        else:
            self._value(value, path)

    def _inner(self, value, path):
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._inner(item, f"{path}[{index}]")
        elif isinstance(value, dict) and ("type" in value or "init_parameters" in value):
            self._object(value, path)
        elif isinstance(value, dict):
            for key, item in value.items():
                self._inner(item, f"{path}.{key}")
        else:
            self.say(
                "component_not_a_mapping", f"Here stands a `type` with its `init_parameters`, not {_kind(value)}.", path
            )

    def _is_forbidden(self, key, value, path) -> bool:
        """Whether `key` is a way out of the policy and is used. Empty ones are harmless, and dumps have them."""
        if value is None or value is False or value == {} or value == []:
            return False
        if key in _CALLABLES:
            self.say(
                "callable_not_allowed", f"`{key}` names a function, and a definition may not name any. Remove it.", path
            )
        elif key in _WAYS_OUT or key.startswith("recreate_"):
            self.say("parameter_not_allowed", f"`{key}` could lead past this site's policy. Remove it.", path)
        elif key in _FILES:
            self.say(
                "files_not_allowed", f"`{key}` names a file or a program, and a definition has none. Remove it.", path
            )
        else:
            return False
        return True

    def _value(self, value, path):
        """Any other value: find the objects, secrets, addresses and forbidden keys within."""
        if isinstance(value, str):
            self._text(value, path)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._value(item, f"{path}[{index}]")
        elif isinstance(value, dict):
            kind = value.get("type")
            if kind in ("env_var", "token"):
                self._misplaced_secret(kind, path)
            elif isinstance(kind, str) and ("." in kind or "init_parameters" in value or "data" in value):
                if kind == allowed.TOOL:
                    self._tools([value], path, single=True)
                else:
                    self._object(value, path)
            else:
                for key, item in value.items():
                    place = f"{path}.{key}"
                    if not self._is_forbidden(key, item, place):
                        self._value(item, place)

    def _plain_data(self, value, path):
        """Texts and data: only what Haystack would make an object of is of interest."""
        if isinstance(value, list):
            for index, item in enumerate(value):
                self._plain_data(item, f"{path}[{index}]")
        elif isinstance(value, dict):
            kind = value.get("type")
            if isinstance(kind, str) and (
                "init_parameters" in value or ("." in kind and "data" in value) or kind in ("env_var", "token")
            ):
                self._value(value, path)
                return
            for key, item in value.items():
                if isinstance(item, (dict, list)):
                    self._plain_data(item, f"{path}.{key}")

    def _text(self, text, path):
        if "://" in text:
            for url in _URL_IN_TEXT.findall(text):
                self._address(url, path)
        elif text[:5].lower() == "file:":
            self.say("files_not_allowed", "A definition may not name files.", path, value=True)

    # Tools, hooks, types, schemas.

    def _tools(self, tools, path, *, single=False):
        if not isinstance(tools, list):
            self.say("tools_not_a_list", f"`tools` must be a list of ComponentTools; this is {_kind(tools)}.", path)
            return
        for index, tool in enumerate(tools):
            place = path if single else f"{path}[{index}]"
            kind = tool.get("type") if isinstance(tool, dict) else None
            if kind != allowed.TOOL:
                reason = allowed.REFUSED.get(kind) if isinstance(kind, str) else None
                said = f"{_short(kind)} can't be used here: {reason}. " if reason else ""
                self.say("tool_not_allowed", f"{said}A tool is a {allowed.TOOL} with its `data`.", place)
                continue
            for key in tool:
                if key not in ("type", "data"):
                    self.say(
                        "unknown_key",
                        f"`{_cut(key)}` means nothing in a tool. Known are type and data.",
                        f"{place}.{key}",
                    )
            data = tool.get("data")
            if not isinstance(data, dict):
                self.say("tool_not_a_mapping", "A ComponentTool has its settings in `data`.", place)
                continue
            self._tool_data(data, f"{place}.data")

    def _tool_data(self, data, path):
        for key, value in data.items():
            place = f"{path}.{key}"
            if self._is_forbidden(key, value, place):
                continue
            if key not in allowed.TOOL_KEYS:
                self.say(
                    "unknown_parameter",
                    f"A ComponentTool has no `{_cut(key)}`.{_did_you_mean(_near(key, allowed.TOOL_KEYS))}",
                    place,
                )
            elif key == "component":
                if isinstance(value, dict):
                    self._object(value, place)
                else:
                    self.say(
                        "component_not_a_mapping", "A tool's `component` has a `type` and `init_parameters`.", place
                    )
            elif key == "parameters":
                self._schema(value, place)
            elif key not in _TEXT_PARAMETERS:
                self._value(value, place)
        if "component" not in data:
            self.say("type_missing", "This tool has no `component`.", path)

    def _hooks(self, hooks, path):
        if not isinstance(hooks, dict):
            self.say("hooks_not_a_mapping", f"`hooks` maps points to lists of hooks; this is {_kind(hooks)}.", path)
            return
        for point, listed in hooks.items():
            for index, hook in enumerate(listed if isinstance(listed, list) else [listed]):
                place = f"{path}.{point}[{index}]" if isinstance(listed, list) else f"{path}.{point}"
                if isinstance(hook, dict):
                    self._object(hook, place)
                elif hook is not None:
                    self.say("callable_not_allowed", "A hook has a `type` and `init_parameters`.", place)

    def _state_schema(self, schema, path):
        if not isinstance(schema, dict):
            self.say("schema_not_a_mapping", f"`state_schema` must be a mapping; this is {_kind(schema)}.", path)
            return
        for name, entry in schema.items():
            place = f"{path}.{name}"
            if not isinstance(entry, dict):
                self.say("schema_not_a_mapping", f"Write this as `{{type: …}}`; it is {_kind(entry)}.", place)
                continue
            for key, value in entry.items():
                if key == "type":
                    self._type_name(value, f"{place}.type")
                elif key == "handler":
                    if value:
                        self.say(
                            "callable_not_allowed",
                            "`handler` names a function. Remove it: lists are joined and other values replaced anyway.",
                            f"{place}.handler",
                        )
                else:
                    self.say("unknown_key", f"`{_cut(key)}` means nothing here. Known is type.", f"{place}.{key}")

    def _type_name(self, value, path):
        if isinstance(value, str) and _TYPE_TEXT.fullmatch(value):
            unknown = [word for word in _TYPE_WORD.findall(value) if word not in allowed.TYPE_NAMES]
            if not unknown:
                return
            near = _near(unknown[0], allowed.TYPE_NAMES)
            self.say(
                "type_not_allowed",
                f"`{_cut(unknown[0])}` is not a type known here.{_did_you_mean(near)}",
                path,
                value=True,
            )
        else:
            self.say("type_not_allowed", "Write a type such as `str`, `list[str]` or `typing.Any`.", path, value=True)

    def _routes(self, routes, path):
        if not isinstance(routes, list):
            self.say("routes_not_a_list", f"`routes` must be a list; this is {_kind(routes)}.", path)
            return
        for index, route in enumerate(routes):
            place = f"{path}[{index}]"
            if not isinstance(route, dict):
                self.say("route_not_a_mapping", f"A route is a mapping; this is {_kind(route)}.", place)
                continue
            for key, value in route.items():
                if key == "output_type":
                    for number, item in enumerate(value if isinstance(value, list) else [value]):
                        self._type_name(
                            item,
                            f"{place}.output_type[{number}]" if isinstance(value, list) else f"{place}.output_type",
                        )
                elif key not in ("condition", "output", "output_name"):
                    self.say(
                        "unknown_key",
                        f"`{_cut(key)}` means nothing in a route. "
                        "Known are condition, output, output_name, output_type.",
                        f"{place}.{key}",
                    )

    def _evaluator_inputs(self, inputs, path):
        for index, pair in enumerate(inputs if isinstance(inputs, list) else [inputs]):
            if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str):
                self._type_name(pair[1], f"{path}[{index}][1]")
            else:
                self.say("type_not_allowed", "Write each input as `[name, list[str]]`.", f"{path}[{index}]")

    def _generation_kwargs(self, settings, path):
        if not isinstance(settings, dict):
            self.say(
                "parameters_not_a_mapping", f"`generation_kwargs` must be a mapping; this is {_kind(settings)}.", path
            )
            return
        for key, value in settings.items():
            place = f"{path}.{key}"
            if self._is_forbidden(key, value, place):
                continue
            if key in ("tools", "functions") and value:
                self.say("tool_not_allowed", f"`{key}` belongs in the component's own `tools`.", place)
            elif key in ("response_format", "text", "text_format"):
                self._schema(value, place)
            else:
                self._value(value, place)

    def _schema(self, schema, path):
        """A JSON Schema may only refer to itself: the validator would fetch anything else."""
        if isinstance(schema, list):
            for index, item in enumerate(schema):
                self._schema(item, f"{path}[{index}]")
        elif isinstance(schema, dict):
            for key, value in schema.items():
                place = f"{path}.{key}"
                if key in ("$ref", "$dynamicRef", "$recursiveRef") and not (
                    isinstance(value, dict) or (isinstance(value, str) and value.startswith("#"))
                ):
                    self.say(
                        "remote_reference",
                        "A schema may refer to its own parts only: begin the reference with `#`.",
                        place,
                    )
                elif key in ("$id", "id", "$anchor") and isinstance(value, str) and (":" in value or "/" in value):
                    self.say("remote_reference", f"`{key}` gives the schema an address elsewhere. Remove it.", place)
                elif isinstance(value, (dict, list)):
                    self._schema(value, place)
        elif isinstance(schema, str):
            self._text(schema, path)

    # Addresses and secrets.

    def _addresses(self, value, path):
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            place = f"{path}[{index}]" if isinstance(value, list) else path
            if isinstance(item, str):
                self._address(item if _SCHEME.match(item) else f"https://{item}", place)
            else:
                self.say("bad_address", f"An address is text; this is {_kind(item)}.", place)

    def _address(self, url, path):
        target = address(url)
        if target is None:
            self.say("bad_address", f"`{_cut(url)}` is not an address that may be used here.", path, value=True)
        elif not host_allowed(target, self.config.hosts):
            scheme, host, port = target
            self.say(
                "host_not_allowed",
                f"The host `{_cut(shown(scheme, host, port))}` is not among those that components may reach on "
                "this site. Whoever runs it can name it in PIPELINE_HOSTS.",
                path,
                value=True,
            )

    def _address_and_secrets(self, name, parameters, path, component_path):
        given = [
            value for key, value in parameters.items() if key in _URL_PARAMETERS and isinstance(value, str) and value
        ]
        default = allowed.DEFAULT_URLS.get(name)
        if default and not given:
            target = address(default)
            if not host_allowed(target, self.config.hosts):
                self.say(
                    "host_not_allowed",
                    f"{_short(name)} goes to {target[1]} when it has no `api_base_url`, and that host is not among "
                    "those that components may reach on this site. Whoever runs it can name it in PIPELINE_HOSTS.",
                    f"{component_path}.type",
                )
        needed = allowed.URL_REQUIRED.get(name)
        if needed and not given:
            self.say("address_missing", f"{_short(name)} needs its address in `{needed}`.", f"{component_path}.type")
        if name in allowed.GENERATOR_REQUIRED and not parameters.get("chat_generator"):
            self.say(
                "generator_missing", f"{_short(name)} needs a `chat_generator` of its own.", f"{component_path}.type"
            )
        implied = allowed.DEFAULT_SECRETS.get(name)
        if implied and "api_key" not in parameters and not parameters.get("azure_ad_token") and (given or default):
            self._grant(implied, given or [default], f"{component_path}.type", implied_by=_short(name))
        for key, value in parameters.items():
            if isinstance(value, dict) and value.get("type") in ("env_var", "token"):
                self._secret_value(name, key, value, given or ([default] if default else []), f"{path}.{key}")

    def _misplaced_secret(self, kind, path):
        if kind == "token":
            self._plain_token(path)
        else:
            self.say("secret_misplaced", "A secret may only stand directly behind a component's parameter.", path)

    def _plain_token(self, path):
        self.say(
            "secret_in_plain",
            "A secret may not stand in a definition. Write `{type: env_var, env_vars: [NAME]}` with a name of "
            "PIPELINE_SECRETS.",
            path,
        )

    def _secret_value(self, name, key, value, urls, path):
        if value["type"] == "token":
            return  # said already, by `_value`
        if name not in self._extra and key not in _CORE_SECRET_PARAMETERS:
            self.say("secret_misplaced", f"`{_cut(key)}` takes no secret.", path)
            return
        names = value.get("env_vars")
        if not isinstance(names, list) or not names or not all(isinstance(item, str) for item in names):
            self.say("bad_secret", "Write a secret as `{type: env_var, env_vars: [NAME]}`.", path)
            return
        for unknown in value.keys() - {"type", "env_vars", "strict"}:
            self.say("unknown_key", f"`{_cut(unknown)}` means nothing in a secret.", f"{path}.{unknown}")
        for index, secret in enumerate(names):
            self._grant(secret, urls, f"{path}.env_vars[{index}]", free=name in self._extra)

    def _grant(self, secret, urls, path, *, implied_by=None, free=False):
        """Note that the definition gets `secret`, when everything that bears it goes to the host it is bound to."""
        if not _VARIABLE.fullmatch(secret) or secret not in self._bindings:
            takes = f"{implied_by} takes `{secret}` unless `api_key` says otherwise, and this" if implied_by else "This"
            near = _did_you_mean(_near(secret, self._bindings))
            self.say(
                "secret_not_allowed",
                f"{takes} is not among the secrets that a definition may name on this site"
                f"{'' if implied_by else f': `{_cut(secret)}`'}.{near} Whoever runs it can add it to PIPELINE_SECRETS, "
                "bound to a host.",
                path,
                value=not implied_by,
            )
            return
        targets = [address(url if _SCHEME.match(url) else f"https://{url}") for url in urls]
        if not targets and not free:
            self.say("secret_without_host", f"`{secret}` is bound to a host, and this component says no address.", path)
            return
        for target in targets:
            if target is not None and not any(is_bound(bound, target) for bound in self._bindings[secret]):
                hosts = " or ".join(sorted(self._bindings[secret]))
                self.say(
                    "secret_for_another_host",
                    f"`{secret}` is bound to {hosts} and may not go to {_cut(shown(*target))}.",
                    path,
                    value=not implied_by,
                )
                return
        self.secrets.add(secret)
        if secret not in self.config.secret_values:
            self.say(
                "secret_not_set",
                f"`{secret}` has no value on this site yet: jobs will fail until whoever runs it sets one.",
                path,
                severity="warning",
            )


def _bindings(secrets) -> dict[str, set[str]]:
    """Secret names, each with the hosts it is bound to."""
    found: dict[str, set[str]] = {}
    for entry in secrets:
        name, _, host = entry.partition("@")
        if name.strip() and host.strip():
            found.setdefault(name.strip(), set()).add(host.strip())
    return found


_BY_SHORT_NAME = {name.rsplit(".", 1)[-1]: name for name in (*allowed.PARTS, *allowed.COMPONENTS)}
_REFUSED_BY_SHORT_NAME = {name.rsplit(".", 1)[-1]: name for name in allowed.REFUSED}


def _short(name: str) -> str:
    return _cut(name.rsplit(".", 1)[-1])


def _near(word: str, choices) -> str | None:
    choices = list(choices)
    exact = {choice.lower(): choice for choice in choices}
    if word.lower() in exact:
        return exact[word.lower()]
    found = difflib.get_close_matches(word[:128], choices, n=1, cutoff=0.75)
    return found[0] if found else None


def _did_you_mean(near: str | None) -> str:
    return f" Did you mean `{near}`?" if near else ""


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "…"


def _kind(value) -> str:
    if value is None:
        return "empty"
    for kind, name in ((bool, "true or false"), (str, "text"), (list, "a list"), (dict, "a mapping")):
        if isinstance(value, kind):
            return name if value or kind not in (list, dict, str) else f"{name} with nothing in it"
    return "a number" if isinstance(value, (int, float)) else "a date"
