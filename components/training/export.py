"""What ships: ONNX to predict with, and of a network .keras to train on; the same model is the same bytes."""

import json
import logging
import re
import shutil
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components import SlipwayError, recipes, shipped, targets
from components.files import model_digest, read_json, replacing, sha256, write_json
from components.params import Params
from components.serving import suppression
from components.training import temperature, thresholds
from components.training.candidates import chosen, told

if TYPE_CHECKING:
    import keras

MAX_DIFFERENCE = 1e-4  # between probabilities of the two artefacts; between numbers, in deviations of the label
COMPARED_EXAMPLES = 1000  # validation examples on which they are compared


def write(
    model: "keras.Model | None",
    params: Params,
    arrays: Path,
    manifest: dict[str, Any],
    classical: Path,
    out: Path,
    pretrained: dict[str, Any] | None = None,
) -> str:
    """Write the candidate that ships and model.json; of a network both artefacts, compared; return the model's digest.

    `model` is the network, if it is a candidate, `classical` the folder that baseline wrote; `pretrained` says what the
    training started from, if anything.
    """
    with replacing(out) as aside:
        aside.mkdir(parents=True)
        difference = None if model is None else _network(model, params, arrays, manifest, aside)
        ships, degree, decision = _settled(params, arrays, manifest, classical, aside)
        if ships["shipped"] == "classical":
            shutil.copyfile(classical / "model.onnx", aside / "model.onnx")
            (aside / "model.keras").unlink(missing_ok=True)
        if degree is not None:
            temperature.write(aside / "model.onnx", degree, targets.of(manifest["target"]))
        description = {
            "recipe": params.recipe,
            "params": params.task.model_dump(mode="json"),
            "network": params.network.model_dump(mode="json") if ships["shipped"] == "network" else None,
            "candidates": ships,
            "state": manifest["state"],
            "target": manifest["target"],
            "temperature": degree,
            "decision": decision,
            "pretrained": pretrained,
            "code": sha256(*shipped.code(params.recipe)),
            "largest_difference": difference,
        }
        write_json(aside / "model.json", description)
        digest = model_digest(aside)
    print(f"wrote {out}: {ships['why']}", flush=True)
    if degree is not None:
        print(f"probabilities calibrated on validation: temperature {degree:g}", flush=True)
    return digest


def _network(model: "keras.Model", params: Params, arrays: Path, manifest: dict[str, Any], out: Path) -> float:
    """Write the network's artefacts; return the largest difference between what they say of examples."""
    rows = min(COMPARED_EXAMPLES, manifest["rows"]["validation"])
    names = [given.name for given in model.inputs]
    sample = {name: np.load(arrays / "validation" / f"{name}.npy", mmap_mode="r")[:rows] for name in names}
    outputs = model.predict(sample, batch_size=256, verbose=0)
    model.save(out / "saved.keras")
    _repack(out / "saved.keras", out / "model.keras")
    target = targets.of(manifest["target"])
    _export(model, out / "model.onnx", "maps" if target.maps else target.output)
    scale = np.ones(1) if target.classes else np.array(manifest["state"]["target"]["deviation"])
    difference = float((np.abs(_answers(out / "model.onnx", sample) - outputs) / scale).max())
    if not difference <= MAX_DIFFERENCE:
        raise SlipwayError(
            f"the ONNX model differs from the Keras model by {difference:g} in an output, over "
            f"{MAX_DIFFERENCE:g}: a layer of recipes/{params.recipe}/networks.py has no faithful export; replace it"
        )
    print(f"Keras and ONNX agree to {difference:.1e} on {rows:,} examples", flush=True)
    if target.maps:
        suppression.write(out / "model.onnx", len(target.names), target.shape[0])
    return difference


