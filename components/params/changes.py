"""params.yaml with other settings in it: comments kept, checked, and every change in words."""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from components import SlipwayError, recipes
from components.files import replacing
from components.params.reading import check
from components.recipes import networks

GATES = ("minimum", "maximum")  # of `register`
NULL = "tag:yaml.org,2002:null"  # written out, as it was
MAX_SHOWN = 20  # of a list that changes
# Text that tools which read YAML 1.1 take for a boolean, nothing, or a number in base 60: written in quotes.
WORDS = re.compile(r"(?i)yes|no|on|off|true|false|null|~|[-+]?\d+(:[0-5]?\d)+(\.\d*)?")
# what is replaced as a whole
WHOLE = (*GATES, "network", "by", "reading", *(f"multimodal.{kind}" for kind in ("images", "text", "audio")))


def merged(
    path: Path, settings: dict[str, Any], *, grow: bool, why: Mapping[str, str] | None = None
) -> tuple[str, list[str]]:
    """Return params.yaml with settings in it, comments kept, and each change in words; `grow` only adds labels.

    The section `train` is replaced by the one of `settings`, if that has one; `why` are the comments on its settings.
    Writes nothing. Raises SlipwayError where other settings do not go with these.
    """
    yaml = _yaml()
    content = (yaml.load(path) if path.exists() else None) or {}
    before = content.get("recipe")
    changed = _merge(content, {name: value for name, value in settings.items() if name != "train"}, grow=grow)
    if values := settings.get("train"):
        changed += _trained(content, values, why or {})
    if content.get("recipe") != before:
        _describe_network(content)
    text = io.StringIO()
    yaml.dump(content, text)
    if changed:
        try:
            check(YAML(typ="safe").load(text.getvalue()), path)
        except SlipwayError as error:
            raise SlipwayError(
                f"{error}\nthis setting does not fit the new data, so nothing was changed: remove it from {path}, or "
                "change it to a value that fits, and ingest again"
            ) from None
    return text.getvalue(), changed


def own(path: Path) -> bytes:
    """Return params.yaml without the sections of recipes that it does not use, comments kept."""
    yaml = _yaml()
    content = yaml.load(path)
    for recipe in set(recipes.names()) & content.keys() - {content["recipe"]}:
        del content[recipe]
    text = io.BytesIO()
    yaml.dump(content, text)
    return text.getvalue()


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 110
    yaml.representer.add_representer(type(None), lambda dumper, _: dumper.represent_scalar(NULL, "null"))
    yaml.representer.add_representer(str, _text)
    return yaml


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if WORDS.fullmatch(text) else None)


def _describe_network(content: Any) -> None:
    """Let the comment behind network.model list the models of the recipe that there is now; no comment stays none."""
    network, recipe = content.get("network"), content["recipe"]
    token = ((getattr(network, "ca", None) and network.ca.items.get("model")) or [None] * 3)[2]
    field = networks.load(recipe).Network.model_fields.get("model")
    if token is None or field is None:
        return
    *most, last = map(str, get_args(field.annotation) or (field.default,))
    names = f"{', '.join(most)} or {last}" if most else last
    token.value = f"# {names}: docs/recipes/{recipe}.md\n{token.value.partition(chr(10))[2]}"


def put(path: Path, content: bytes | None) -> None:
    """Write a file whole; None: there is none."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as aside:
        aside.write_bytes(content)


def _merge(content: Any, settings: dict[str, Any], *, grow: bool, prefix: str = "") -> list[str]:
    changed = []
    for key, value in settings.items():
        old = content.get(key)
        if key == "reading" and not (value or old):  # plain files
            continue
        if not prefix and key not in content and isinstance(value, dict) and hasattr(content, "ca"):
            content[key] = {}
            content.yaml_set_comment_before_after_key(key, before="\n")  # an empty line between sections
        whole = key in WHOLE or f"{prefix}{key}" in WHOLE
        if isinstance(value, dict) and value and not whole:
            content[key] = old or {}  # `images:` alone is None
            changed += _merge(content[key], value, grow=grow, prefix=f"{prefix}{key}.")
            continue
        if grow and old is not None:
            if key != "labels":
                continue
            value = [*old, *(label for label in value if label not in old)]  # noqa: PLW2901
        if old != value:
            if key in content or value not in ([], {}, None):  # what is empty by default is no news
                changed.append(f"{prefix}{key}: {'' if old is None else f'{_short(old)} -> '}{_short(value)}")
            if whole and old and value and isinstance(old, dict) and isinstance(value, dict):
                # what stays keeps its comment
                for name in old.keys() - value.keys():
                    del old[name]
                old.update({name: limit for name, limit in value.items() if old.get(name) != limit})
            else:
                content[key] = value
    return changed


def _trained(content: Any, values: Mapping[str, Any], why: Mapping[str, str]) -> list[str]:
    """Put a section `train` in the place of the one that there is; comments are kept, but those of what goes."""
    old: Any = content.get("train") or {}
    new = CommentedMap({name: _flow(value) for name, value in values.items()})
    width = (
        max(len(f"{name}: {_short(value)}") for name, value in values.items() if not isinstance(value, dict | list)) + 4
    )
    beside, between, behind = _comments(old)
    for name in values:
        if comment := why.get(name) or beside.get(name, ""):
            new.yaml_add_eol_comment(comment, name, column=width)
    last = list(new)[-1]
    if last not in new.ca.items:
        new.yaml_add_eol_comment("-", last, column=width)
        new.ca.items[last][2].value = ""
    token = new.ca.items[last][2]
    own = "".join(f"  {line}\n" for line in between)
    gap = "\n" if list({**content, "train": None})[-1] != "train" else ""  # an empty line between sections
    token.value = f"{token.value.rstrip()}\n{own}{behind or gap}"
    if "train" not in content and hasattr(content, "ca"):
        content["train"] = new
        content.yaml_set_comment_before_after_key("train", before="\n")
    content["train"] = new
    changed = [
        f"train.{name}: {f'{_short(old[name])} -> ' if name in old else ''}{_short(value)}"
        + (f"  # {why[name]}" if name in why else "")
        for name, value in values.items()
        if name not in old or old[name] != value
    ]
    return changed + [f"train.{name}: {_short(value)} -> the default" for name, value in old.items() if name not in new]


def _comments(section: Any) -> tuple[dict[str, str], list[str], str]:
    """Return the comments of a section: those beside a key, those between keys, and what follows the last key."""
    items = section.ca.items if hasattr(section, "ca") else {}
    texts = {name: each[2].value for name, each in items.items() if each[2] is not None}
    parts = {name: text.partition("\n") for name, text in texts.items()}
    beside = {name: first.strip().removeprefix("#").strip() for name, (first, _, _) in parts.items()}
    last = list(section)[-1] if section else ""
    lines = [line.strip() for name, (_, _, rest) in parts.items() if name != last for line in rest.splitlines()]
    return beside, [line for line in lines if line], parts.get(last, ("", "", ""))[2]


def _flow(value: Any) -> Any:
    """Return a value that is written in a line, such as {name: cosine} or [network, classical]."""
    if not isinstance(value, dict | list):
        return value
    found = CommentedMap(value) if isinstance(value, dict) else CommentedSeq(value)
    found.fa.set_flow_style()
    return found


def _short(value: Any) -> str:
    """Spell a setting; of a long list, such as the columns of a wide table, its first."""
    if isinstance(value, list) and len(value) > MAX_SHOWN:
        return f"{value[:MAX_SHOWN]} and {len(value) - MAX_SHOWN:,} more"
    return str(value)
