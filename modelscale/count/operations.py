"""What one training step does, operation by operation: the list a step time is predicted from.

Each operation is a matrix product (m x k times k x n, `calls` of them) or a pass over memory.
Legend: B batch, T tokens, C channels, H heads; P parameters.
"""

from dataclasses import dataclass

from .. import check
from .nets import MLP, ConvNet
from .transformer import Transformer

UPDATE = {"clipping": 3, "AdamW": 7}  # once a step: how many arrays of parameters each moves


@dataclass(frozen=True)
class Operation:
    """One kind of work in a training step, `calls` times the same."""

    name: str
    bytes: float  # moved from and to memory by one call
    product: tuple = ()  # (m, k, n) of a matrix product, empty for a pass over memory
    batch: int = 1  # products of this shape in one call (attention: one a head)
    calls: int = 1

    @property
    def flops(self) -> float:
        """FLOPs of all calls; passes over memory count none, as in the field's conventions."""
        m, k, n = self.product or (0, 0, 0)
        return 2 * m * k * n * self.batch * self.calls


def training_step(shape, batch_size: int, bytes_per_value: int = 4) -> list[Operation]:
    """The operations of one training step of `shape` with AdamW and gradient clipping."""
    kinds = {MLP: _mlp, ConvNet: _conv, Transformer: _transformer}
    if type(shape) not in kinds:
        check.refuse("shape", shape, "a count.MLP, count.ConvNet or count.Transformer")
    layers = kinds[type(shape)](shape, check.integer("batch_size", batch_size), bytes_per_value)
    # clipping reads, scales and writes the gradients; AdamW reads four arrays, writes three
    update = (Operation(name, n * 4 * shape.params) for name, n in UPDATE.items())
    return [op for op in (*layers, *update) if op.calls]


def _mlp(shape, batch, size):
    hidden = batch * shape.width * size
    ops = _linear("first layer", batch, shape.n_in, shape.width, size, input_gradient=False)
    ops += _linear("hidden layers", batch, shape.width, shape.width, size, shape.depth - 1)
    ops += _linear("head", batch, shape.width, shape.n_out, size)
    ops += _pass("ReLU", 2 * hidden, 3 * hidden, shape.depth)
    if shape.residual:
        ops += _pass("norms", 2 * hidden, 5 * hidden, shape.depth)
        ops += _pass("additions", 3 * hidden, 3 * hidden, shape.depth - 1)
    return ops + _loss(batch, shape.n_out, size)


def _conv(shape, batch, size):
    ops = []
    for layer in range(shape.depth):
        rows, unfolded = batch * shape.lengths[layer + 1], shape.channels[layer] * shape.kernel
        ops += _linear("convolutions", rows, unfolded, shape.width, size, input_gradient=layer > 0)
        ops += _pass("ReLU", 2 * rows * shape.width * size, 3 * rows * shape.width * size)
    ops += _linear("head", batch, shape.n_features, shape.n_out, size)
    return ops + _loss(batch, shape.n_out, size)


def _transformer(shape, batch, size):
    rows, layers = batch * shape.context, shape.n_layer
    queries = shape.attention_width
    ops = _linear("qkv", rows, shape.d_model, queries + 2 * shape.kv_width, size, layers)
    ops += _linear("attention output", rows, queries, shape.d_model, size, layers)
    ops += _attention(shape, batch, size)
    ops += _feed_forward(shape, rows, size)
    ops += _linear("head", rows, shape.d_model, shape.vocab_size, size)
    stream = rows * shape.d_model * size
    ops += _pass("norms", 2 * stream, 5 * stream, 2 * layers + 1)
    ops += _pass("additions", 3 * stream, 3 * stream, 2 * layers)
    ops += _pass("head order", 2 * stream, 2 * stream, 4 * layers)  # (B, T, H, Q) <-> (B, H, T, Q)
    ops += _pass("embedding", 2 * stream, 2 * stream + 4 * shape.vocab_size * shape.d_model)
    return ops + _loss(rows, shape.vocab_size, size)


def _feed_forward(shape, rows, size):
    """The MLPs, as many a layer as there are experts; of each the rows it gets on average."""
    calls, k = shape.n_layer * shape.n_expert, shape.n_expert_active
    rows_each = rows * k / shape.n_expert
    into = shape.ff_width * (2 if shape.gated_mlp else 1)
    inner = rows_each * shape.ff_width * size
    ops = _linear("MLP up", rows_each, shape.d_model, into, size, calls)
    ops += _linear("MLP down", rows_each, shape.ff_width, shape.d_model, size, calls)
    ops += _pass("GELU", 2 * inner, 3 * inner, calls)
    if shape.n_expert > 1:
        ops += _linear("router", rows, shape.d_model, shape.n_expert, size, shape.n_layer)
        chosen = rows * k * shape.d_model * size  # sorted by expert, joined, sorted back, weighed
        ops += _pass("sorting", 2 * chosen, 2 * chosen, 4 * shape.n_layer)
    return ops


def _attention(shape, batch, size):
    """Scores and weighted values: two products a head forward, five backward (one is repeated)."""
    tokens, width = shape.context, shape.head_size
    heads, moved = batch * shape.n_head, batch * shape.n_head * shape.context * width * size
    forward = Operation("attention", 4 * moved, (tokens, width, tokens), 2 * heads, shape.n_layer)
    backward = Operation("attention", 8 * moved, (tokens, width, tokens), 5 * heads, shape.n_layer)
    return [forward, backward]


def _linear(name, rows, n_in, n_out, size, calls=1, input_gradient=True):
    """A linear map forward, its weight gradient with the sum for the bias, its input gradient."""
    moved = size * (rows * n_in + n_in * n_out + rows * n_out)
    return [
        Operation(name, moved, (rows, n_in, n_out), calls=calls),
        Operation(name, moved, (n_in, rows, n_out), calls=calls),
        Operation(name, size * rows * n_out, calls=calls),
        Operation(name, moved, (rows, n_out, n_in), calls=calls * input_gradient),
    ]


def _pass(name, forward_bytes, backward_bytes, calls=1):
    return [Operation(name, n, calls=calls) for n in (forward_bytes, backward_bytes)]


def _loss(rows, classes, size):
    """Log-softmax and its gradient, without the choice of labels."""
    return _pass("loss", 2 * rows * classes * size, 3 * rows * classes * size)
