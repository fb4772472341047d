"""Training on several devices: the code in the README, on two virtual processors."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"

BOTH = """
import functools, json, sys
import tensorflow as tf

one = tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [one, one])
tf.distribute.MirroredStrategy = functools.partial(tf.distribute.MirroredStrategy, ["CPU:0", "CPU:1"])
from vae_utils import VAE, build_decoder, build_encoder, load_mnist, negative_elbo, pixel_log_odds, train
from vae_utils.backend import keras

(x_train, _), (x_validation, _) = (load_mnist(limit=1000)[0], load_mnist(limit=300)[1])
x_validation = x_validation[:299]  # an odd number: not as many on every device
logs = []
def train(*args, train=train):
    logs.append(train(*args, epochs=8, batch_size=50, live=False))

measured = {}
for name, code in [
    ("one", "vae = VAE(build_encoder(2), build_decoder(2, log_odds=pixel_log_odds(x_train))); "
            "train(vae, x_train, x_validation)"),
    ("two", sys.argv[1]),
]:
    keras.utils.set_random_seed(0)
    exec(code)
    measured[name] = {
        "devices": vae.distribute_strategy.num_replicas_in_sync,
        "train": logs[-1].train["loss"],
        "validation": logs[-1].validation["loss"],
        "held out": negative_elbo(vae, x_validation, draws=5)["loss"],
    }
    try:
        train(vae, x_train, x_validation[:1]) if name == "two" else None
    except ValueError as error:
        measured["sentence"] = str(error)
print(json.dumps(measured))
"""


@pytest.mark.slow
def test_two_devices_reach_the_loss_of_one():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "MirroredStrategy" in block]
    result = subprocess.run([sys.executable, "-c", BOTH, block], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    measured = json.loads(result.stdout.splitlines()[-1])
    one, two = measured["one"], measured["two"]
    assert (one["devices"], two["devices"]) == (1, 2)
    assert one["train"][0] > one["train"][-1] + 20
    assert two["held out"] == pytest.approx(one["held out"], abs=4)
    for printed in ("train", "validation"):  # a sum over the devices would be twice as large
        assert two[printed] == pytest.approx(one[printed], abs=8)
    assert two["validation"][-1] == pytest.approx(two["held out"], abs=2)
    assert "On 2 devices batch_size must be a multiple of 2" in measured["sentence"]
