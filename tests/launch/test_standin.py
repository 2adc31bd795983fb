"""The stand-in for ROS's launch: the same files, the same words, and a refusal by name for the rest."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from .standin import ENVIRONMENT, JEPA_LAUNCH, launch, write

pytestmark = pytest.mark.skipif(not JEPA_LAUNCH.exists(), reason="ROS's own launch is installed")


def test_the_simulators_launch_file_tells_its_arguments():
    done = launch("sim.launch.py", "--show-args")
    assert done.returncode == 0, done.stderr
    for name in (
        "bundle", "robot", "room", "namespace", "params_file", "use_sim_time", "autostart", "log_level", "headless",
    ):  # fmt: skip
        assert f"'{name}': " in done.stdout


def test_an_unknown_argument_is_refused():
    done = launch("sim.launch.py", "bundel:=x")
    assert done.returncode == 1
    assert "argument bundel: not declared; sim.launch.py has autostart, bundle" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["none.launch.py"], "no such file"), (["sim.launch.py", "room=1"], "'room=1': must be key:=value")],
)
def test_what_cannot_be_run(arguments, says):
    done = launch(*arguments)
    assert done.returncode == 1
    assert says in done.stderr


def test_arguments_conditions_and_output(tmp_path):
    path = write(
        tmp_path,
        """
        word = LaunchConfiguration("word")
        say = [PYTHON, "-c", ["print('said', '", word, "')"]]
        return LaunchDescription([
            DeclareLaunchArgument("word", default_value="nothing", description="what to say"),
            DeclareLaunchArgument("quiet", default_value="false"),
            ExecuteProcess(cmd=say, name="speaker", condition=UnlessCondition(LaunchConfiguration("quiet"))),
        ])
        """,
    )
    assert "[speaker-1] said hello" in launch(path, "word:=hello").stdout
    assert "[speaker-1] said nothing" in launch(path).stdout
    assert "said" not in launch(path, "quiet:=true").stdout


def test_a_dead_process_is_reported_and_the_launch_fails(tmp_path):
    path = write(
        tmp_path,
        """
        return LaunchDescription([ExecuteProcess(cmd=[PYTHON, "-c", "raise SystemExit(3)"], name="victim")])
        """,
    )
    done = launch(path)
    assert done.returncode == 1
    assert "[ERROR] [victim-1]: process has died" in done.stdout
    assert "exit code 3" in done.stdout


def test_an_exit_can_end_the_launch_and_the_others_are_stopped(tmp_path):
    path = write(
        tmp_path,
        """
        first = ExecuteProcess(cmd=[PYTHON, "-c", "import time; time.sleep(0.5)"], name="first")
        other = ExecuteProcess(cmd=[PYTHON, "-c", "import time; time.sleep(60)"], name="other")
        then = [LogInfo(msg="over"), Shutdown(reason="first")]
        ends = RegisterEventHandler(OnProcessExit(target_action=first, on_exit=then))
        return LaunchDescription([ends, first, other])
        """,
    )
    begin = time.monotonic()
    done = launch(path)
    assert "[INFO] [launch.user]: over" in done.stdout
    assert "shutting down: first" in done.stdout
    assert time.monotonic() - begin < 15
    assert done.returncode == 0, "what the launch itself stops has not failed"


def test_a_file_knows_its_folder_also_after_including_another(tmp_path):
    (tmp_path / "inner").mkdir()
    says = 'LogInfo(msg=["inner is in ", ThisLaunchFileDir(), " ", LaunchConfiguration("a")])'
    write(tmp_path / "inner", f"return LaunchDescription([{says}])", "inner.launch.py")
    path = write(
        tmp_path,
        """
        source = PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/inner/inner.launch.py"])
        return LaunchDescription([
            DeclareLaunchArgument("folder", default_value=ThisLaunchFileDir()),
            LogInfo(msg=["first ", ThisLaunchFileDir()]),
            IncludeLaunchDescription(source, launch_arguments=[("a", ["from ", ThisLaunchFileDir()])]),
            LogInfo(msg=["last ", ThisLaunchFileDir()]),
        ])
        """,
    )
    done = launch(path)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"\[launch\.user\]: (.*)", done.stdout)
    assert said == [f"first {tmp_path}", f"inner is in {tmp_path / 'inner'} from {tmp_path}", f"last {tmp_path}"]
    assert f"(default: '{tmp_path}')" in launch(path, "--show-args").stdout


def test_respawn_starts_a_dead_process_again(tmp_path):
    marker = tmp_path / "seen"
    child = (
        f"import pathlib, sys, time; p = pathlib.Path({str(marker)!r}); again = p.exists(); p.touch(); "
        "print('again' if again else 'first', flush=True); time.sleep(60) if again else sys.exit(1)"
    )
    path = write(
        tmp_path,
        f"""
        return LaunchDescription([
            ExecuteProcess(cmd=[PYTHON, "-c", {child!r}], name="phoenix", respawn=True, respawn_delay=0.1),
            TimerAction(period=4.0, actions=[Shutdown(reason="enough")]),
        ])
        """,
    )
    done = launch(path)
    assert "first" in done.stdout
    assert "again" in done.stdout


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("return LaunchDescription([EmitEvent(event=object())])", "event object"),
        ("return LaunchDescription([RegisterEventHandler(object())])", "event handler object"),
        ("return LaunchDescription([GroupAction([], forwarding=False)])", "GroupAction(forwarding=False)"),
        ("return LaunchDescription([ExecuteProcess(cmd=['true'], shell=True)])", "argument shell"),
        ("from launch_ros.actions import SetRemap\nreturn LaunchDescription([])", "SetRemap"),
    ],
)
def test_what_the_stand_in_lacks_is_refused_by_name(tmp_path, body, name):
    done = launch(write(tmp_path, body))
    assert done.returncode == 1
    assert name in done.stderr


def test_nodes_get_their_namespace_parameters_and_remappings(tmp_path):
    """The command line is what a node would see: an executable that prints its arguments stands in for a node."""
    path = write(
        tmp_path,
        """
        import launch_ros.actions
        launch_ros.actions.executable = lambda package, name: f"{package}/{name}"
        node = Node(
            package="echo", executable="arguments", name="talker", namespace="inner",
            parameters=[{"rate": 2.5}], remappings=[("a", "b")],
        )
        def show(context):
            return [LogInfo(msg=" ".join(node.command(context)))]
        return LaunchDescription([GroupAction([PushRosNamespace("outer"), OpaqueFunction(function=show)])])
        """,
    )
    done = launch(path)
    assert "__node:=talker" in done.stdout, done.stderr
    assert "__ns:=/outer/inner" in done.stdout
    assert "-r a:=b" in done.stdout
    assert "--params-file" in done.stdout


NODE = """#!{python}
import sys, rclpy
from rclpy.node import Node
rclpy.init(args=sys.argv)
node = Node("joint_command", automatically_declare_parameters_from_overrides=True)
print("GOT", {{n: node.get_parameter(n).value for n in ("auto_stand", "dry_run", "rate")}})
rclpy.shutdown()
"""


@pytest.mark.parametrize("space", ["", "/dog"])
def test_a_launch_s_own_values_stand_against_a_file_s_blocks_in_any_order(tmp_path, space):
    """By real rclpy. The file is laid first, and its wildcards are no more than the node's full name."""
    script, params = tmp_path / "node", tmp_path / "params.yaml"
    script.write_text(NODE.format(python=sys.executable))
    script.chmod(0o755)
    params.write_text(
        "/**:\n  ros__parameters: {rate: 1.5, auto_stand: true}\n"
        "/**/joint_command:\n  ros__parameters: {auto_stand: true, dry_run: false}\n"
    )
    path = write(
        tmp_path,
        f"""
        import launch_ros.actions
        launch_ros.actions.executable = lambda package, name: {str(script)!r}
        node = Node(
            package="any", executable="node", name="joint_command", output="screen",
            parameters=[{str(params)!r}, {{"auto_stand": False, "dry_run": True}}],
        )
        return LaunchDescription([GroupAction([PushRosNamespace({space!r}), node])])
        """,
    )
    done = launch(path)
    assert "GOT {'auto_stand': False, 'dry_run': True, 'rate': 1.5}" in done.stdout, done.stdout + done.stderr


def test_a_reader_of_the_arguments_may_leave_early(tmp_path):
    many = ", ".join(f"DeclareLaunchArgument('a{i}', default_value='1', description='{'x' * 90}')" for i in range(2000))
    path = write(tmp_path, f"return LaunchDescription([{many}])")
    line = f"set -o pipefail; {JEPA_LAUNCH} {path} --show-args | head -n 1"
    found = subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True, env=ENVIRONMENT)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("    'a0'")


def test_what_a_file_s_function_raises_is_one_line(tmp_path):
    path = write(
        tmp_path,
        """
        def fails(context):
            raise ValueError("robot go3: no such robot")
        return LaunchDescription([OpaqueFunction(function=fails)])
        """,
    )
    found = launch(path)
    assert found.returncode == 1
    assert found.stderr.endswith("Caught exception in launch (see debug for traceback): robot go3: no such robot\n")
    assert "Traceback" in launch(path, "--debug").stderr
