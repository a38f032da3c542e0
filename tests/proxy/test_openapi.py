"""The description as a document: it is read once, and holds what the file says and no more."""

import json
from pathlib import Path

import yaml

from proxy import __version__, openapi
from proxy.openapi import description, description_json

SOURCE = Path(openapi.__file__).with_suffix(".yaml")
TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"


def test_its_version_is_the_packages() -> None:
    assert description()["info"]["version"] == __version__


def test_what_the_file_only_repeats_is_left_out() -> None:
    assert not [key for key in description() if key.startswith("x-")]


def test_the_json_is_the_document() -> None:
    assert json.loads(description_json()) == description()


def test_it_is_read_once() -> None:
    assert description_json() is description_json()


def test_its_keys_are_texts_and_said_once() -> None:
    def check(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            assert {key.tag for key, _ in node.value} <= {TEXT, MERGE}, node.start_mark
            keys = [key.value for key, _ in node.value]
            assert len(keys) == len(set(keys)), node.start_mark
            for _, value in node.value:
                check(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                check(value)

    check(yaml.compose(SOURCE.read_text(), yaml.SafeLoader))