def _outputs(
    params: Params, arrays: Path, manifest: dict[str, Any], classical: Path, network: Path
) -> dict[str, np.ndarray]:
    """Return what each candidate, fitted on training alone, says of validation."""
    found: dict[str, np.ndarray] = {}
    for name in params.train.candidates:
        if name == "classical":
            found[name] = np.load(classical / "validation.npy")
        else:
            stored = {
                name: np.load(arrays / "validation" / f"{name}.npy", mmap_mode="r") for name in manifest["inputs"]
            }
            found[name] = _answers(network / "model.onnx", stored)
    return found


def _settled(
    params: Params, arrays: Path, manifest: dict[str, Any], classical: Path, network: Path
) -> tuple[dict[str, Any], float | None, list[Any] | None]:
    """Settle by the validation split which candidate ships, its temperature, and how its answers are decided."""
    target, settings = targets.of(manifest["target"]), params.train
    calibrated, rule = settings.calibrate and bool(target.classes), settings.threshold or target.rule
    if len(settings.candidates) == 1 and not calibrated and rule is None:
        return _chosen({settings.candidates[0]: np.empty(0)}, np.empty(0), {}, params, target, classical), None, None
    actual = np.load(arrays / "validation" / "label.npy")
    outputs = _outputs(params, arrays, manifest, classical, network)
    degrees = {name: temperature.fit(found, actual, target) if calibrated else None for name, found in outputs.items()}
    outputs = {name: temperature.scaled(found, degrees[name], target) for name, found in outputs.items()}
    costs = params.cost_matrix()
    scores: dict[str, float] = {}
    rules = {
        name: target.decided(found, actual, manifest["state"])
        if rule == "ngram"
        else thresholds.choose(rule, found, actual, target, costs)
        for name, found in outputs.items()
    }
    if target.classes and rule != "ngram":  # of texts the loss alone
        scores = {
            name: thresholds.score(target.chosen(found, rules[name]), actual, target, costs)
            for name, found in outputs.items()
        }
    ships = _chosen(outputs, actual, scores, params, target, classical)
    return ships, degrees[ships["shipped"]], rules[ships["shipped"]]


def _chosen(
    outputs: dict[str, np.ndarray],
    actual: np.ndarray,
    scores: dict[str, float],
    params: Params,
    target: targets.Target,
    classical: Path,
) -> dict[str, Any]:
    """Say which candidate ships and why, as plain JSON, with what each is called."""
    names, refitted = {"network": f"the network {getattr(params.network, 'model', '')}".rstrip()}, False
    if "classical" in outputs:
        about = read_json(classical / "classical.json")
        names["classical"], refitted = about["name"], about["refitted"]
    names = {name: names[name] for name in outputs}
    if len(names) == 1:
        (only,) = names
        found: dict[str, Any] = {"shipped": only, "names": names}
        why = f"{names[only]}, the only candidate"
    else:
        found = chosen(outputs, actual, target, scores) | {"names": names}
        why = told(found)
    if found["shipped"] == "classical" and refitted:
        why += "; what ships is fitted on the validation split too"
    return {**found, "why": why}


def _export(model: "keras.Model", path: Path, name: str) -> None:
    """Export to ONNX; its output is called `name` and its first dimension `examples`."""
    import onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    _teach_erfc()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # np.object, in keras.export
        model.export(path, format="onnx", verbose=False)
    exported = onnx.load(path)
    (output,) = exported.graph.output
    _rename(exported.graph, _ordered(exported.graph, {value.name: value.name for value in exported.graph.input}, name))
    for value in (*exported.graph.input, output):
        value.type.tensor_type.shape.dim[0].dim_param = "examples"
    exported.graph.doc_string = ""  # the name of a function, numbered too
    onnx.checker.check_model(exported)
    path.write_bytes(exported.SerializeToString(deterministic=True))


