"""Draws a description: where each component's box stands and how the connections run, for a template to print."""

import unicodedata
from dataclasses import dataclass, field

BOX_HEIGHT = 56
PORT_HEIGHT = 32
COLUMN_GAP = 96
WIDEST_GAP = 220
LABEL_SIZE = 10
ROW_GAP = 28
MARGIN = 24
MAX_TEXT_WIDTH = 260
_SWEEPS = 8


@dataclass
class Node:
    """A box. `kind` is "component", "input" or "output"; x and y are its top left corner."""

    key: str
    kind: str
    name: str
    label: str  # the class's short name, or the type of an input or output
    type: str = ""
    x: float = 0
    y: float = 0
    w: float = 0
    h: float = 0
    layer: int = 0
    name_text: str = ""  # shortened to fit the box
    label_text: str = ""

    @property
    def center_x(self) -> float:
        return round(self.x + self.w / 2, 1)

    @property
    def center_y(self) -> float:
        return round(self.y + self.h / 2, 1)

    @property
    def name_y(self) -> float:
        return round(self.y + (self.h * 0.42 if self.label_text else self.h * 0.62), 1)

    @property
    def label_y(self) -> float:
        return round(self.y + self.h * 0.76, 1)


@dataclass
class Edge:
    """A line from one box to another. `path` is the `d` of an SVG path; `kind` is "forward", "loop" or "port"."""

    source: str
    target: str
    kind: str
    labels: list[str]  # "documents → documents", one for each connection between the two
    path: str = ""
    label_x: float = 0
    label_y: float = 0

    @property
    def label(self) -> str:
        return ", ".join(self.labels)

    @property
    def label_text(self) -> str:
        """The label, shortened to the room that a line has; `label` is for a title."""
        return shortened(self.label, WIDEST_GAP - 32, LABEL_SIZE)


@dataclass
class Graph:
    width: float
    height: float
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """The picture in words, for those who don't see it: one sentence for each connection."""
        names = {node.key: node.name for node in self.nodes}
        return "; ".join(f"{names[edge.source]} → {names[edge.target]} ({edge.label})" for edge in self.edges)


def draw(description: dict) -> Graph:
    """A picture of the pipeline from left to right. The same description gives the same picture."""
    nodes = _nodes(description)
    edges = _edges(description, nodes)
    loops = _back_edges(nodes, edges)
    for edge in edges:
        if (edge.source, edge.target) in loops:
            edge.kind = "loop"
    _set_layers(nodes, edges)
    columns = _ordered_columns(nodes, edges)
    width, height = _place(columns, _gaps(nodes, edges, columns))
    lowest = _route(nodes, edges, height)
    return Graph(width, max(height, lowest), list(nodes.values()), edges)


def text_width(text: str, size: float = 13) -> float:
    """About how wide `text` is in pixels; a Han letter is as wide as it is high."""
    units = 0.0
    for letter in text:
        if unicodedata.combining(letter):
            continue
        if unicodedata.east_asian_width(letter) in "WF":
            units += 1.0
        elif letter in "iljtf.,:;'|!()[] ":
            units += 0.36
        elif letter.isupper() or letter in "mwMW@%_":
            units += 0.74
        else:
            units += 0.58
    return units * size


def shortened(text: str, width: float, size: float = 13) -> str:
    """`text`, or as much of it as fits into `width` with an ellipsis."""
    if text_width(text, size) <= width:
        return text
    while text and text_width(text + "…", size) > width:
        text = text[:-1]
    return text + "…"


def _nodes(description) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name, entry in description.get("inputs", {}).items():
        if not description.get("declared") and not entry.get("required", True):
            continue  # nobody asked for these, and they are many
        nodes[f"input:{name}"] = Node(f"input:{name}", "input", name, entry.get("type", ""))
    for name, entry in description.get("components", {}).items():
        short = entry["type"].rsplit(".", 1)[-1]
        nodes[f"component:{name}"] = Node(f"component:{name}", "component", name, short, entry["type"])
    for name, entry in description.get("outputs", {}).items():
        nodes[f"output:{name}"] = Node(f"output:{name}", "output", name, entry.get("type", ""))
    for node in nodes.values():
        size = 14 if node.kind == "component" else 12
        node.name_text = shortened(node.name, MAX_TEXT_WIDTH, size)
        node.label_text = shortened(node.label, MAX_TEXT_WIDTH, 11) if node.kind == "component" else ""
        node.w = round(max(text_width(node.name_text, size), text_width(node.label_text, 11), 48) + 28, 1)
        node.h = BOX_HEIGHT if node.kind == "component" else PORT_HEIGHT
    return nodes


def _edges(description, nodes) -> list[Edge]:
    found: dict[tuple[str, str], Edge] = {}

    def add(source, target, kind, label):
        if source in nodes and target in nodes:
            edge = found.setdefault((source, target), Edge(source, target, kind, []))
            if label not in edge.labels:
                edge.labels.append(label)

    for name, entry in description.get("inputs", {}).items():
        for target in entry["targets"]:
            component, _, socket = target.partition(".")
            add(f"input:{name}", f"component:{component}", "port", socket)
    for connection in description.get("connections", []):
        sender, _, output = connection["sender"].partition(".")
        receiver, _, socket = connection["receiver"].partition(".")
        label = output if output == socket else f"{output} → {socket}"
        add(f"component:{sender}", f"component:{receiver}", "forward", label)
    for name, entry in description.get("outputs", {}).items():
        component, _, socket = entry["source"].partition(".")
        add(f"component:{component}", f"output:{name}", "port", socket)
    return list(found.values())


