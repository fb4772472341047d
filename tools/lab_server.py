"""What `run.py lab` adds to JupyterLab: a slider's small messages are sent at once.

By default the operating system of the server keeps a small packet back until the one before is acknowledged, which can
take 40 ms each time; tornado's `set_nodelay` ends that.
"""

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """The server's own connection between a browser and a kernel, without the delay of small messages.

    Source: the documentation of `tornado.websocket.WebSocketHandler.set_nodelay`.
    """

    def connect(self) -> Any:
        """Connect as the server does, after switching the delay off."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()
