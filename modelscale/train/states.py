"""The optimizer's state by the name of the parameter, so that it outlives its optimizer."""


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
        optimizer.state[named[name]] = {key: value.clone() for key, value in values.items()}


def take(model, optimizer, state: dict | None) -> None:
    """Nothing: fills `state`, where it is a dict, with what `optimizer` ended with."""
    if state is None:
        return
    state.clear()
    for name, parameter in model.named_parameters():
        if parameter in optimizer.state:
            state[name] = dict(optimizer.state[parameter])
