"""What the tests of reuse share: a small network of each kind, its data, and what trains of it."""

from modelscale import count, data

GPT = count.Transformer(n_layer=2, d_model=16, n_head=2, vocab_size=256, context=8)
NETS = {
    "MLP": count.MLP(2, 12),
    "ResidualMLP": count.MLP(3, 12, residual=True),
    "ConvNet": count.ConvNet(3, 4, n_stride=2),
    "ConvNet2d": count.ConvNet2d(depth=2, width=3, size=8),
}


def data_for(shape):
    """60 samples that a network of this shape can train on."""
    images = isinstance(shape, count.ConvNet2d)
    return data.digits().subset(60) if images else data.signals(60, 100)


def n_trained(model):
    """How many numbers of a network are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def weights(model):
    """{name: a copy of the parameter}."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def changed(model, before):
    """The names of the parameters that are not what they were, in their last bit even."""
    return {name for name, p in model.named_parameters() if not p.equal(before[name])}
