"""The optimizer's state by the name of the parameter, so that it outlives its optimizer."""

KEYS = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "SGD": {"momentum_buffer"}}


def give(model, optimizer, state: dict | None) -> None:
    """Nothing: lets `optimizer` begin with `state`; parameters it does not name begin anew.

    Raises: ValueError if it names parameters that the model lacks, or of another size.
    """
    named = dict(model.named_parameters())
    for name, values in (state or {}).items():
        sizes = {tuple(v.shape) for v in values.values() if v.dim()}
        if name not in named or sizes - {tuple(named[name].shape)}:
            raise ValueError(
                f"state[{name!r}] has values of shape {sizes or '()'}: it must be the state of a"
                " parameter of this model. After growing it, take growth.carry(state, model)."
            )
        kind = type(optimizer).__name__
        if set(values) != KEYS[kind]:
            raise ValueError(
                f"state[{name!r}] holds {sorted(values)}: for {kind} it must hold"
                f" {sorted(KEYS[kind])}. Go on with the optimizer it is from, or without it."
            )
        device = named[name].device
        optimizer.state[named[name]] = {k: v.to(device, copy=True) for k, v in values.items()}


def take(model, optimizer, state: dict | None) -> None:
    """Nothing: fills `state`, where it is a dict, with what `optimizer` ended with."""
    if state is None:
        return
    state.clear()
    for name, parameter in model.named_parameters():
        if parameter in optimizer.state:
            state[name] = dict(optimizer.state[parameter])
