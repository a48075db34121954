"""Pure functions of arrays and tensors: the mel, pictures, JPEG."""
