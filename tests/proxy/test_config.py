"""Settings come from four places, in order, and every problem is told at once."""

from pathlib import Path

import pytest

from proxy.config import Config, ConfigError, ModelConfig, effective, load

EXAMPLE = """
region = "eu-central-1"

[server]
port = 9443
drain_seconds = 5
allowed_origins = ["https://app.example.com"]

[upstream]
retries = 1
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return str(path)


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), environ=environ)
    return caught.value.problems


def test_without_a_file_the_defaults_are_in_effect() -> None:
    config = load(environ={})
    assert config == Config()
    assert config.server.port == 8000
    assert config.server.tls


def test_the_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    config = load(write(tmp_path, EXAMPLE), environ={})
    assert config.region == "eu-central-1"
    assert config.server.port == 9443
    assert config.server.drain_seconds == 5.0
    assert config.server.allowed_origins == ("https://app.example.com",)
    assert config.server.max_body_bytes == Config().server.max_body_bytes
    assert config.upstream.retries == 1


def test_the_environment_names_the_file_and_comes_after_it(tmp_path: Path) -> None:
    environ = {"SAGEMAKER_PROXY_CONFIG": write(tmp_path, EXAMPLE), "REGION_NAME": "us-west-2"}
    config = load(environ=environ)
    assert config.region == "us-west-2"
    assert config.server.port == 9443


def test_the_command_line_comes_last(tmp_path: Path) -> None:
    overrides = {"port": 1234, "host": None}
    config = load(write(tmp_path, EXAMPLE), environ={}, overrides=overrides)
    assert config.server.port == 1234
    assert config.server.host == ""


def test_every_problem_is_told_at_once_by_its_full_name(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """
        regoin = "us-east-1"
        upstream = 3
        [server]
        prot = 8000
        port = 70000
        tls = "no"
        max_body_bytes = 1.5
        request_timeout_seconds = 0
        allowed_origins = ["https://a.example/path"]
        certificate = "/nowhere/certificate.pem"
        [catalog]
        refresh_seconds = "often"
        """,
    )
    assert told == [
        "regoin: is no setting; did you mean region?",
        "upstream: must be a table: [upstream]",
        "server.prot: is no setting; did you mean server.port?",
        "server.port: must be between 0 and 65535 (0: any free port), not 70000",
        "server.tls: must be true or false, not 'no'",
        "server.max_body_bytes: must be a whole number, not 1.5",
        "server.request_timeout_seconds: must be above 0, not 0",
        "server.allowed_origins: 'https://a.example/path' is no origin such as "
        '"https://app.example.com", nor "*", not [\'https://a.example/path\']',
        "catalog.refresh_seconds: must be a number, not 'often'",
        "server.certificate and server.private_key: set both, or neither",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = ", "is not TOML"),
        ("[server]\nport = true", "must be a whole number"),
        ('[server]\nallowed_origins = "*"', "must be a list"),
        ("[server]\nallowed_origins = [1]", "must be a list"),
        ('[server]\ntls = false\ncertificate = "c"\nprivate_key = "k"', "server.tls: is false"),
        ('[server]\ncertificate = "c"\nprivate_key = "k"', "server.private_key: k cannot be read"),
        ('api_key = "x"', "api_key: is no setting"),
        ("[async_inference]\ninput_location = 's3://bucket/in'", "s3://bucket/inputs/"),
        ("[async_inference]\ninput_location = 's3://'", "must be a folder in S3"),
        ("[async_inference]\ninput_location = '/tmp/'", "must be a folder in S3"),
        ("[async_inference]\nmax_inline_bytes = -1", "must be at least 0"),
        ("[traces]\nsample_ratio = 1.5", "must be between 0 and 1"),
        ("[traces]\nsample_ratio = nan", "must be between 0 and 1"),
        ("models = 1", "models: must be a table: [models]"),
        ("[models]\nllama = 1", "models.llama: must be a table: [models.llama]"),
        ('[models."my llama"]\nendpoint = "e"', "models.my llama: must be letters and digits"),
        ("[models.llama]\nserved_model = 'x'", "models.llama.endpoint: is needed"),
        ("[models.llama]\nendpoint = 'a_b'", "models.llama.endpoint: must be the name of an"),
        ("[models.llama]\nendpont = 'a'", "did you mean models.llama.endpoint?"),
        ("[models.llama]\nendpoint = 'a'\nfallbacks = 'b'", "must be a list, each item a string"),
        ("[models.llama]\nendpoint = 'a'\nfallbacks = ['llama']", "other models, endpoints"),
        ("[models.llama]\nendpoint = 'a'\nfallbacks = ['a/b/c']", "not 'a/b/c'"),
    ],
)
def test_a_problem_names_what_is_wrong(tmp_path: Path, text: str, problem: str) -> None:
    assert any(problem in told for told in problems(tmp_path, text))


def test_an_alias_is_a_table_of_its_own(tmp_path: Path) -> None:
    text = """
    [models."meta/llama"]
    endpoint = "blue"
    fallbacks = ["green", "shared/small"]
    [models.green]
    endpoint = "green-2"
    """
    config = load(write(tmp_path, text), environ={})
    assert config.models == {
        "meta/llama": ModelConfig(endpoint="blue", fallbacks=("green", "shared/small")),
        "green": ModelConfig(endpoint="green-2"),
    }
    assert effective(config)["models"]["green"]["endpoint"] == "green-2"


@pytest.mark.parametrize("folder", ["s3://bucket/", "s3://bucket/a/b/", ""])
def test_input_is_put_into_a_folder_or_nowhere(tmp_path: Path, folder: str) -> None:
    text = f'[async_inference]\ninput_location = "{folder}"\nmax_inline_bytes = 0\n'
    config = load(write(tmp_path, text), environ={})
    assert config.async_inference.input_location == folder
    assert config.async_inference.max_inline_bytes == 0


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(str(tmp_path / "absent.toml"), environ={})


def test_the_key_is_masked_wherever_settings_are_shown() -> None:
    key = "3c6f2a52-1c0f-4d6e-9a53-0e6f4a8f2b11"
    config = load(environ={"API_KEY": f" {key}\n"})
    assert config.api_key == key
    assert key not in repr(config)
    assert key not in repr(effective(config))
    assert effective(config)["server"]["port"] == 8000


@pytest.mark.parametrize(
    "url", ["valkey://a", "valkeys://user:word@a.b:6380/3", "redis://[::1]:6379/", "rediss://a"]
)
def test_limits_are_counted_here_or_on_a_server(tmp_path: Path, url: str) -> None:
    config = load(write(tmp_path, f'[limits]\nbackend = "{url}"'), environ={})
    assert config.limits.backend == url
    assert "word" not in str(effective(config))


@pytest.mark.parametrize(
    "url", ["", "valkey", "valkey://", "http://a", "valkey://a/x", "valkey://a:99999", "a:6379"]
)
def test_a_server_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    (problem,) = problems(tmp_path, f'[limits]\nbackend = "{url}"')
    assert problem.startswith('limits.backend: must be "local" or a URL')


@pytest.mark.parametrize(
    "url", ["http://localhost:4318", "https://a.b/otlp/", "https://user:word@a:4318", ""]
)
def test_traces_are_sent_to_a_collector_or_nowhere(tmp_path: Path, url: str) -> None:
    config = load(write(tmp_path, f'[traces]\notlp_endpoint = "{url}"'), environ={})
    assert config.traces.otlp_endpoint == url
    assert "word" not in str(effective(config))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4318",
        "grpc://a:4317",
        "http://",
        "http://a:99999",
        "http://a/v1/traces",
        "http://a?b",
    ],
)
def test_a_collector_that_is_none_is_refused(tmp_path: Path, url: str) -> None:
    (problem,) = problems(tmp_path, f'[traces]\notlp_endpoint = "{url}"')
    assert problem.startswith("traces.otlp_endpoint: must be a URL such as")


def test_the_key_of_a_seal_is_not_shown(tmp_path: Path) -> None:
    key = "5ea1" * 16
    config = load(write(tmp_path, f'[async_inference]\nseal_key = "{key}"'), environ={})
    assert config.async_inference.seal_key == key
    assert key not in repr(effective(config))


@pytest.mark.parametrize(
    ("setting", "shown"),
    [
        ('[limits]\nbackend = "valkey://:secret@a/x"', "not 'valkey://********@a/x'"),
        ('[limits]\nbackend = "valkey://:a/secret@a/x"', "not 'valkey://********@a/x'"),
        ('[traces]\notlp_endpoint = "http://a?key=secret"', "not 'http://a?********'"),
        ('[async_inference]\nseal_key = "secret"', "not ********"),
    ],
)
def test_a_password_is_not_repeated(tmp_path: Path, setting: str, shown: str) -> None:
    (problem,) = problems(tmp_path, setting)
    assert problem.endswith(shown)
