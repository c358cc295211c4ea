"""The parts of the rendezvous server that decide, without a socket or a clock."""

import ipaddress
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling import Limits, Refused, tokens
from signaling.access import client_address, origin_allowed
from signaling.messages import Ping, Relay, parse, parse_join
from signaling.metrics import Metrics
from signaling.rooms import Rooms
from signaling.throttle import Throttle

SECRET = b"0123456789abcdef0123456789abcdef"
PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


# Rooms


def test_a_room_holds_two_and_is_forgotten_when_both_have_left() -> None:
    rooms = Rooms(Limits())
    ann = rooms.join("r", 0.0)
    assert rooms.others(ann) == []
    bob = rooms.join("r", 0.0)
    assert (rooms.others(ann), rooms.others(bob)) == ([bob], [ann])
    with pytest.raises(Refused, match=r"room r already holds 2 peers$") as refused:
        rooms.join("r", 0.0)
    assert refused.value.code == "room-full"
    assert rooms.leave(ann) == [bob]
    assert rooms.leave(bob) == []
    assert (len(rooms), rooms.exists("r")) == (0, False)


def test_a_place_comes_back_to_its_secret_alone() -> None:
    rooms = Rooms(Limits(rejoin_s=20))
    ann, bob = rooms.join("r", 0.0), rooms.join("r", 0.0)
    setattr(ann, "lost_at", 5.0)  # noqa: B010
    with pytest.raises(Refused, match="one of which has lost its connection: try again in 18 s"):
        rooms.join("r", 7.0)
    for wrong in ("", "x" * 32, None, 5, [ann.secret], "größe", "\ud800"):
        with pytest.raises(Refused, match="no place in room r is kept for you"):
            rooms.rejoin("r", wrong)
    with pytest.raises(Refused, match="no place in room q"):
        rooms.rejoin("q", ann.secret)
    assert rooms.rejoin("r", ann.secret) is ann
    assert ann.lost_at is None
    assert rooms.rejoin("r", bob.secret) is bob  # its old connection only seems to live
    assert len(ann.secret) >= 32
    assert ann.secret != bob.secret


def test_rooms_are_limited_and_need_not_be_created() -> None:
    rooms = Rooms(Limits(max_rooms=1))
    with pytest.raises(Refused, match="nobody is in room r"):
        rooms.join("r", 0.0, create=False)
    rooms.join("r", 0.0)
    rooms.join("r", 0.0, create=False)
    with pytest.raises(Refused, match="no room left"):
        rooms.join("q", 0.0)


def test_what_waits_in_a_place_is_bounded_and_in_order() -> None:
    place = Rooms(Limits()).join("r", 0.0)
    assert place.put("é" * 50, max_bytes=10)  # one message always fits
    assert not place.put("x", max_bytes=100)
    assert place.put("x", max_bytes=101)
    assert place.take() == "é" * 50
    place.put_back("é" * 50)
    assert [place.take() for _ in range(3)] == ["é" * 50, "x", None]
    assert place.put("x" * 100, max_bytes=100)


# What one address may do


def test_an_address_is_let_in_again_as_time_passes_and_others_are_not_held_back() -> None:
    throttle = Throttle(Limits(joins_per_minute=3))
    for _ in range(3):
        throttle.join("a", 0.0)
    with pytest.raises(Refused, match="wait a minute"):
        throttle.join("a", 19.9)
    throttle.join("b", 19.9)
    throttle.join("a", 20.1)
    with pytest.raises(Refused, match="wait a minute"):
        throttle.join("a", 20.2)


def test_messages_come_in_bursts_of_ten_seconds() -> None:
    throttle = Throttle(Limits(messages_per_second=2))
    for _ in range(20):
        throttle.message("a", 0.0)
    with pytest.raises(Refused, match="send fewer"):
        throttle.message("a", 0.0)
    throttle.message("a", 0.6)


