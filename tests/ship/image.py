# SPDX-License-Identifier: Apache-2.0
"""The container image, used as its users do: `python -m tests.ship.image NAME`, which `.ci/image` calls after a build.

It runs without a writable root and without capabilities, is found healthy by Docker itself, fills an order of a ccxt
client through the mapped port, ends with 0 when it is stopped, and what it leaves in its volume passes
`bidhall verify`. The container and its volume are removed whatever happens.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import ccxt

from bidhall.demo.world import PEOPLE, key_of, secret_of
from tests.clients.pointing import ccxt_options
from tests.ship.first_minute import trade

HARDENED: Final = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
HEALTHY_S_MAX: Final = 60.0
STOP_S_MAX: Final = 20
USER: Final = "10001"


def docker(*arguments: str, check: bool = True) -> str:
    """What the command said; a failure shows all of it."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"image: docker {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


@contextmanager
def container(image: str) -> Iterator[str]:
    """The image with its own command, the demo, on a free port of this machine; its log is shown after a failure."""
    name = docker("run", "-d", *HARDENED, "--health-interval", "1s", "-p", "127.0.0.1::8080", image)
    try:
        yield name
    except BaseException:
        logs = subprocess.run(["docker", "logs", "--tail", "40", name], capture_output=True, text=True, check=False)
        print(logs.stdout + logs.stderr, file=sys.stderr)
        raise
    finally:
        docker("rm", "-f", "-v", name, check=False)


def wait_until_healthy(name: str) -> None:
    """As Docker sees it, by the image's own health check."""
    deadline = time.monotonic() + HEALTHY_S_MAX
    while (health := docker("inspect", "--format", "{{.State.Health.Status}}", name)) != "healthy":
        if time.monotonic() > deadline:
            sys.exit(f"image: {health} after {HEALTHY_S_MAX:.0f} s")
        time.sleep(0.2)


def client_of(name: str) -> Any:
    """A ccxt object on the mapped port, with the first demo account's key."""
    address = docker("port", name, "8080/tcp").splitlines()[0]
    person = PEOPLE[0]
    return ccxt.binance({**ccxt_options(address, person), "apiKey": key_of(person), "secret": secret_of(person)})


def check_confinement(name: str) -> None:
    """It is nobody in particular, and writes nowhere but in its volume."""
    assert docker("exec", name, "id", "-u") == USER
    touched = subprocess.run(
        ["docker", "exec", "--user", "0", name, "touch", "/opt/bidhall/here"], capture_output=True, check=False
    )
    assert touched.returncode != 0, "the root of the container is writable"


def stop(name: str) -> float:
    """SIGTERM, as `docker stop` sends it; how long it took."""
    begun = time.monotonic()
    docker("stop", "-t", str(STOP_S_MAX), name)
    seconds = time.monotonic() - begun
    code = docker("inspect", "--format", "{{.State.ExitCode}}", name)
    assert code == "0", f"the exit code is {code} after {seconds:.1f} s"
    return seconds


def main(image: str) -> None:
    """All of it, in the order of a container's life."""
    begun = time.monotonic()
    with container(image) as name:
        wait_until_healthy(name)
        healthy_s = time.monotonic() - begun
        exchange = client_of(name)
        exchange.load_markets()
        filled = trade(exchange)
        exchange.session.close()
        check_confinement(name)
        stopped_s = stop(name)
        print(docker("run", "--rm", *HARDENED, "--volumes-from", name, image, "verify", "/data"))
    print(
        f"image: healthy after {healthy_s:.1f} s, 0.01 BTC bought at {filled['average']}, "
        f"exit 0 {stopped_s:.1f} s after docker stop, and its folder verified"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
