"""Read params.yaml, and say what is wrong with it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from components import SlipwayError, conflicts, nearest, recipes
from components.params.sections import Params
from components.recipes import networks

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and check params.yaml; the section named like the recipe is in `task`, its network's in `network`.

    Raises SlipwayError for a file that is missing or no YAML, an unknown key (with the nearest known
    one) and a value of the wrong type.
    """
    return check(_read(path), path)


def section(key: str, model: type[Model], path: Path = Path("params.yaml")) -> Model:
    """Read and check one section of params.yaml, whatever stands in the others; its defaults where it is not there."""
    content = _read(path)
    return _check(path, model, (content.get(key) if isinstance(content, dict) else None) or {}, key)


def holds(key: str, path: Path) -> bool:
    """Return whether a params.yaml has a section of its own of that name; not where it cannot be read."""
    try:
        content = _read(path)
    except SlipwayError:
        return False
    return isinstance(content, dict) and content.get(key) is not None


def name(path: Path) -> str:
    """Return the model's name in a params.yaml, whatever else stands there; its folder's where it says none."""
    try:
        content = _read(path)
    except SlipwayError:
        content = None
    found = content.get("name") if isinstance(content, dict) else None
    return found if isinstance(found, str) else path.absolute().parent.name


def _read(path: Path) -> Any:
    try:
        return YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise SlipwayError(f"{path}: no such file; run the command in the project's root") from None
    except YAMLError as error:
        conflicts.check(path)
        raise SlipwayError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def check(content: Any, path: Path) -> Params:
    """Check the plain content of a params.yaml, as `load` does; `path` is what messages call it."""
    if not isinstance(content, dict):
        raise SlipwayError(f"{path}: expected keys and values such as `recipe: images`")
    sections = {key: content.pop(key) for key in recipes.names() if key in content}
    if "task" in content:
        raise SlipwayError(f"{path}: task: unknown key; the settings of a recipe go under the name of the recipe")
    _must_be_in_place(path, sections, content.get("recipe"))
    tasks = {}
    for key, section in sections.items():  # also the recipes not chosen: a typo there is a typo
        tasks[key] = _check(path, recipes.load(key).Params, section or {}, key)
    name = content.get("recipe")
    if isinstance(name, str):
        recipe = recipes.load(name, where=f"{path}: recipe")
        if name not in tasks:
            tasks[name] = _check(path, recipe.Params, {}, name)
        content["task"] = tasks[name]
        content["network"] = _network(path, name, content.get("network"), tasks[name])
    return _check(path, Params, content, "")


def _network(path: Path, recipe: str, section: Any, task: Any) -> BaseModel:
    """Check the section `network` by itself, and that it suits the recipe's section."""
    found = networks.load(recipe)
    network = _check(path, found.Network, {} if section is None else section, "network")
    if suits := getattr(found, "check", None):
        try:
            suits(network, task)
        except ValueError as error:
            raise SlipwayError(f"{path}: network.{error}") from None
    return network


def _must_be_in_place(path: Path, sections: dict[str, Any], chosen: Any) -> None:
    """Raise SlipwayError for each setting of a recipe's section that stands elsewhere now, and say where."""
    lines = []
    for recipe, section in sections.items():
        module, own = networks.load(recipe), recipes.load(recipe).Params.model_fields
        moved = getattr(module, "moved", {})
        for key, value in section.items() if isinstance(section, dict) else ():
            if key not in own and key in module.Network.model_fields:
                of = "" if chosen in (recipe, None) else f", for the chosen recipe ({chosen}): remove it here"
                lines.append(f"{path}: {recipe}.{key}: this key has moved to network.{key}{of}")
            elif f"{key}: {value}" in moved:
                lines.append(f"{path}: {recipe}.{key}: this key has moved to {recipe}.{moved[f'{key}: {value}']}")
    if lines:
        raise SlipwayError("\n".join(lines))


def _check(path: Path, model: type[Model], values: Any, prefix: str) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_explain(path, model, prefix, dict(detail)) for detail in error.errors()]
        raise SlipwayError("\n".join(lines)) from None


def _explain(path: Path, model: type[BaseModel], prefix: str, detail: dict[str, Any]) -> str:
    keys, there = _follow(model, detail["loc"])
    key = ".".join(filter(None, (prefix, *keys)))
    where = f"{path}: {key}" if key else f"{path}"
    if detail["type"] == "union_tag_invalid":
        tag = detail["ctx"]["tag"]
        return f"{where}: no {keys[-1]} {tag!r}; {nearest(tag, there)}"
    if detail["type"] == "string_type" and not isinstance(detail["input"], list | dict):
        value = detail["input"]
        kind, written = _as_yaml(value)
        return f"{where}: expected text, but without quotes YAML reads {written} as {kind}: write '{written}'"
    if detail["type"] != "extra_forbidden":
        of_several = detail["type"] == "value_error" and isinstance(detail["input"], dict)  # our own check of a section
        got = "" if detail["type"] == "missing" or of_several else f" (got {detail['input']!r})"
        text = detail["msg"].removeprefix("Value error, ")
        return f"{where}: {text[:1].lower()}{text[1:]}{got if len(got) < 200 else ''}"
    last = keys[-1]
    (tag, section), *others = _follow(model, detail["loc"][:-1])[1].items()
    fields = section.model_fields.items()
    if any(last in other.model_fields for _, other in others):
        own = ", ".join(name for name, field in fields if field.default != tag)
        return f"{where}: {tag} has no setting {last}; its settings are {own}"
    if last == "size" and "model_size" in section.model_fields:
        return f"{where}: this key is called model_size now: of one called size, DVC's run cache overlooks changes"
    known = [field.alias or name for name, field in fields if name != "task"]
    if section is Params:
        known += recipes.names()
    return f"{where}: unknown key; {nearest(last, known, key.removesuffix(last))}"


def _as_yaml(value: Any) -> tuple[str, str]:
    """Say what YAML took a scalar for, and how it may have been written."""
    if value is None:
        return "nothing", "null"
    if isinstance(value, bool):
        return "a boolean", str(value).lower()
    return ("a number" if isinstance(value, int | float) else "a date"), str(value)


def _follow(model: type[BaseModel], place: Iterable[Any]) -> tuple[list[str], dict[str, type[BaseModel]]]:
    """Return the keys that lead to an error's place, and the section there, if it is one.

    Where a union stands, its other members follow, each by its tag: pydantic names the chosen one in the place, as in
    ("train", "schedule", "cosine", "floor"), and it is no key.
    """
    keys: list[str] = []
    there: dict[str, type[BaseModel]] = {"": model}
    parts = iter(place)
    for part in parts:
        keys.append(str(part))
        fields = next(iter(there.values())).model_fields.items() if there else ()
        field = next((field for name, field in fields if part in (name, field.alias)), None)
        members = () if field is None else get_args(field.annotation) or (field.annotation,)
        sections = [item for item in members if isinstance(item, type) and issubclass(item, BaseModel)]
        there = {"": sections[0]} if sections else {}
        if field is not None and isinstance(tag := field.discriminator, str):
            there = {get_args(section.model_fields[tag].annotation)[0]: section for section in sections}
            if (chosen := next(parts, None)) is not None:
                there = {chosen: there[chosen], **there}
    return keys, there
