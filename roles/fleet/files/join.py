#!/usr/bin/python3
"""Has the host that it is on configure itself, by the roles that it came with and by its secrets.

Run as root by the instance's first words, and with --if-changed by a timer: then it does something
only if a secret has changed, or the group is about to end the instance. Beside its folder,
host.json says where the secrets are. Amazon Linux's own Python runs it, which is 3.9.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

RELEASE = Path(__file__).resolve().parent
HOST = RELEASE.parent / "host.json"
TAKEN = RELEASE.parent / "taken.json"
FAILED = RELEASE.parent / "failed.json"
RETRY_SECONDS = 900
LEAVING = Path("/run/sagemaker-proxy/leaving")  # by which the service tells clients and balancer
ANSIBLE = RELEASE / "ansible"
PYTHON = "python3.11"


def main() -> None:
    """Join, or take what has changed."""
    with Path("/run/sagemaker-proxy-fleet.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        host = json.loads(HOST.read_text())
        serves = "--if-changed" in sys.argv
        if serves and lifecycle_state() == "Terminated":
            LEAVING.touch()  # clients that keep their connections would stay to the end
        secrets = {
            name: get_secret(host, host[name]) for name in ("fleet_secret", "fleet_valkey_secret")
        }
        said = [secret["SecretString"] for secret in secrets.values()]
        now = {
            "release": RELEASE.name,
            "start": started_with(json.loads(said[0])),
            **{name: secret["VersionId"] for name, secret in secrets.items()},
        }
        if serves and not is_to_be_taken(now):
            return
        install_ansible()
        try:
            play(variables(host, *said))
        except subprocess.CalledProcessError:
            FAILED.write_text(json.dumps(now))
            raise
        TAKEN.write_text(json.dumps(now))
        tell(host, now["fleet_secret"])


def is_to_be_taken(now: dict) -> bool:
    """Whether it is new, and can be taken while others are served by what there is."""
    taken = read(TAKEN)
    if now == taken:
        return False
    if taken and now["start"] != taken["start"]:
        # All hosts would restart at once, each for as long as its longest stream.
        print(
            "The service would have to be restarted: that is for the host that replaces this one."
        )
        return False
    # Each failure reloads what there was.
    return read(FAILED) != now or time.time() - FAILED.stat().st_mtime > RETRY_SECONDS


def read(file: Path) -> dict:
    """What has been noted; empty if nothing has."""
    return json.loads(file.read_text()) if file.exists() else {}


def started_with(said: dict) -> str:
    """A digest of what the service takes at its start alone."""
    server = (said.get("proxy_settings") or {}).get("server") or {}
    start = [said.get("proxy_environment") or {}, server.get("drain_seconds")]
    return hashlib.sha256(json.dumps(start, sort_keys=True).encode()).hexdigest()


def lifecycle_state() -> str:
    """Where its group is leading it; empty if nobody says."""
    life = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    path = "/latest/meta-data/autoscaling/target-lifecycle-state"
    try:
        token = ask_metadata("PUT", "/latest/api/token", life)
        return ask_metadata("GET", path, {"X-aws-ec2-metadata-token": token})
    except OSError:
        return ""


def ask_metadata(method: str, path: str, headers: dict) -> str:
    """What the instance's metadata service answers; empty unless that is 200."""
    connection = HTTPConnection("169.254.169.254", timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return body if answer.status == 200 else ""


def get_secret(host: dict, name: str) -> dict:
    """A secret's string and its version."""
    command = ["aws", "secretsmanager", "get-secret-value", "--secret-id", name]
    command += ["--region", host["fleet_region"], "--output", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def tell(host: dict, version: str) -> None:
    """Tag the instance with what it has taken, for those who wait; it serves without that, too."""
    command = ["aws", "ec2", "create-tags", "--region", host["fleet_region"]]
    command += ["--resources", host["fleet_instance"]]
    command += ["--tags", f"Key=HostSecretVersion,Value={version}"]
    if subprocess.run(command, check=False).returncode:
        print("Nobody has been told that this host has taken its secret.", file=sys.stderr)


def variables(host: dict, secret: str, password: str) -> dict:
    """What the roles are played with: the secret's variables, and what is the stack's to say."""
    said = json.loads(secret)
    if not said.get("api_keys_list"):
        raise SystemExit("The secret has no api_keys_list, so nobody could call this host.")
    settings = said.get("proxy_settings") or {}
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
