"""The walk through an exported module: tensors become signals, constants or potentials."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import torch
from torch.utils._pytree import key_get, tree_flatten_with_path, tree_unflatten

from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import FidelityReport, RefusedError
from seenn_deploy.frontends.torch.adapters.base import Neuron
from seenn_deploy.frontends.torch.layers import Layer
from seenn_deploy.frontends.torch.operations import OPERATIONS, Graph
from seenn_deploy.frontends.torch.operations.products import channels_first
from seenn_deploy.frontends.torch.operations.timesteps import delayed
from seenn_deploy.frontends.torch.operations.tokens import with_tokens
from seenn_deploy.frontends.torch.tracing import (
    line_of,
    module_path,
    operator_of,
    place_of,
    refuse_neuron,
)
from seenn_deploy.frontends.torch.values import (
    SOURCE,
    UNKNOWN,
    Atom,
    Constant,
    Joined,
    NotSupportedError,
    Potential,
    Role,
    Seen,
    Signal,
    Term,
    Unreadable,
    Value,
    check_same_order,
    has_tokens,
    known,
)

_SPIKING, _STATE = "seenn_deploy.spiking.default", "seenn_deploy.state.default"
_TIMESTEP, _DELAY = "seenn_deploy.timestep.default", "seenn_deploy.delay.default"
# In these dtypes a sum of spikes wraps round, or 1 + 1 is 1.
_SHORT = (torch.bool, torch.uint8, torch.int8, torch.int16)
_ROUNDED = (torch.float16, torch.bfloat16)
_ARITHMETIC = ("add", "sub", "rsub", "neg", "mul", "div")
_MADE_LIKE = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full")


class Walk:
    """A walk through the nodes of an exported module, which finds what it does to its input.

    Parameters
    ----------
    program : ExportedProgram
    layers : list of Layer
        The spiking layers behind the opaque operators.
    report : FidelityReport
    traced : int
        The number of calls of the module that the program holds.
    states : int
        The number of states that each call hands on to the next, behind its first result.

    Attributes
    ----------
    calls : list of lists of Signal
        For each layer, its input at each call.
    input : tuple of Atom
        The axes of the module's input.
    seen : Seen
        As what image the module sees it.
    graph : Graph
        The sums and pools of spikes that were found.
    starts : dict of int to float
        Potential that a layer was charged to before its first timestep, by calls with a constant.
    charges : list of int
        For each layer, the number of such calls.
    last_call, returned : list of values
        What the module returns in its last call, and over all calls.
    places : dict of str to str
        The layer and the user's line, for each layer that is called.
    """

    def __init__(
        self, program: Any, layers: list[Layer], report: FidelityReport, traced: int = 1,
        states: int = 0,
    ) -> None:  # fmt: skip
        self.program, self.layers, self.report = program, layers, report
        self.traced, self._states = traced, states
        self.graph = Graph(layer.name for layer in layers)
        self.calls: list[list[Signal]] = [[] for _ in layers]
        self.input: tuple[Atom, ...] = ()
        self.seen = Seen()
        self.starts: dict[int, float] = {}
        self.charges = [0] * len(layers)
        self.places: dict[str, str] = {}
        self.last_call: list[Value] = []
        self.returned: list[Value] = []
        self._values: dict[str, Value] = {}

    def outputs(self) -> list[Value]:
        """Read all nodes, and return the values that the module returns.

        Raises
        ------
        RefusedError
            When a node cannot be expressed; the message names the line in the user's code.
        """
        self._place_inputs()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                # Stays so where the node is refused: what follows is then not judged by it, and one
                # walk lists all that is in the way.
                self._values[node.name] = UNKNOWN
                with self.report.gathering():
                    self._values[node.name] = self._read(node)
        self.report.stop()
        (result,) = (n for n in self.program.graph.nodes if n.op == "output")
        values = [self._value(arg) for arg in result.args[0]]
        count, rest = divmod(len(values), self.traced)
        if rest:
            self.report.refuse(
                "output", "the module returns more in one timestep than in another", "return alike"
            )
        calls = [values[k * count : (k + 1) * count] for k in range(self.traced)]
        self.last_call = calls[-1]
        made: dict[tuple[int, ...], Value] = {}
        for by_call in zip(*calls, strict=True):
            # A tensor that is returned twice stays one value, since outputs are told apart by
            # identity.
            key = tuple(map(id, by_call))
            made[key] = made[key] if key in made else self._over_calls(list(by_call))
        self.returned = [made[tuple(map(id, by_call))] for by_call in zip(*calls, strict=True)]
        return self.returned

    def _over_calls(self, values: list[Value]) -> Value:
        """Put the values that one output has in each call together, as a stack in a loop would."""
        if len(values) == 1 or not isinstance(values[-1], Signal | Potential):
            return values[-1]
        try:
            return OPERATIONS["stack.default"](self.graph, values, 0)
        except NotSupportedError as error:
            return Unreadable(error.what.replace("what is stacked", "what it returns"), values[-1])

    @property
    def handed_on(self) -> set[int]:
        """The outputs that each call takes from the one before."""
        first = [name.partition(".")[0] for name in self.output_names]
        states = {str(1 + k) for k in range(self._states)}
        return {i for i, name in enumerate(first) if name in states}

    @property
    def one_step(self) -> bool:
        """Whether the module does one timestep per call."""
        return self.traced > 1 or (not self.stream_lengths and self.call_counts <= {1})

    @property
    def output_names(self) -> list[str]:
        """Name the tensors of the module's result: keys of a dict, numbers in a tuple."""
        paths = self._paths_of_outputs()
        return [".".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in p) for p in paths]

    def returned_by(self, result: Any, output: int) -> Any:
        """Return that output of what the module itself returned in one call.

        Its states are perhaps tuples, where the walk has one tensor.
        """
        return key_get(result, self._paths_of_outputs()[output])

    def _paths_of_outputs(self) -> list[Any]:
        spec = self.program.call_spec.out_spec
        leaves = tree_unflatten(list(range(spec.num_leaves)), spec)
        return [path for path, _ in tree_flatten_with_path(leaves[-1])[0]]

    @property
    def stream_lengths(self) -> set[int]:
        """The numbers of timesteps of the layers that take whole streams."""
        lengths = set()
        for layer, calls in zip(self.layers, self.calls, strict=True):
            if calls and layer.neuron and layer.neuron.time_axis is not None:
                (time,) = calls[0].axes[layer.neuron.time_axis]
                lengths.add(time.size)
        return lengths

    @property
    def call_counts(self) -> set[int]:
        """The numbers of calls of the layers that take one timestep per call."""
        return {
            len(calls)
            for layer, calls in zip(self.layers, self.calls, strict=True)
            if calls and layer.neuron and layer.neuron.time_axis is None
        }

    def readout_name(self, output: int) -> str:
        """The path of the last module with weights, if no spiking layer follows it."""
        (result,) = (n for n in self.program.graph.nodes if n.op == "output")
        # Counted from the end, where the results of the last call stand.
        queue = [result.args[0][output - len(self.last_call)]]
        name = self._name_behind(queue)
        self.places[name] = place_of(queue[0])
        return name

    def place_of_output(self, output: int) -> str:
        """Name an output, and the user's line that makes it."""
        (result,) = (n for n in self.program.graph.nodes if n.op == "output")
        node = result.args[0][output - len(self.last_call)]
        name = self.output_names[output]
        line = line_of(node) if isinstance(node, torch.fx.Node) else ""
        return f"output{f' {name!r}' * bool(name)}{f' at {line}' * bool(line)}"

    def _name_behind(self, queue: list[Any]) -> str:
        # Backwards, breadth first; the queue grows on the way.
        for node in queue:
            name = str(node.target)
            if name == _SPIKING:
                break
            if any(kind in name for kind in ("linear", "conv", "addmm", "mm.")):
                path = module_path(node).removesuffix(".module")
                return self.graph.name(path or "readout")
            queue += [n for n in node.all_input_nodes if n not in queue]
        return self.graph.name("readout")

    def _place_inputs(self) -> None:
        signature = self.program.graph_signature
        stored = {**self.program.state_dict, **self.program.constants}
        for spec in signature.input_specs:
            # Parameters, buffers and constants have a target; the user's input has none.
            if spec.target is not None:
                self._values[spec.arg.name] = Constant(stored[spec.target].detach())
        (name,) = signature.user_inputs
        (node,) = (n for n in self.program.graph.nodes if n.name == name)
        self.input = tuple(Atom(int(n), of_input=True) for n in node.meta["val"].shape)
        axes = tuple((a,) for a in self.input)
        self._values[name] = Signal(axes, self.input, None, (Term(SOURCE),), seen=self.seen)

    def _read(self, node: Any) -> Value:
        args = tuple(self._value(a) for a in node.args)
        named = {k: self._value(v) for k, v in node.kwargs.items()}
        # Sums and pools of spikes become nodes, which are named after the module they stand in.
        self.graph.here = module_path(node)
        try:
            result = self._result(node, args, named)
            if isinstance(result, Signal | Potential):
                _check_read(node, result)
            if isinstance(result, Signal):
                _check_numbers(node, result, self.graph.graded(result.terms[0].origin))
            return result
        except NotSupportedError as error:
            self.report.refuse(place_of(node), error.what, error.remedy)
        except RefusedError:
            raise
        except ModelError as error:
            self.report.refuse(place_of(node), str(error), "the graph cannot hold it")

    def _result(self, node: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Value:
        name = str(node.target)
        if name not in (_SPIKING, _STATE) and any(v is UNKNOWN for v in _flat((args, named))):
            return UNKNOWN
        if node.target is operator.getitem:
            return args[0][args[1]]
        if name in (_SPIKING, _STATE, _TIMESTEP, _DELAY):
            return self._opaque(node, name, args)
        return self._computed(node, args, named)

    def _computed(self, node: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Value:
        """The result of one of torch's own operators."""
        name = str(node.target)
        short = name.removeprefix("aten.")
        # Checks that torch.export puts in itself.
        if short.startswith(("_assert", "sym_")):
            return None
        if short.split(".")[0] in _MADE_LIKE:
            args = (_empty_like(args[0], node.args[0]), *args[1:])
        if not any(isinstance(a, Signal | Potential | Joined) for a in _flat((args, named))):
            return _evaluated(node.target, args, named)
        if short not in OPERATIONS:
            remedy = "linear layers, batch norm, pools, sums and reshapes are"
            if "softmax" in short:
                remedy = "at the end of a network leave it out: the largest logit stays the largest"
            raise NotSupportedError(f"{operator_of(name)} is not supported", remedy)
        try:
            return OPERATIONS[short](self.graph, *args, **named)
        # An argument that only some forms of the operator have.
        except TypeError as error:
            raise NotSupportedError(f"{operator_of(name)}: {error}", "use its plain form") from None

    def _opaque(self, node: Any, name: str, args: tuple[Any, ...]) -> Value:
        """Read an operator of our own."""
        if name == _SPIKING:
            return self._spiking(node, *args)
        if name == _STATE:
            return self._state(args[1])
        if name == _DELAY:
            return delayed(self.graph, *args)
        # Of a single traced call nothing says which timestep it is; all of them do the same.
        step = args[1] if self.traced > 1 else None
        return replace(args[0], terms=tuple(replace(t, step=step) for t in args[0].terms))

    def _value(self, arg: Any) -> Any:
        if isinstance(arg, list | tuple):
            return [self._value(a) for a in arg]
        return self._values.get(arg.name) if isinstance(arg, torch.fx.Node) else arg

    # --- spiking layers --------------------------------------------------------------------------

    def _spiking(self, node: Any, x: Value, states: list[Value], number: int) -> Value:
        """Note a layer's input, and return its spikes or its potential."""
        layer, earlier = self.layers[number], self.calls[number]
        if layer.neuron is None:
            refuse_neuron(layer, line_of(node), self.report)
        self.places.setdefault(layer.name, place_of(node))
        # It charges a layer that keeps its state; one that forgets it begins anew with the next
        # call.
        if isinstance(x, Constant) and not earlier and not layer.neuron.forgets:
            return self._charged(layer.neuron, x, number)
        if x is UNKNOWN:  # the layer itself is known: what follows it can be read
            x = _unknown_current(tuple(node.meta["val"].shape), layer.neuron)
        if isinstance(x, Constant):
            raise NotSupportedError(
                f"{layer.name} is called with a constant between its timesteps",
                "charge it before the first one alone, or add the constant to its current",
            )
        if not isinstance(x, Signal) or x.summed is not None or x.state is not None:
            raise NotSupportedError(
                f"{layer.name} is given what is no current of one timestep", "give it currents"
            )
        x = with_tokens(self.graph, x, len(x.axes) - (1 if layer.neuron.time_axis is None else 2))
        if has_tokens(x) and _feeds_linear(node, x.sizes[-1]):
            x = channels_first(self.graph, x)
        if not any(value is UNKNOWN for value in states):
            self._check_states(layer, layer.neuron, states, len(earlier), number)
            for given in states:
                if isinstance(given, Potential):
                    check_same_order(given.layout, x)
        if layer.neuron.time_axis is None:
            step, signal = len(earlier), _one_step(x, layer.name)
        else:
            step, signal = None, _whole_stream(x, layer.name, layer.neuron, bool(earlier))
        earlier.append(signal)
        if layer.neuron.sends_potential:
            return Potential(number, step, _layout(signal, layer.name))
        term = Term(layer.name, (), step, real=layer.neuron.filters)
        return self._sent(layer.neuron, signal, term)

    def _charged(self, neuron: Neuron, x: Constant, number: int) -> Constant:
        """Run a call before the first timestep, as QCFS's neurons have one to start at V / 2."""
        current = float(x.tensor.reshape(-1)[0])
        alike = bool((x.tensor == current).all()) and not (neuron.differs or neuron.filters)
        if not alike or neuron.tau_syn or neuron.time_axis is not None:
            raise NotSupportedError(
                f"{self.layers[number].name} is called with a constant before its first timestep",
                "let all its neurons begin at the same potential",
            )
        # One timestep of the neuron, computed here as the graph would (design, section 2).
        v: Any = neuron.tau * self.starts.get(number, neuron.v_init)
        v += neuron.gain * current + neuron.shift
        above = v >= neuron.v_threshold if neuron.comparison == ">=" else v > neuron.v_threshold
        after: Any = v - (neuron.v_threshold if neuron.reset_by is None else neuron.reset_by)
        self.starts[number] = (after if neuron.reset == "soft" else 0.0) if above else v
        self.charges[number] += 1
        return Constant(torch.full_like(x.tensor, neuron.sends if above else 0.0))

    def _state(self, number: int) -> Potential:
        """Return a layer's potential after its last call."""
        layer, calls = self.layers[number], self.calls[number]
        whole = layer.neuron is not None and layer.neuron.time_axis is not None
        layout = _layout(calls[-1], layer.name)
        return Potential(number, None if whole else len(calls) - 1, layout, beside=True)

    def _sent(self, neuron: Neuron, signal: Signal, term: Term) -> Signal:
        spikes = replace(signal, terms=(term,), pool=None)
        if neuron.sends == 1:
            return spikes
        product: Signal = OPERATIONS["mul.Tensor"](self.graph, spikes, neuron.sends)
        return product

    def _check_states(
        self, layer: Layer, neuron: Neuron, states: list[Value], k: int, number: int
    ) -> None:
        fresh = all(isinstance(s, Constant) and not bool(s.tensor.any()) for s in states)
        # A state of another layer, or of another timestep, is handed on in no graph.
        carried = all(
            isinstance(s, Potential) and (s.layer, s.step) == (number, k - 1) for s in states
        )
        if k == 0 and not fresh:
            raise NotSupportedError(
                f"{layer.name} starts from a state that is not zero", "start from zeros"
            )
        if k > 0 and (not carried or (neuron.forgets and not states)):
            raise NotSupportedError(
                f"call {k + 1} of {layer.name} does not go on from the state of call {k}",
                "hand each timestep's state on to the next, and run one sample per forward",
            )


def _feeds_linear(node: Any, channels: int) -> bool:
    """Whether what takes a layer's spikes is a linear layer over a last axis of `channels`.

    One over all tokens and channels, behind a flatten, takes them in the order that they have.
    """
    queue = list(node.users)
    for user in queue:  # forwards, breadth first; the queue grows on the way
        name = str(user.target)
        if "linear" in name or "conv" in name or name == _SPIKING:
            return "linear" in name and user.args[0].meta["val"].shape[-1] == channels
        queue += [n for n in user.users if n not in queue]
    return False


def _layout(current: Signal, name: str) -> Signal:
    """The axes of what a layer keeps: those of its current."""
    return replace(current, terms=(Term(name),), pool=None)


def _unknown_current(sizes: tuple[int, ...], neuron: Neuron) -> Signal:
    """What a layer is given by an operation that was refused: of its shape, and nothing more."""
    batch = 0 if neuron.time_axis is None else neuron.batch_axis
    roles: dict[int | None, Role] = {neuron.time_axis: "time", batch: "batch"}
    atoms = tuple(Atom(n, roles.get(i, "feature")) for i, n in enumerate(sizes))
    features = tuple(a for a in atoms if a.role == "feature")
    shape = tuple(a.size for a in features)
    return Signal(tuple((a,) for a in atoms), features, shape, (Term(SOURCE),))


def _one_step(x: Signal, name: str) -> Signal:
    if x.times:
        raise NotSupportedError(
            f"{name} takes one timestep per call, it is given a stream",
            "loop over timesteps, or use its multi-step mode",
        )
    _one_batch_axis(x, 0, name)
    return known(x, len(x.axes) - 1, ordered=False)


def _whole_stream(x: Signal, name: str, neuron: Neuron, again: bool) -> Signal:
    assert neuron.time_axis is not None
    if again:
        raise NotSupportedError(
            f"{name} is called twice on whole streams", "use a layer for each place"
        )
    if len(x.axes) > 2 and not x.axes[neuron.time_axis]:  # one timestep, unsqueezed
        at = neuron.time_axis
        x = replace(x, axes=(*x.axes[:at], (Atom(1),), *x.axes[at + 1 :]))
    if len(x.axes) < 3 or len(x.axes[neuron.time_axis]) != 1:
        raise NotSupportedError(
            f"{name} needs time as axis {neuron.time_axis} of its input, found sizes {x.sizes}",
            "split batch and time before it",
        )
    x.axes[neuron.time_axis][0].become("time")
    _one_batch_axis(x, neuron.batch_axis, name)
    if any(t.step is not None for t in x.terms):
        raise NotSupportedError(f"{name} is given single timesteps", "give it the stack of all")
    return known(x, len(x.axes) - 2, ordered=False)


def _one_batch_axis(x: Signal, at: int, name: str) -> None:
    if len(x.axes) <= at or len(x.axes[at]) != 1:
        raise NotSupportedError(
            f"{name} needs the batch as axis {at} of its input, found sizes {x.sizes}",
            "give it samples apart from timesteps",
        )
    x.axes[at][0].become("batch")


def _flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return _flat(list(value.values()))
    if isinstance(value, list | tuple):
        return [v for part in value for v in _flat(part)]
    return [value]


def _empty_like(value: Value, node: Any) -> Value:
    """Replace a signal by zeros of its shape, for operators that use the shape alone."""
    if isinstance(value, Signal | Potential):
        return Constant(torch.zeros(node.meta["val"].shape, dtype=node.meta["val"].dtype))
    return value


def _check_read(node: Any, result: Signal | Potential) -> None:
    """Refuse a result whose shape differs from torch's, or whose numbers a cast rounds."""
    there = node.meta["val"]
    if result.sizes != tuple(there.shape):
        raise NotSupportedError(
            f"{operator_of(node.target)} gives {tuple(there.shape)}, read as {result.sizes}",
            "write it in another way",
        )
    # Who casts what was cast before rounds nothing more.
    before = [getattr(n.meta["val"], "dtype", there.dtype) for n in node.all_input_nodes[:1]]
    spikes = isinstance(result, Signal) and result.spikes
    whole = there.dtype in (torch.float32, torch.float64) or spikes
    if not whole and there.dtype not in before:
        said = "currents" if isinstance(result, Signal) else "potentials"
        raise NotSupportedError(
            f"{said} as {str(there.dtype).removeprefix('torch.')}", "leave them in float32"
        )


def _check_numbers(node: Any, result: Signal, graded: bool) -> None:
    """Refuse arithmetic that wraps round or rounds, and of truths, where 1 + 1 is 1."""
    dtype, name = node.meta["val"].dtype, str(node.target).removeprefix("aten.").split(".")[0]
    if dtype not in (*_SHORT, *_ROUNDED):
        return
    said = str(dtype).removeprefix("torch.")
    if name in _ARITHMETIC:
        raise NotSupportedError(
            f"sums and products of {said} numbers", "turn them into float32 before: x.float()"
        )
    if dtype is torch.bool and graded:
        raise NotSupportedError(
            "sums of spikes as truth values", "leave them as numbers, or add currents"
        )


def _evaluated(target: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Value:
    """Run an operator on constants."""
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        raise NotSupportedError(
            f"{operator_of(target)} gives random numbers", "a graph does the same in every run"
        )
    with torch.no_grad():
        result = target(*_bare(args), **_bare(named))
    return _boxed(result)


def _bare(value: Any) -> Any:
    if isinstance(value, Constant):
        return value.tensor
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items()}
    return type(value)(_bare(v) for v in value) if isinstance(value, list | tuple) else value


def _boxed(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Constant(value)
    return tuple(_boxed(v) for v in value) if isinstance(value, list | tuple) else value
