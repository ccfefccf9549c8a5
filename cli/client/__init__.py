"""The client side of the `rlaif` command: one module per resource, over plain HTTP."""
