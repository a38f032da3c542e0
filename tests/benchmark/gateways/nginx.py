"""nginx: the physical limit. It signs nothing, reads no body, and keeps no access log."""

import subprocess
from dataclasses import dataclass

from tests.benchmark.gateways.gateway import Running, bearer, sagemaker_request, served
from tests.benchmark.programs import Failed
from tests.benchmark.site import PLAIN, Site, free_port
from tests.testhost import machine

_CONFIG = """\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log error.log;
events {{ worker_connections 9000; }}
http {{
    access_log off;
    client_max_body_size 64m;
    client_body_temp_path body;
    proxy_temp_path proxied;
    fastcgi_temp_path unused;
    uwsgi_temp_path unused;
    scgi_temp_path unused;
    map $http_authorization $allowed {{
        default 0;
        "{authorization}" 1;
    }}
    upstream sagemaker {{
        server {upstream};
        keepalive 4096;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port}{ssl} backlog=4096;
        keepalive_requests 100000000;
{certificate}
        location / {{
            if ($allowed = 0) {{ return 401; }}
            proxy_pass http://sagemaker;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """One worker."""

    tls: bool = True
    streams: bool = True

    @property
    def name(self) -> str:
        return "nginx" if self.tls else "nginx-plain"

    @property
    def title(self) -> str:
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
        return f"nginx {told.strip().rpartition('/')[2]}" + ("" if self.tls else ", plain HTTP")

    def install(self) -> None:
        if problem := machine.provide("nginx", "nginx-light"):
            raise Failed(problem)

    def start(self, site: Site) -> Running:
        directory = site.run / self.name
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        tls = [
            f"ssl_certificate {site.certificate};",
            f"ssl_certificate_key {site.private_key};",
            "ssl_protocols TLSv1.3;",
        ]
        config = _CONFIG.format(
            user="user root;",
            authorization=bearer(site)["Authorization"],
            upstream=site.upstream_url.removeprefix("http://"),
            port=port,
            ssl=" ssl" if self.tls else "",
            certificate="\n".join(tls if self.tls else []),
        )
        path = directory / "nginx.conf"
        path.write_text(config)
        program = site.programs.start(
            self.name,
            ["nginx", "-p", str(directory), "-c", str(path)],
            cores=site.gateway_cores,
            log=directory / "output.log",
        )
        return served(self, site, Running(program, port), PLAIN)

    def request(self, site: Site, endpoint: str) -> bytes:
        return sagemaker_request(site, endpoint, bearer(site))
