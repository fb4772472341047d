"""JupyterHub's settings for the class server; tools/hub.py starts JupyterHub with them in the class's folder."""

import asyncio
import ctypes
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Integer

from tools import hub

FOLDER = Path.cwd()
ROOT_USER = os.geteuid() == 0
LIBC = ctypes.CDLL(None)  # loaded here, since little may be done between fork and exec


class ClassAuthenticator(Authenticator):
    """Lets in who has an account and its password, also one that was added while the hub runs."""

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        name = data["username"].strip().lower()
        right = await asyncio.to_thread(hub.is_right, FOLDER, name, data["password"])  # hashing takes a moment
        return name if right else None


class StudentSpawner(SimpleLocalProcessSpawner):
    """A server in the student's folder, whose processes each get at most `mem_limit` bytes of memory (on Linux)."""

    idle_seconds = Integer(45 * 60, config=True, help="after which a kernel ends, and then a server without kernels")

    def get_args(self) -> list[str]:
        return [
            *super().get_args(),
            f"--MappingKernelManager.cull_idle_timeout={self.idle_seconds}",
            f"--MappingKernelManager.cull_interval={min(self.idle_seconds, 300)}",
            "--MappingKernelManager.cull_connected=True",  # its page may be open; one that computes is not idle
            f"--ServerApp.shutdown_no_activity_timeout={self.idle_seconds}",
        ]

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        enter_home = super().make_preexec_fn(name)

        def preexec() -> None:
            enter_home()
            os.umask(0o077)
            if self.mem_limit:
                resource.setrlimit(resource.RLIMIT_DATA, (self.mem_limit, self.mem_limit))
            if ROOT_USER and sys.platform == "linux":
                respect_file_modes()

        return preexec


def respect_file_modes() -> None:
    """Take from what this process starts root's right to write read-only files."""
    drop_capability, dac_override = 24, 1  # PR_CAPBSET_DROP and CAP_DAC_OVERRIDE of the Linux headers
    LIBC.prctl(drop_capability, dac_override)


c = get_config()  # noqa: F821  JupyterHub defines it
c.JupyterHub.authenticator_class = ClassAuthenticator
c.Authenticator.allow_all = True  # whoever has a password
c.JupyterHub.log_level = "WARN"
c.JupyterHub.upgrade_db = True  # after an update of the course
c.ConfigurableHTTPProxy.command = [hub.find_proxy()]
c.ConfigurableHTTPProxy.log_level = "warn"

c.JupyterHub.spawner_class = StudentSpawner
c.StudentSpawner.home_dir_template = str(FOLDER / "students" / "{username}")
c.Spawner.pre_spawn_hook = lambda spawner: hub.lay_out_home(Path(spawner.home_dir))
c.Spawner.mem_limit = "6G"  # a training takes 1.3 GB (hub.json); threads of many cores count 8 MB each
c.Spawner.start_timeout = c.Spawner.http_timeout = 300  # a whole class starts at the same minute
c.Spawner.default_url = "/lab/tree/notebooks"
c.Spawner.disable_user_config = True
c.Spawner.cmd = [str(Path(sys.executable).with_name("jupyterhub-singleuser"))]
c.Spawner.args = [
    "--ServerApp.terminals_enabled=False",  # one would never be idle
    "--ServerApp.log_level=WARN",
    "--ServerApp.kernel_websocket_connection_class=tools.lab_server.PromptConnection",  # as in `run.py lab`
]
if ROOT_USER:
    c.Spawner.args += ["--allow-root"]
