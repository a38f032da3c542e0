#!/usr/bin/python3
"""Has the host that it is on configure itself, by the roles that it came with and by its secrets.

Run as root by the instance's first words, and with --if-changed by a timer: then it does something
only if a secret has changed. Beside its folder, host.json says where the secrets are. Amazon
Linux's own Python runs it, which is 3.9.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

RELEASE = Path(__file__).resolve().parent
HOST = RELEASE.parent / "host.json"
TAKEN = RELEASE.parent / "taken.json"
ANSIBLE = RELEASE / "ansible"
PYTHON = "python3.11"


def main() -> None:
    """Join, or take what has changed."""
    with Path("/run/sagemaker-proxy-fleet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host = json.loads(HOST.read_text())
        secrets = {
            name: get_secret(host, host[name]) for name in ("fleet_secret", "fleet_valkey_secret")
        }
        versions = {
            "release": RELEASE.name,
            **{name: secret["VersionId"] for name, secret in secrets.items()},
        }
        if (
            "--if-changed" in sys.argv
            and TAKEN.exists()
            and json.loads(TAKEN.read_text()) == versions
        ):
            return
        install_ansible()
        play(variables(host, *(secret["SecretString"] for secret in secrets.values())))
        TAKEN.write_text(json.dumps(versions))


def get_secret(host: dict, name: str) -> dict:
    """A secret's string and its version."""
    command = ["aws", "secretsmanager", "get-secret-value", "--secret-id", name]
    command += ["--region", host["fleet_region"], "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def variables(host: dict, secret: str, password: str) -> dict:
    """What the roles are played with: the secret's variables, and what is the stack's to say."""
    said = json.loads(secret)
    if not said.get("api_keys_list"):
        raise SystemExit("The secret has no api_keys_list, so nobody could call this host.")
    settings = said.get("proxy_settings", {})
    settings.setdefault("server", {}).setdefault("drain_seconds", host["fleet_drain_seconds"])
    if host["fleet_valkey"]:
        backend = "valkeys://:{}@{}".format(quote(password, safe=""), host["fleet_valkey"])
        settings.setdefault("limits", {}).setdefault("backend", backend)
    if host["fleet_async_bucket"]:
        location = "s3://{}/sagemaker-proxy/input/".format(host["fleet_async_bucket"])
        said.setdefault("proxy_async_input_location", location)
    if "fleet_seal_key" in said:
        asynchronous = settings.setdefault("async_inference", {})
        asynchronous.setdefault("seal_key", said.pop("fleet_seal_key"))
    # Without it each host makes its own, which does where the load balancer alone looks at it.
    if "certificates_provided_certificate_content" in said:
        said["certificates_mode"] = "provided"
    return {
        **said,
        "proxy_settings": settings,
        "proxy_port": host["proxy_port"],
        "proxy_region": said.get("proxy_region", host["fleet_region"]),
        "python_wheelhouse": str(RELEASE / "wheels"),
        "fleet_release": str(RELEASE),
        "ansible_become": False,  # it is root already
    }


def install_ansible() -> None:
    """Install what the roles are played by, unless that has been done."""
    whole = ANSIBLE / "installed"
    if whole.exists():
        return
    if not Path("/usr/bin", PYTHON).exists():
        subprocess.run(["dnf", "--quiet", "--assumeyes", "install", PYTHON], check=True)
    subprocess.run([f"/usr/bin/{PYTHON}", "-m", "venv", str(ANSIBLE)], check=True)
    lock = RELEASE / "project/roles/fleet/files/ansible-requirements.txt"
    install = ["install", "--quiet", "--no-index", "--require-hashes", "--only-binary=:all:"]
    install += [f"--find-links={RELEASE / 'wheels'}", f"--requirement={lock}"]
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    subprocess.run([str(ANSIBLE / "bin/python"), "-m", "pip", *install], env=quiet, check=True)
    whole.touch()


def play(said: dict) -> None:
    """Play join.yml here; what it is played with is in memory only, and for root alone."""
    project = RELEASE / "project"
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(project / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(RELEASE / "collections"),
        "ANSIBLE_LOCAL_TEMP": "/root/.ansible/tmp",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",  # which writes no module, with what is secret in it, to the disk
        "HOME": "/root",
        "LC_ALL": "C.UTF-8",
    }
    with tempfile.NamedTemporaryFile("w", dir="/run", suffix=".json") as file:
        json.dump(said, file)
        file.flush()
        command = [
            str(ANSIBLE / "bin/ansible-playbook"),
            "--connection=local",
            "--inventory=localhost,",
        ]
        command += [f"--extra-vars=@{file.name}", "playbooks/join.yml"]
        subprocess.run(command, cwd=project, env=environment, check=True)


if __name__ == "__main__":
    main()
