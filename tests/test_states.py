"""The data channel's protocol as a table: every pair of a state and a message."""

import pytest

from gemino.call.states import CallState, PeerState
from gemino.errors import WireError
from gemino.wire import Bye, Hello, KeyframeWish, Message

HELLO = Hello(codecs=("vp8",), output_sizes_px=(512,))
AFTER = {
    (PeerState.NEW, HELLO): PeerState.OPEN,
    (PeerState.OPEN, KeyframeWish()): PeerState.OPEN,
    (PeerState.OPEN, Bye()): PeerState.DONE,
}


def at(state: PeerState) -> CallState:
    call = CallState()
    call.ours = call.theirs = state
    return call


@pytest.mark.parametrize("message", [HELLO, KeyframeWish(), Bye()], ids=repr)
@pytest.mark.parametrize("state", PeerState)
def test_the_table(state: PeerState, message: Message) -> None:
    call, after = at(state), AFTER.get((state, message))
    if after is None:
        with pytest.raises(WireError, match="out of order"):
            call.receive(message)
        with pytest.raises(RuntimeError, match="we cannot say"):
            call.send(message)
        assert (call.ours, call.theirs) == (state, state)
    else:
        call.receive(message)
        assert (call.ours, call.theirs) == (state, after)
        call.send(message)
        assert call.ours is after


def test_the_two_directions_are_independent() -> None:
    call = CallState()
    call.send(HELLO)
    call.send(Bye())
    assert repr(call) == "CallState(ours=done, theirs=new)"
    call.receive(HELLO)
    assert call.theirs is PeerState.OPEN
