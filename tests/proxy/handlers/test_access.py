"""A model that a key is not for is refused before anything can tell whether there is one."""

import pytest

from proxy.errors import ModelNotFound
from proxy.handlers.invocations import InvocationsHandler
from proxy.keys import Caller


@pytest.fixture
def handler() -> InvocationsHandler:
    """One for a key of some models, which has no way to look for any."""
    handler = InvocationsHandler.__new__(InvocationsHandler)
    handler.caller = Caller("bob", ("demo-e*",))
    return handler


@pytest.mark.parametrize("model", ["there", "not-there", "there/component"])
def test_the_refusal_needs_no_look_at_what_there_is(
    handler: InvocationsHandler, model: str
) -> None:
    assert not hasattr(handler, "services")
    with pytest.raises(ModelNotFound, match=model):
        handler.check_access(model)
    with pytest.raises(ModelNotFound, match=model):
        handler.check_native_access(model.partition("/")[0], model)
