"""How long the stages of the codec take, and how that stands to what the machine could do.

`bench` times one model at one output size in a process of its own; `campaign` runs several, one
after another; `floors` and `cost` say what no implementation could undercut on this machine.
`original` is the published network, for its cost alone.
"""
