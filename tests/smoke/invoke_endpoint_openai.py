"""Calls an endpoint through the proxy with OpenAI's client: invoke_endpoint_openai.py HOST PORT."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import openai
from openai.types.chat import ChatCompletionMessageParam

if TYPE_CHECKING:
    from tests.smoke import proxy_client
else:
    import proxy_client  # beside this script, whose folder is where Python looks first

_CHAT: list[ChatCompletionMessageParam] = [{"role": "user", "content": proxy_client.QUESTION}]


def main() -> None:
    """Choose an endpoint, call it, and print what it answers."""
    parser = proxy_client.make_parser(
        "Calls an endpoint through the proxy's route /chat/completions with OpenAI's official "
        "client, and prints its answer."
    )
    parser.add_argument("--stream", action="store_true", help="print the answer as it comes")
    options = parser.parse_args()
    server = proxy_client.find_server(options)
    with openai.OpenAI(
        base_url=server.url,
        api_key=server.key,
        timeout=server.seconds,
        max_retries=0,
        # The environment's proxies and CAs are not for this server.
        http_client=openai.DefaultHttpxClient(verify=server.tls, trust_env=False),
    ) as client:
        try:
            model = options.model or proxy_client.first_in_service(
                client.get("/list_endpoints", cast_to=object)
            )
            print(f"endpoint: {model}", flush=True)
            if options.stream:
                _print_stream(client, model)
            else:
                _print_whole(client, model)
        except openai.APIStatusError as exc:
            answer = {"error": exc.body} if exc.body else exc.response.text
            raise proxy_client.refusal(exc.status_code, answer) from exc
        except openai.APITimeoutError as exc:
            raise server.no_answer() from exc
        except openai.APIConnectionError as exc:
            reason = exc.__cause__ or exc
            raise proxy_client.Failed(
                f"the connection to {server.address} broke: {reason}"
            ) from exc
        except openai.APIError as exc:
            raise proxy_client.Failed(f"the answer broke off: {exc.message}") from exc


def _print_whole(client: openai.OpenAI, model: str) -> None:
    completion = client.chat.completions.create(model=model, messages=_CHAT)
    # What is no chat completion gets this far too: the client does not check answers.
    if not getattr(completion, "choices", None):
        raise proxy_client.Failed(f"{model} answers with no chat completion; try --model")
    print(completion.choices[0].message.content)


def _print_stream(client: openai.OpenAI, model: str) -> None:
    began = False
    with client.chat.completions.create(model=model, messages=_CHAT, stream=True) as stream:
        try:
            for chunk in stream:
                for choice in chunk.choices or ():
                    print(choice.delta.content or "", end="", flush=True)
                    began = True
        except ValueError as exc:
            raise proxy_client.Failed(f"{model} streams something other than a chat") from exc
        finally:
            if began:
                print(flush=True)
    if not began:
        raise proxy_client.Failed(f"{model} streams no chat; try --model")


if __name__ == "__main__":
    sys.exit(proxy_client.run(main))
