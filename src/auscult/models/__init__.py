"""A Sample becomes token ids and media tensors, and the networks that hear them."""
