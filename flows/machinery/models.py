"""Which models this repository has: the root's, those of models/NAME, and the examples that come with it."""

import re
from dataclasses import dataclass
from pathlib import Path

from components import SlipwayError, near
from flows.machinery import git

MODELS, EXAMPLES = Path("models"), Path("examples")
FILES = ("params.yaml", "expectations.yaml", "data.dvc", "dvc.lock")
PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # as `name` in params.yaml
ROOT = "root"  # what the workspace of the root's model is called
RESERVED = (ROOT, "files")  # folders of .workspaces/ that are no model's


@dataclass(frozen=True)
class Model:
    """A model: its name, empty for the root's, and the folder of its files, from the project's root."""

    name: str
    folder: Path

    @property
    def example(self) -> bool:
        """Whether it comes with the project: its data is made of files that are downloaded."""
        return self.folder.parent == EXAMPLES


def names() -> list[str]:
    """Return the names of the team's own models, those in models/."""
    return sorted(path.parent.name for path in MODELS.glob("*/params.yaml"))


def examples() -> list[str]:
    """Return the names of the examples."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/example.yaml"))


def find(name: str, revision: str = "") -> Model:
    """Return the model of that name; "" and the name that params.yaml has are the root's.

    With a revision, its files must be there. Raises SlipwayError, which names the nearest one and lists all there are.
    """
    if name in examples():
        return Model(name, EXAMPLES / name)
    if name and name not in names() and name == root_name():
        name = ""
    found = Model(name, MODELS / name if name else Path())
    if name and not (PATTERN.fullmatch(name) and (name in names() or revision)):
        raise SlipwayError(_unknown(name))
    if revision and name and not git.holds(revision, found.folder / "params.yaml"):
        if name in names():
            raise SlipwayError(
                f"{found.folder} is not in {revision}: commit it first, `git add {found.folder} && git commit`"
            )
        raise SlipwayError(_unknown(name))
    return found


def root_name() -> str:
    """Return the name of the root's model; empty where no params.yaml says it."""
    return setting(Path("params.yaml"), "name")


def setting(params: Path | bytes, key: str) -> str:
    """Return a setting of a params.yaml that may be of another revision's code; empty where there is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(params)
    except (OSError, YAMLError):
        return ""
    return str(content.get(key, "")) if isinstance(content, dict) else ""


def files(folder: Path) -> list[Path]:
    """Return the files that are a model's own, as far as they are there."""
    return [path for name in FILES if (path := folder / name).is_file()]


def new(name: str) -> Model:
    """Return a model that is to be made; SlipwayError where it may not be called so."""
    from components.recipes.source import slug

    if slug(name) != name:
        raise SlipwayError(f"a model's name is made of a-z, 0-9 and -; {slug(name)!r} instead of {name!r}, for example")
    taken = {
        **dict.fromkeys(RESERVED, f"{name!r} is a name that Slipway uses itself"),
        **{each: f"there is an example {each}" for each in examples()},
        root_name(): f"the model of the root's params.yaml is called {root_name()}",
        **{each: f"there is a model {MODELS / each}" for each in names()},
    }
    for each, why in taken.items():  # a disk may take `Income` for `income`
        if each.casefold() == name.casefold():
            raise SlipwayError(f"{why}: choose another name")
    if (MODELS / name).exists():
        raise SlipwayError(f"{MODELS / name} exists, and has no params.yaml: move it away, or choose another name")
    return Model(name, MODELS / name)


def listed() -> str:
    """Return all names, in two lines."""
    own = ", ".join(names()) or "none; `slipway new NAME ...` makes one"
    lines = [f"models: {own}", f"examples: {', '.join(examples())}"]
    if root := root_name():
        lines.insert(0, f"the root's model: {root}")
    return "\n".join(lines)


def _unknown(name: str) -> str:
    hint = near(name, [*names(), *examples(), *filter(None, [root_name()])])
    return f"no model {name!r}{hint and f'; {hint}'}\n{listed()}"