def test_connections_are_counted_until_they_end() -> None:
    throttle = Throttle(Limits(connections_per_address=1))
    throttle.connect("a", 0.0)
    with pytest.raises(Refused, match="too many connections"):
        throttle.connect("a", 1.0)
    throttle.disconnect("a")
    throttle.connect("a", 2.0)


def test_the_table_of_addresses_is_bounded_and_keeps_those_with_connections() -> None:
    throttle = Throttle(Limits(connections_per_address=1))
    throttle.connect("open", 0.0)
    for index in range(11_000):
        throttle.join(str(index), 1.0)
    assert len(throttle) == 10_000
    with pytest.raises(Refused, match="too many connections"):
        throttle.connect("open", 2.0)


# Tokens


def test_a_token_opens_its_room_until_it_expires() -> None:
    token = tokens.mint(SECRET, "r", 1000.5, 60)
    assert re.fullmatch(r"v1\.1060\.[\w-]{43}", token)
    tokens.check(SECRET, "r", token, 1000.0)
    tokens.check(SECRET, "r", token, 1059.9)
    with pytest.raises(Refused, match="has expired") as refused:
        tokens.check(SECRET, "r", token, 1060.0)
    assert refused.value.code == "expired-token"


def test_a_token_is_the_hmac_that_readme_describes() -> None:
    # Made with: printf 'signaling room token v1\nr\n1060' |
    #   openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef -binary | base64 | tr +/ -_
    expected = "v1.1060.kP0S9G3-CVHrJ2j10uWBtv39Mt6iaVyKkdxITujyLcA"
    assert tokens.mint(SECRET, "r", 1000, 60) == expected


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (None, "token-required"),
        ("", "bad-token"),
        (5, "bad-token"),
        (["v1"], "bad-token"),
        ("x" * 60_000, "bad-token"),
        ("v1.1060." + "A" * 43, "bad-token"),
        (tokens.mint(SECRET, "other", 1000, 60), "bad-token"),
        (tokens.mint(SECRET[::-1], "r", 1000, 60), "bad-token"),
        (tokens.mint(SECRET, "r", 1000, 60) + "\n", "bad-token"),
        (tokens.mint(SECRET, "r", 1000, 60).replace("1060", "1061"), "bad-token"),
        (tokens.mint(SECRET, "r", 1000, 60).replace("1060", "١٠٦٠"), "bad-token"),
        (tokens.mint(SECRET, "r", 900_000, 60), "bad-token"),  # lives far too long
    ],
    ids=range(12),
)
def test_a_wrong_token_is_refused(token: object, code: str) -> None:
    with pytest.raises(Refused) as refused:
        tokens.check(SECRET, "r", token, 1000.0)
    assert refused.value.code == code


@pytest.mark.parametrize("life_s", [0, -1, 24 * 3600 + 1])
def test_a_token_lives_for_a_day_at_most(life_s: int) -> None:
    with pytest.raises(ValueError, match="a token lives"):
        tokens.mint(SECRET, "r", 1000, life_s)


