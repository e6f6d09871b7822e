"""A spot in a YAML file, for error messages with a line number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Place:
    """A spot in a YAML file; its text is worked out only when somebody has to be told.

    Parameters
    ----------
    file : the YAML file.
    text : its content.
    path : keys and positions that lead to the spot.
    """

    file: Path
    text: str
    path: tuple[str | int, ...]

    def at(self, *steps: str | int) -> Place:
        """Return a spot below this one."""
        return Place(self.file, self.text, (*self.path, *steps))

    def __str__(self) -> str:
        node: yaml.Node | None = yaml.compose(self.text, Loader=yaml.SafeLoader)
        line, names = 1, []
        for step in self.path:
            child = None
            if isinstance(node, yaml.MappingNode):
                child = next(((key, value) for key, value in node.value if key.value == step), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                child = (node.value[step], node.value[step])
            if child is None:
                break
            line, node = child[0].start_mark.line + 1, child[1]
            entries = node.value if isinstance(node, yaml.MappingNode) else []
            named = next((value.value for key, value in entries if key.value == "name"), None)
            names.append(str(named or step) if isinstance(step, int) else step)
        return f"{self.file}:{line} ({'.'.join(names)})"
