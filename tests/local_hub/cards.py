"""The YAML metadata at the top of a README.md, and how the Hub validates it.

>>> errors_and_warnings("---\nlanguage: no\n---\n# Norwegian")
(['"language" must be a string or a list of strings'], [])
"""

import json
import re
from typing import Any

import yaml

ONE = ("license", "library_name", "pipeline_tag")
ONE_OR_MORE = ("base_model", "datasets", "language", "metrics", "tags")


def front_matter(readme: str) -> dict[str, Any]:
    """The metadata, converted to types of JSON; empty if there is none.

    Raises:
        yaml.YAMLError: The metadata is not valid YAML.
    """
    found = re.match(r"\s*---\r?\n(.*?)^---\s*$", readme, flags=re.DOTALL | re.MULTILINE)
    data = yaml.safe_load(found[1]) if found else None
    # JSON has no dates.
    return json.loads(json.dumps(data, default=str)) if isinstance(data, dict) else {}


def errors_and_warnings(readme: str) -> tuple[list[str], list[str]]:
    """The errors and warnings of the Hub about a README.md. The Hub rejects a commit with errors."""
    try:
        card = front_matter(readme)
    except yaml.YAMLError as error:
        return [f"YAML metadata cannot be parsed: {error}"], []
    if not card:
        return [], ["empty or missing yaml metadata in repo card"]
    errors = [f'"{key}" must be a string' for key in ONE if key in card and not isinstance(card[key], str)]
    errors += [
        f'"{key}" must be a string or a list of strings'
        for key in ONE_OR_MORE
        if key in card and not all(isinstance(value, str) for value in _listed(card[key]))
    ]
    return errors, []


def tags(card: dict[str, Any]) -> list[str]:
    """The search tags of a repository.

    >>> tags({"license": "mit", "language": ["de"], "pipeline_tag": "token-classification"})
    ['token-classification', 'de', 'license:mit']
    """
    plain = [card[key] for key in ("library_name", "pipeline_tag") if key in card]
    plain += [*_listed(card.get("tags", [])), *_listed(card.get("language", []))]
    named = {"dataset": "datasets", "base_model": "base_model", "license": "license"}
    return plain + [f"{prefix}:{value}" for prefix, key in named.items() for value in _listed(card.get(key, []))]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
