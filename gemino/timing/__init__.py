"""How long the stages of the codec take, and how that stands to what the machine could do.

`bench` times one model at one output size, `apart` does so in a process of its own; `floors` and
`cost` say what no implementation could undercut on this machine. `original` is the published
network, for its cost alone.
"""