def _teach_erfc() -> None:
    """Give tf2onnx the complementary error function, 1 - erf(x): Keras's exact GELU on TensorFlow is made of it."""
    from tf2onnx.handler import tf_op

    def erfc(context: Any, node: Any, **_: Any) -> None:
        dtype, shape = context.get_dtype(node.output[0]), context.get_shape(node.output[0])
        erf = context.make_node("Erf", [node.input[0]], dtypes=[dtype], shapes=[shape]).output[0]
        one = context.make_const(f"{node.name}_one", np.array(1, np.float32)).output[0]
        context.remove_node(node.name)
        context.make_node("Sub", [one, erf], outputs=node.output, name=node.name, dtypes=[dtype], shapes=[shape])

    tf_op.register_handler(erfc, 9, ["Erfc"], "", {})


def _ordered(graph: Any, names: dict[str, str], output: str) -> dict[str, str]:
    """Put nodes and constants in the order in which the output needs them; return names that number them so.

    tf2onnx goes through sets, and of equal nodes keeps any: its order and its names differ from call to call.
    """
    import copy

    made = {name: node for node in graph.node for name in node.output if name}
    stored = {value.name: value for value in graph.initializer}
    nodes, constants = [], []
    waiting, seen = [(graph.output[0].name, False)], set(names)
    while waiting:
        name, ready = waiting.pop()
        if ready:
            nodes.append(copy.deepcopy(made[name]))
        elif name in stored and name not in seen:
            constants.append(copy.deepcopy(stored[name]))
        elif name in made and name not in seen:
            waiting.append((name, True))
            waiting += [(need, False) for need in reversed(_needs(made[name]))]
            seen.update(made[name].output)
        seen.add(name)
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    names = names | {graph.output[0].name: output}
    names |= {value.name: f"constant_{number}" for number, value in enumerate(constants)}
    for number, node in enumerate(nodes):
        for place, old in enumerate(node.output):
            if old and old not in names:
                names[old] = f"{node.op_type.lower()}_{number}" + (f"_{place}" if place else "")
    return names


def _needs(node: Any) -> list[str]:
    """Names that a node and the graphs inside it take."""
    inner = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    return [*node.input, *(name for graph in inner for part in graph.node for name in _needs(part))]


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Take the exporter's numbers, which count on through the life of a process, out of all names."""

    def new(old: str) -> str:
        if old and old not in names:
            stem = re.sub(r"__\d+", "", old)
            taken, number = set(names.values()), 0
            while (name := f"{stem}__{number}" if number else stem) in taken:
                number += 1
            names[old] = name
        return names.get(old, "")

    for value in (*graph.input, *graph.initializer, *graph.output, *graph.value_info):
        value.name = new(value.name)
    for node in graph.node:
        node.input[:], node.output[:] = [new(name) for name in node.input], [new(name) for name in node.output]
        node.name = node.output[0]
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _rename(inner, names)


def _repack(source: Path, target: Path) -> None:
    """Write a .keras archive again without the time of day in it, so that the same model is the same bytes."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            content = old.read(name)
            if name == "metadata.json":
                content = json.dumps(json.loads(content) | {"date_saved": "1980-01-01@00:00:00"}).encode()
            elif name == "config.json":  # Python's id() of shared objects: number them instead
                text = content.decode()
                for number, old_id in enumerate(dict.fromkeys(re.findall(r'"shared_object_id": (\d+)', text))):
                    text = text.replace(f'"shared_object_id": {old_id}', f'"shared_object_id": {number}')
                content = text.encode()
            new.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    source.unlink()


def _answers(onnx: Path, sample: dict[str, np.ndarray]) -> np.ndarray:
    """Run the exported model on examples."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    rows = len(next(iter(sample.values())))
    read = {given.name: sample[given.name] for given in session.get_inputs()}  # a network may leave out some inputs
    batch = recipes.at_once(read)
    parts = [
        session.run(None, {name: np.ascontiguousarray(array[at : at + batch]) for name, array in read.items()})[0]
        for at in range(0, rows, batch)
    ]
    return np.concatenate(parts)
