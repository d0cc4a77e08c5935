"""What a compressed network costs: the bytes of its weights."""


def model_bytes(model) -> int:
    """Bytes of parameters and buffers as they are stored, shared ones once.

    A pruned network has as many as before, unless `sparse` stores it.
    """
    tensors = model.state_dict().values()
    return sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())
