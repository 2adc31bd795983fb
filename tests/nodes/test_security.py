"""Security that is asked for and cannot be had ends a process; without a robot nothing leaves the machine."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepa_ros.errors import JepaRosError
from jepa_ros_nodes import security
from jepa_ros_nodes.fast_dds import (
    LOOPBACK,
    LOOPBACK_UDP,
    PROFILES,
    RANGE,
    SHARED_MEMORY,
    TRANSPORTS,
    local_environment,
    without_shared_memory,
)

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = ROOT / "ros_ws" / "standins"
KEYS = ("ROS_SECURITY_", "FASTRTPS_", "FASTDDS_", RANGE, "RMW_IMPLEMENTATION")


def clean(**more: str) -> dict[str, str]:
    """This process's environment without what says anything of security or discovery."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(KEYS)}
    path = os.pathsep.join(filter(None, [str(STAND_INS), kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, "ROS_DOMAIN_ID": str(1 + os.getpid() % 99), **more}


@pytest.fixture
def keystore(tmp_path: Path) -> Path:
    """A keystore whose enclave /dog/eyes has every file, though no key."""
    folder = tmp_path / "keys" / "enclaves" / "dog" / "eyes"
    folder.mkdir(parents=True)
    for name in security.FILES:
        (folder / name).write_text("no key\n")
    return tmp_path / "keys"


def asked(keystore: Path, **more: str) -> dict[str, str]:
    return {
        "ROS_SECURITY_ENABLE": "true",
        "ROS_SECURITY_STRATEGY": "Enforce",
        "ROS_SECURITY_KEYSTORE": str(keystore),
        **more,
    }


# What is looked at before a process joins the graph.


@pytest.mark.parametrize("environment", [{}, {"ROS_SECURITY_ENABLE": ""}, {"ROS_SECURITY_ENABLE": "false"}])
def test_nothing_is_looked_at_where_no_security_is_asked_for(environment):
    security.check({**environment, "ROS_SECURITY_KEYSTORE": "/nowhere"}, [])


def test_an_enclave_that_has_its_keys(keystore):
    security.check(asked(keystore), ["node", "--ros-args", "--enclave", "/dog/eyes"])
    security.check(asked(keystore), ["node", "--ros-args", "-e", "/dog/eyes"])
    security.check(asked(keystore, ROS_SECURITY_ENCLAVE_OVERRIDE="/dog/eyes"), ["--enclave", "/dog/legs"])


@given(st.text(min_size=1).filter(lambda word: word not in ("true", "false")))
def test_only_true_is_true(word):
    """rcl takes any other word for no."""
    with pytest.raises(JepaRosError, match="only true turns security on"):
        security.check({"ROS_SECURITY_ENABLE": word}, [])


@pytest.mark.parametrize("strategy", [None, "", "Permissive", "enforce", "ENFORCE"])
def test_only_enforce_enforces(keystore, strategy):
    environment = {name: value for name, value in asked(keystore).items() if name != "ROS_SECURITY_STRATEGY"}
    environment |= {} if strategy is None else {"ROS_SECURITY_STRATEGY": strategy}
    with pytest.raises(JepaRosError, match="a process without keys would start without security; set it to Enforce"):
        security.check(environment, ["--enclave", "/dog/eyes"])


def test_no_keystore(tmp_path):
    with pytest.raises(JepaRosError, match=r"ROS_SECURITY_KEYSTORE is '.*none': no such folder"):
        security.check(asked(tmp_path / "none"), [])
    with pytest.raises(JepaRosError, match="ROS_SECURITY_KEYSTORE is '': no such folder"):
        security.check({**asked(tmp_path), "ROS_SECURITY_KEYSTORE": ""}, [])


@pytest.mark.parametrize("name", security.FILES)
def test_an_enclave_that_lacks_a_file(keystore, name):
    (keystore / "enclaves" / "dog" / "eyes" / name).unlink()
    with pytest.raises(JepaRosError, match=rf"enclave /dog/eyes: .* lacks {re.escape(name)}; make it with"):
        security.check(asked(keystore), ["--enclave", "/dog/eyes"])


def test_the_enclave_of_another_node(keystore):
    with pytest.raises(JepaRosError, match=r"enclave /dog/legs: .*lacks identity_ca\.cert\.pem"):
        security.check(asked(keystore), ["--enclave", "/dog/legs"])
    with pytest.raises(JepaRosError, match="enclave /: "):
        security.check(asked(keystore), [])


# Processes.


def run(*command: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=clean(**environment))
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.mark.dds
@pytest.mark.parametrize(
    "module",
    ["joint_command_node", "command_watchdog_node", "world_model_node", "sim_dog_node", "recorder_node", "player_node",
     "record", "ask stand", "reach west"],
)  # fmt: skip
def test_a_permissive_start_is_refused(module):
    name, *arguments = module.split()
    code, said = run(sys.executable, "-m", f"jepa_ros_nodes.{name}", *arguments, ROS_SECURITY_ENABLE="true")
    assert code == 1
    assert "ROS_SECURITY_STRATEGY is ''" in said
    assert "Traceback" not in said


@pytest.mark.dds
def test_a_middleware_without_security_is_refused(keystore, tmp_path):
    """PyPI's wheels have none. With a middleware that has, the files, which are no keys, are refused by it."""
    line = ["recorder_node", "--ros-args", "--enclave", "/dog/eyes", "-p", f"output:={tmp_path / 'bag'}"]
    code, said = run(sys.executable, "-m", f"jepa_ros_nodes.{line[0]}", *line[1:], **asked(keystore))
    assert code == 1
    assert "security was asked for and the middleware refused" in said
    assert "Traceback" not in said


def launch(*arguments: str, **environment: str) -> tuple[int, str]:
    return run(sys.executable, "-m", "jepa_launch.command", *arguments, **environment)


@pytest.mark.dds
@pytest.mark.parametrize("name", ["sim", "replay", "record"])
def test_a_launch_is_refused_before_anything_starts(keystore, name):
    file = [f"{ROOT}/launch/{name}.launch.py", *(["bag:=none"] if name == "replay" else [])]
    for arguments, environment, sentence in (
        ([f"keystore:={keystore}"], {}, "enclave /jepa_ros/"),
        ([f"keystore:={keystore}/none"], {}, "no such folder"),
        ([], {"ROS_SECURITY_ENABLE": "true"}, "ROS_SECURITY_STRATEGY is ''"),
    ):
        code, said = launch(*file, *arguments, **environment)
        assert code == 1
        assert sentence in said
        assert "process started" not in said
        assert "Traceback" not in said


# How far discovery reaches.


def test_variables_that_keep_nodes_here():
    ours = str(ROOT / "config" / LOOPBACK)
    assert local_environment({}) == {**dict.fromkeys(PROFILES, ours), RANGE: "SUBNET"}
    assert local_environment({RANGE: "SUBNET", "RMW_IMPLEMENTATION": "rmw_fastrtps_dynamic_cpp"})[PROFILES[0]] == ours
    assert local_environment({PROFILES[0]: f"/somewhere/{SHARED_MEMORY}"}) == {RANGE: "SUBNET"}
    assert local_environment({PROFILES[1]: "/home/me/mine.xml"}) == {RANGE: "LOCALHOST"}
    assert local_environment({"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}) == {RANGE: "LOCALHOST"}


def test_variables_that_keep_a_node_out_of_shared_memory():
    ours = dict.fromkeys(PROFILES, str(ROOT / "config" / LOOPBACK_UDP))
    assert without_shared_memory({}) == {TRANSPORTS: "UDPv4"}
    assert without_shared_memory({PROFILES[0]: f"/somewhere/{LOOPBACK}"}) == ours
    assert without_shared_memory({RANGE: "LOCALHOST"}) == {**ours, RANGE: "SUBNET"}
    for kept in (
        {PROFILES[1]: f"/somewhere/{SHARED_MEMORY}"},
        {PROFILES[1]: "/home/me/mine.xml"},
        {TRANSPORTS: "LARGE_DATA"},
        {"RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"},
    ):
        assert without_shared_memory(kept) == {}


def addresses(process: int) -> set[str]:
    """Of every socket of a process that is bound: IPv4 as usual, IPv6 as the kernel writes it."""
    inodes = set()
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            inodes.add(os.readlink(entry))
        except OSError:  # closed meanwhile
            continue
    found = set()
    for table in ("udp", "udp6", "tcp", "tcp6"):
        for row in Path(f"/proc/{process}/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            place = fields[1].partition(":")[0]
            if f"socket:[{fields[9]}]" in inodes:
                found.add(".".join(map(str, bytes.fromhex(place)[::-1])) if len(place) == 8 else place)
    return found


@pytest.fixture
def simulation(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = tmp_path / "launch.log"
    command = [sys.executable, "-m", "jepa_launch.command", f"{ROOT}/launch/sim.launch.py"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=clean(), start_new_session=True
        )
    yield process, log
    process.send_signal(signal.SIGINT)
    process.wait(40.0)


@pytest.mark.dds
@pytest.mark.slow
def test_a_simulation_has_no_socket_but_on_loopback(simulation):
    """With nothing said of discovery in the environment. 239.255.0.1 is discovery's group, joined on loopback."""
    _, log = simulation
    until = time.monotonic() + 60.0
    while log.read_text().count("bundle go2-room0") < 1 or "dog at" not in log.read_text():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    nodes = {
        name: int(pid) for name, pid in re.findall(r"(\w+)-\d+\]: process started with pid \[(\d+)", log.read_text())
    }
    assert len(nodes) == 5
    found = set.union(*map(addresses, nodes.values()))
    assert "127.0.0.1" in found, "tools in other terminals must find the nodes"
    assert found <= {"127.0.0.1", "239.255.0.1"}
    shared = {name for name, pid in nodes.items() if "/fastrtps_port" in Path(f"/proc/{pid}/maps").read_text()}
    assert shared == {"world_model", "robot_description"}, "the dog's balance hangs on the others"
