"""The lab room: what `run.py lab` adds to JupyterLab so that sliders answer at once.

A slider's answer is a handful of small messages. By default the server's system holds a small packet back
until the one before is acknowledged, which can take 40 ms each time; tornado's `set_nodelay` ends that.
"""

from __future__ import annotations

from typing import Any

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection


class PromptConnection(ZMQChannelsWebsocketConnection):
    """The server's own connection between a browser and a kernel, which sends small messages at once.

    Source: the documentation of `tornado.websocket.WebSocketHandler.set_nodelay`.
    """

    def connect(self) -> Any:
        """Connect as ever, without the delay."""
        self.websocket_handler.set_nodelay(True)
        return super().connect()
