"""The network as a program: rules on named tokens, compiled to weights in one place."""
