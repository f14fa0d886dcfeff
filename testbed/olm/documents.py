"""Documents as the text of files, the same text for the same document."""

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Text of several lines as it is read, and no anchors, which people have to look up."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def dump(*documents: Any) -> str:
    """The documents as YAML, in the order of their fields."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120) for document in documents
    )
