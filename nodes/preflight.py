"""`jepa-preflight`: the check list before a robot moves. Exit code 0: it may start; 1: refused, with the list why.

Listens to the robot for a few seconds, opens the bundle, plans a few times on this machine, and publishes nothing.
`robot.launch.py` runs it first. Remappings come as for any node: `--ros-args -r camera/image_raw:=front/image`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import onnxruntime
import rclpy
import typer
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from rich.console import Console
from rich.table import Table

from jepa_ros.bundle.signing import open_trusted
from jepa_ros.errors import JepaRosError
from jepa_ros.planning.pursuit import GoalPursuit, PursuitSettings
from jepa_ros.robots import RobotModel, load_robot
from jepa_ros.share import default_bundle
from jepa_ros_nodes import preflight_checks as checks
from jepa_ros_nodes import security
from jepa_ros_nodes.parameter_files import parameters_of
from jepa_ros_nodes.preflight_checks import Check
from jepa_ros_nodes.preflight_listening import Listener
from jepa_ros_nodes.preflight_sources import sources, stamps
from jepa_ros_nodes.robot_environment import ask_command

_ACTIONS = ["vx", "vy", "wz"]


def settings_of(parameters: Mapping[str, Any]) -> PursuitSettings:
    """How world_model will plan; its defaults where the file says nothing."""
    names = {"threads": "threads", "delay_steps": "delay_steps", "valid_steps": "valid_steps", "margin": "margin_s"}
    return PursuitSettings(**{field: parameters[name] for name, field in names.items() if name in parameters})


def _compressed(params_file: Path | None) -> bool:
    try:
        return bool(parameters_of("world_model", params_file).get("compressed", False))
    except JepaRosError:  # `of_the_machine` says so
        return False


def of_the_machine(
    bundle: str, robot: RobotModel, params_file: Path | None, trusted_keys: Sequence[str], listener: Listener
) -> list[Check]:
    """Checks of the bundle, against this robot and on this machine; `trusted_keys` go before the parameter file's."""
    heard = listener.heard
    try:
        planning = parameters_of("world_model", params_file)
        commanding = parameters_of("joint_command", params_file)
        opened = open_trusted(bundle, trusted_keys or planning.get("trusted_keys", []))
        pursuit = GoalPursuit(opened, settings_of(planning))
    except JepaRosError as error:
        return [Check("bundle", False, str(error))]
    manifest = opened.manifest
    return [
        Check("bundle", True, f"{manifest.name} ({manifest.family}), every byte as its manifest says"),
        checks.camera(heard, robot, manifest.timing.step_s),
        checks.lens(heard, robot, opened),
        checks.actions(robot, opened, commanding.get("action_names", _ACTIONS)),
        checks.provider(pursuit, onnxruntime.get_available_providers()),
        checks.deadline(pursuit),
    ]


def middleware(robot: RobotModel, environment: Mapping[str, str]) -> Check:
    """The middleware and domain of the robot's file are those in use."""
    spec, used = robot.middleware, rclpy.get_rmw_implementation_identifier()
    domain = environment.get("ROS_DOMAIN_ID", "0")
    if spec.rmw and spec.rmw != used:
        return Check("middleware", False, f"the robot's file asks for {spec.rmw}, this is {used}")
    if spec.domain_id is not None and str(spec.domain_id) != domain:
        return Check("middleware", False, f"the robot is in domain {spec.domain_id}, this is domain {domain}")
    return Check("middleware", True, f"{used}, domain {domain}, reaches {spec.discovery}")


def show(console: Console, name: str, found: Sequence[Check]) -> None:
    """The list as a table."""
    table = Table(title=f"check list, robot {name}", title_justify="left")
    for column in ("", "check", "found"):
        table.add_column(column, overflow="fold")
    for check in found:
        table.add_row("[green]ok[/green]" if check.passed else "[red]no[/red]", check.name, check.found)
    console.print(table)


def main_command(
    robot: Annotated[str, typer.Option(help="name of a shipped robot, or path of a robot YAML")] = "go2_sim",
    bundle: Annotated[str, typer.Option(help="folder of the bundle; the shipped one if none")] = "",
    output: Annotated[str, typer.Option(help="other than the robot file's, as joint_command's parameter")] = "",
    params_file: Annotated[Path | None, typer.Option(help="parameters of the nodes, as the launch has them")] = None,
    trusted_keys: Annotated[
        str, typer.Option(help="public key files, commas between; as the parameter file if none")
    ] = "",
    rmw: Annotated[bool, typer.Option(help="hold the middleware in use against the robot's file")] = True,
    listen: Annotated[float, typer.Option(min=0.5, help="seconds to listen")] = 3.0,
    wait: Annotated[float, typer.Option(min=0.0, help="seconds to wait for the first messages")] = 10.0,
    reasons: Annotated[Path | None, typer.Option(help="write what was refused to this file")] = None,
) -> None:
    """Check a robot, its bundle and this machine before anything moves."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    found: list[Check] = []
    try:
        security.init(sys.argv)
        model = load_robot(robot).with_output(output)
        node = Node("preflight")
        listener = Listener(node, model, _compressed(params_file))
        heard = listener.listen(listen, wait)
        found += [middleware(model, os.environ)] if rmw else []
        topics = sorted({"joint_commands", model.output.command_topic})
        commanders = [(i.node_name, t) for t in topics for i in node.get_publishers_info_by_topic(t)]
        found.append(sources(heard.publishers, commanders, {driver.executable for driver in model.drivers}))
        keys = [key for key in trusted_keys.split(",") if key]
        found += of_the_machine(bundle or str(default_bundle()), model, params_file, keys, listener)
        found += [checks.joints(heard, model), checks.inertial(heard, model), checks.clock(heard)]
        found.append(stamps(heard))
        found.append(checks.feet(model, listener.feet))
        show(console, model.name, found)
        node.destroy_node()
    except JepaRosError as error:
        found.append(Check("start", False, str(error)))
    finally:
        rclpy.try_shutdown()
    failed = [f"{check.name}: {check.found}" for check in found if not check.passed]
    if not failed:
        command = ask_command("enable", robot)
        console.print(f"[green]ready[/green]: nothing moves before somebody asks: `{command}`", soft_wrap=True)
        return
    text = "refused: " + "; ".join(failed)
    console.print(f"[red]{text}[/red]", soft_wrap=True)
    if reasons is not None:
        reasons.write_text(text)
    raise typer.Exit(1)


def main() -> None:
    """Entry point; the arguments between are ROS's."""
    application = typer.Typer(add_completion=False)
    application.command()(main_command)
    application(remove_ros_args(sys.argv)[1:])


if __name__ == "__main__":
    main()