def _back_edges(nodes, edges) -> set[tuple[str, str]]:
    """The connections that close a loop, as a walk from the beginning meets them."""
    following: dict[str, list[str]] = {key: [] for key in nodes}
    incoming = dict.fromkeys(nodes, 0)
    for edge in edges:
        following[edge.source].append(edge.target)
        incoming[edge.target] += 1
    state: dict[str, int] = {}
    back: set[tuple[str, str]] = set()
    for start in sorted(nodes, key=lambda key: incoming[key] > 0):  # those that nothing leads to come first
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(following[start]))]
        while stack:
            key, rest = stack[-1]
            for target in rest:
                if state.get(target) == 1:
                    back.add((key, target))
                elif target not in state:
                    state[target] = 1
                    stack.append((target, iter(following[target])))
                    break
            else:
                state[key] = 2
                stack.pop()
    return back


def _set_layers(nodes, edges) -> None:
    """The longest path decides a component's column; inputs move up to the component they feed."""
    forward = [edge for edge in edges if edge.kind != "loop"]
    following: dict[str, list[str]] = {key: [] for key in nodes}
    waiting = dict.fromkeys(nodes, 0)
    for edge in forward:
        following[edge.source].append(edge.target)
        waiting[edge.target] += 1
    ready = [key for key in nodes if not waiting[key]]
    while ready:
        key = ready.pop()
        for target in following[key]:
            nodes[target].layer = max(nodes[target].layer, nodes[key].layer + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for key, node in nodes.items():
        if node.kind == "input" and following[key]:
            node.layer = max(0, min(nodes[target].layer for target in following[key]) - 1)


def _ordered_columns(nodes, edges) -> list[list[Node]]:
    """Columns of nodes, each ordered so that the lines between neighbours cross seldom."""
    columns: list[list[Node]] = [[] for _ in range(max((node.layer for node in nodes.values()), default=-1) + 1)]
    for node in nodes.values():
        columns[node.layer].append(node)
    neighbours: dict[str, list[str]] = {key: [] for key in nodes}
    for edge in edges:
        if edge.kind != "loop":
            neighbours[edge.source].append(edge.target)
            neighbours[edge.target].append(edge.source)
    rank = {node.key: index for column in columns for index, node in enumerate(column)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for column in columns if down else reversed(columns):
            weights = {}
            for node in column:
                near = [
                    rank[other]
                    for other in neighbours[node.key]
                    if (nodes[other].layer < node.layer if down else nodes[other].layer > node.layer)
                ]
                weights[node.key] = sum(near) / len(near) if near else rank[node.key]
            column.sort(key=lambda node: weights[node.key])
            for index, node in enumerate(column):
                rank[node.key] = index
    return [column for column in columns if column]


def _gaps(nodes, edges, columns) -> list[float]:
    """The room to the right of each column: enough for the labels of the lines that cross it alone."""
    number = {node.key: index for index, column in enumerate(columns) for node in column}
    gaps = [float(COLUMN_GAP)] * len(columns)
    for edge in edges:
        start, end = number[edge.source], number[edge.target]
        if end == start + 1:
            gaps[start] = max(gaps[start], min(text_width(edge.label_text, LABEL_SIZE) + 32, WIDEST_GAP))
    return gaps


def _place(columns, gaps) -> tuple[float, float]:
    heights = [sum(node.h for node in column) + ROW_GAP * (len(column) - 1) for column in columns]
    tallest = max(heights, default=0)
    x = right = MARGIN
    for column, height, gap in zip(columns, heights, gaps, strict=True):
        widest = max(node.w for node in column)
        y = MARGIN + (tallest - height) / 2
        for node in column:
            node.x = round(x + (widest - node.w) / 2, 1)
            node.y = round(y, 1)
            y += node.h + ROW_GAP
        right = x + widest
        x = right + gap
    return round(right + MARGIN, 1), round(tallest + 2 * MARGIN, 1)


def _route(nodes, edges, height) -> float:
    """Give each edge its path; loops run below everything, each on a level of its own. The lowest y that is used."""
    lowest = height
    leaving: dict[str, list[Edge]] = {key: [] for key in nodes}
    arriving: dict[str, list[Edge]] = {key: [] for key in nodes}
    for edge in edges:
        leaving[edge.source].append(edge)
        arriving[edge.target].append(edge)
    for edge in edges:
        source, target = nodes[edge.source], nodes[edge.target]
        x1, x2 = source.x + source.w, target.x
        y1 = _port(source, edge, sorted(leaving[edge.source], key=lambda each: nodes[each.target].y))
        y2 = _port(target, edge, sorted(arriving[edge.target], key=lambda each: nodes[each.source].y))
        if edge.kind == "loop":
            below = lowest + 8
            lowest = below + 24
            edge.path = (
                f"M {x1:.1f} {y1:.1f} C {x1 + 48:.1f} {y1:.1f} {x1 + 48:.1f} {below:.1f} {x1:.1f} {below:.1f} "
                f"L {x2:.1f} {below:.1f} C {x2 - 48:.1f} {below:.1f} {x2 - 48:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
            )
            edge.label_x, edge.label_y = round((x1 + x2) / 2, 1), round(below - 4, 1)
        else:
            bend = max((x2 - x1) / 2, 24)
            edge.path = f"M {x1:.1f} {y1:.1f} C {x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
            edge.label_x, edge.label_y = round((x1 + x2) / 2, 1), round((y1 + y2) / 2 - 6, 1)
    return round(lowest, 1)


def _port(node, edge, listed) -> float:
    """How high on the side of `node` the edge meets it, so that several don't meet it in one point."""
    index = next(number for number, each in enumerate(listed) if each is edge)
    return node.y + node.h * (index + 1) / (len(listed) + 1)
