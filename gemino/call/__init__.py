"""A call between two peers: decisions without sockets or clocks, and a thin rim of I/O.

`states`, `references`, `jitter`, `playout`, `adaptation` and `stats` decide and know neither a
socket nor a clock; `payload` is the one file that touches aiortc's private names; `tracks`, `peer`
and `loopback` do the I/O.
"""
