"""An ONNX graph, node by node; what it computes so far can be asked of examples at any time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.recipes import AT_ONCE, Arrays, at_once

OPSET, OPSET_OF_TREES, IR_VERSION = 18, 5, 9  # of ONNX: https://onnx.ai/onnx/operators
NEVER = -1e4  # the log-odds of what training did not have: its probability is 0


@dataclass
class Graph:
    """Nodes and constants; each input `(examples, ...)` has the shape and dtype that preprocess has written."""

    inputs: Mapping[str, Mapping[str, Any]]  # name -> {"shape": of one example, "dtype"}
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """Store an array; return its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output; return the output's name."""
        from onnx import helper

        name = f"{operator.lower()}_{len(self.nodes)}"
        domain = "ai.onnx.ml" if operator == "TreeEnsemble" else ""
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, domain=domain, **attributes))
        return name

    def total(self, parts: list[str]) -> str:
        """Add tensors up."""
        return parts[0] if len(parts) == 1 else self.add("Sum", *parts)

    def written(self, *outputs: tuple[str, str, type], shape: tuple[int, ...] = ()) -> bytes:
        """Return the model as bytes, an output for each `(tensor, name, dtype)`; the same graph is the same bytes.

        `shape` is that of the outputs of one example, where it is known.
        """
        import onnx
        from onnx import helper

        inputs = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(np.dtype(spec["dtype"])), ["examples", *spec["shape"]]
            )
            for name, spec in self.inputs.items()
        ]
        last = [helper.make_node("Identity", [tensor], [name], name) for tensor, name, _ in outputs]
        whole = ["examples", *shape] if shape else None
        results = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), whole)
            for _, name, dtype in outputs
        ]
        nodes, constants = self._needed([tensor for tensor, _, _ in outputs])
        made = helper.make_graph([*nodes, *last], "classical", inputs, results, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", OPSET_OF_TREES)]
        model = helper.make_model(made, opset_imports=opsets, ir_version=IR_VERSION, producer_name="slipway")
        if shape:  # the checker wants one
            onnx.checker.check_model(model)
        found: bytes = model.SerializeToString(deterministic=True)
        return found

    def _needed(self, tensors: list[str]) -> tuple[list[Any], list[Any]]:
        """Return the nodes and constants that tensors are made of, in their order."""
        needed, nodes = set(tensors), []
        for node in reversed(self.nodes):  # a node stands behind those that it reads
            if needed & set(node.output):
                needed |= set(node.input)
                nodes.append(node)
        return nodes[::-1], [constant for constant in self.constants if constant.name in needed]

    def ask(self, tensors: Mapping[str, type], arrays: Arrays) -> list[np.ndarray]:
        """Return tensors of the graph, each of its dtype, for encoded examples."""
        outputs = ((tensor, f"asked_{at}", dtype) for at, (tensor, dtype) in enumerate(tensors.items()))
        return ask(self.written(*outputs), arrays)


def ask(model: bytes, arrays: Arrays) -> list[np.ndarray]:
    """Return the outputs of a model for encoded examples; it need not read all arrays."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only
    rows = len(next(iter(arrays.values())))
    if rows <= AT_ONCE:  # a thread more is not worth its start
        options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    read = {given.name: arrays[given.name] for given in session.get_inputs()}
    batch = at_once(read)
    parts = [
        session.run(None, {name: np.ascontiguousarray(array[at : at + batch]) for name, array in read.items()})
        for at in range(0, rows, batch)
    ]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