# Addresses and origins


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("198.51.100.7", [], "198.51.100.7"),
        ("198.51.100.7", ["203.0.113.1"], "198.51.100.7"),  # no proxy of ours: a mere claim
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.1"], "203.0.113.1"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.1"], "203.0.113.1"),  # the client wrote the first
        ("10.0.0.1", ["1.2.3.4", "203.0.113.1, 10.9.9.9"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1:5000"], "203.0.113.1"),
        ("10.0.0.1", ["203.0.113.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", [","], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["::ffff:203.0.113.1"], "203.0.113.1"),
        ("fd00::1", ["[2001:db8:1:2:3:4:5:6]:5000"], "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", [], "2001:db8:1:2::"),
        (None, [], ""),
    ],
)
def test_an_address_is_what_trusted_proxies_say(
    remote: str | None, forwarded: list[str], address: str
) -> None:
    assert client_address(remote, forwarded, PROXIES) == address


@given(st.lists(st.text(), max_size=5))
def test_no_header_breaks_the_search_for_an_address(forwarded: list[str]) -> None:
    assert client_address("10.0.0.1", forwarded, PROXIES)


@pytest.mark.parametrize(
    ("origin", "host", "origins", "allowed"),
    [
        (None, "call.example.org", [], True),  # no browser
        ("https://call.example.org", "call.example.org", [], True),
        ("https://evil.example", "call.example.org", [], False),
        ("http://localhost:8000", "localhost:8765", [], False),
        ("null", "call.example.org", [], False),
        ("https://[::1", "[::1", [], False),
        ("https://call.example.org", None, [], False),
        ("https://call.example.org", "inner:8765", ["https://call.example.org/"], True),
        ("https://evil.example", "evil.example", ["https://call.example.org"], False),
        ("https://call.example.org.evil.example", "x", ["https://call.example.org"], False),
        ("https://evil.example", "call.example.org", ["*"], True),
    ],
)
def test_pages_of_other_origins_are_kept_out(
    origin: str | None, host: str | None, origins: list[str], allowed: bool
) -> None:
    assert origin_allowed(origin, host, origins) is allowed


# Messages


def test_a_relayed_message_is_written_anew() -> None:
    limits = Limits()
    twice = '{"type":"peer-left","type":"message", "data":{"é":[1, null, 2.5]}, "more":1}'
    assert parse(twice, limits) == Relay('{"type":"message","data":{"é":[1,null,2.5]}}')
    assert parse('{"type":"bye"}', limits) == Relay('{"type":"bye"}', last=True)
    assert isinstance(parse('{"type":"ping"}', limits), Ping)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", '"message"', "null", "{}", '{"type":"message"}', '{"type":["bye"]}'),
        '{"type":"message","data":NaN}',
        '{"type":"message","data":1e999}',
        '{"type":"message","data":"\\ud800"}',
        '{"type":"message","data":' + "9" * 5000 + "}",
        '{"type":"message","data":' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"type":"message","data":[' + "1e15," * 9_000 + "0]}",
    ],
    ids=range(14),
)
def test_a_message_that_breaks_the_protocol_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text, Limits())
    assert refused.value.code == "bad-message"


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_whatever_is_json_is_relayed_as_it_is_or_refused(data: object) -> None:
    text = json.dumps({"type": "message", "data": data})
    try:
        relayed = parse(text, Limits())
    except Refused:
        assert re.search(r"NaN|Infinity|\\ud[89a-f]", text)
    else:
        assert isinstance(relayed, Relay)
        assert json.loads(relayed.text)["data"] == data


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "r\n", "é", None, 5, ["r"], {"r": 1}])
def test_a_bad_room_name_is_refused(name: object) -> None:
    with pytest.raises(Refused, match="a room's name is"):
        parse_join(json.dumps({"type": "join", "room": name}))


def test_a_join_asks_for_what_it_may() -> None:
    with pytest.raises(Refused, match='"create" must be'):
        parse_join('{"type": "join", "room": "r", "create": 0}')
    assert parse_join('{"type": "join", "room": "r"}').create


def test_metrics_have_prometheus_form() -> None:
    metrics = Metrics()
    metrics.counts["joins_total"] += 2
    metrics.refused["room-full"] += 3
    text = metrics.render({"rooms": 1, "peers": 2, "connections": 4, "draining": 0})
    for line in text.splitlines():
        assert re.fullmatch(
            r'# (HELP|TYPE) signaling_\w+ .+|signaling_\w+(\{code="[a-z-]+"\})? \d+', line
        )
    assert "# TYPE signaling_joins_total counter\nsignaling_joins_total 2\n" in text
    assert "# TYPE signaling_rooms gauge\nsignaling_rooms 1\n" in text
    assert 'signaling_refused_total{code="room-full"} 3\n' in text
