"""Fields are read strictly, and what a dialect can't honour is refused by name."""

import json
from typing import Any

import pytest

from proxy.dialects.fields import Fields
from proxy.errors import InvalidRequest


def fields(**values: Any) -> Fields:
    return Fields(json.dumps(values).encode(), "tgi")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("logprobs", 0),  # the logarithm of the chosen token alone
        ("response_format", {"type": "json_object"}),
        ("echo", True),
        ("logit_bias", {"1": 2}),
        ("presence_penalty", 0.5),
        ("something_new", 1),
    ],
)
def test_a_field_that_asks_for_more_is_refused(name: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=f"'tgi'.*{name!r}") as caught:
        fields(**{name: value}).finish()
    assert caught.value.param == name


def test_fields_that_ask_for_nothing_pass() -> None:
    fields(
        model="m",
        user="u",
        n=1,
        tools=[],
        logprobs=False,
        top_logprobs=0,
        response_format={"type": "text"},
        presence_penalty=0.0,
        something_new=None,
        metadata={"a": "b"},
    ).finish()


def test_what_has_been_taken_is_not_refused() -> None:
    found = fields(n=2)
    assert found.take("n") == 2
    found.finish()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"[]", None),
        (b"{", None),
        (b'{"a": ' + b"[" * 100_000, None),
        (b'{"a": 1, "b": 2, "a": 1}', "a"),
    ],
)
def test_a_body_that_is_no_object_or_has_a_field_twice_is_refused(
    body: bytes, param: str | None
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Fields(body, "tgi")
    assert caught.value.param == param


def test_a_number_that_is_out_of_all_range_is_named() -> None:
    with pytest.raises(InvalidRequest, match="'seed' cannot be read") as caught:
        Fields(b'{"seed": 1e999}', "tgi").take_integer("seed", 0)
    assert caught.value.param == "seed"


@pytest.mark.parametrize("value", [0, -1, 1.5, "1", True, [1]])
def test_whole_numbers_are_checked(value: object) -> None:
    with pytest.raises(InvalidRequest, match="whole number") as caught:
        fields(max_tokens=value).take_integer("max_tokens", 1)
    assert caught.value.param == "max_tokens"


def test_whole_numbers_may_be_written_with_a_point() -> None:
    assert fields(max_tokens=3.0).take_integer("max_tokens", 1) == 3


@pytest.mark.parametrize("value", [-0.1, 2.1, "1", False])
def test_numbers_are_checked(value: object) -> None:
    with pytest.raises(InvalidRequest, match="from 0 to 2"):
        fields(temperature=value).take_number("temperature", 0, 2)


@pytest.mark.parametrize(
    ("value", "stops"),
    [(None, ()), ("a", ("a",)), (["a", "b"], ("a", "b")), ([], ())],
)
def test_stops_are_read(value: object, stops: tuple[str, ...]) -> None:
    assert fields(stop=value).take_stops() == stops


@pytest.mark.parametrize("value", ["", [""], [1], 1, ["a"] * 5, ["a" * 1001], {"a": 1}])
def test_stops_are_checked(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        fields(stop=value).take_stops()
    assert caught.value.param == "stop"


@pytest.mark.parametrize(
    ("options", "included"),
    [(None, False), ({}, False), ({"include_usage": True}, True), ({"include_usage": 1}, False)],
)
def test_the_usage_is_included_on_demand(options: object, included: bool) -> None:
    assert fields(stream_options=options).take_include_usage() is included


def test_texts_and_flags_are_checked() -> None:
    with pytest.raises(InvalidRequest, match="not empty"):
        fields(query="").take_text("query")
    with pytest.raises(InvalidRequest, match="true or false"):
        fields(stream="yes").take_flag("stream")
    with pytest.raises(InvalidRequest, match="must be an object"):
        fields(stream_options=7).take_include_usage()
