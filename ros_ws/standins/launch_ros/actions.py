"""Nodes and namespaces."""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path
from typing import Any

import yaml
from jepa_launch.context import Context
from jepa_launch.share import executable
from launch.action import Action
from launch.actions import ExecuteProcess

from launch_ros.parameter_descriptions import ParameterFile, ParameterValue


class PushRosNamespace(Action):
    def __init__(self, namespace: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.namespace = namespace

    def execute(self, context: Context) -> None:
        context.namespace = joined(context.namespace, context.perform(self.namespace))


def joined(outer: str, inner: str) -> str:
    """A namespace inside another; an absolute one stands alone."""
    if inner.startswith("/"):
        return inner.rstrip("/")
    return f"{outer}/{inner.strip('/')}".rstrip("/") if inner else outer


def _value(value: Any, context: Context) -> Any:
    """A parameter's value: substitutions become text and then, as YAML reads it, a number or a truth value."""
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if hasattr(value, "perform"):
        return yaml.safe_load(context.perform(value))
    if isinstance(value, (list, tuple)) and any(hasattr(part, "perform") for part in value):
        return yaml.safe_load(context.perform(value))
    return value


class Node(ExecuteProcess):
    def __init__(
        self,
        *,
        package: Any,
        executable: Any,
        name: Any = None,
        namespace: Any = None,
        parameters: list[Any] | None = None,
        remappings: list[tuple[Any, Any]] | None = None,
        arguments: list[Any] | None = None,
        ros_arguments: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(cmd=[], **kwargs)
        self.package, self.executable, self.node_name, self.node_namespace = package, executable, name, namespace
        self.parameters, self.remappings = parameters or [], remappings or []
        self.arguments, self.ros_arguments = arguments or [], ros_arguments or []

    def base_name(self, context: Context) -> str:
        return context.perform(self.executable)

    def command(self, context: Context) -> list[str]:
        found = [executable(context.perform(self.package), context.perform(self.executable))]
        found += [context.perform(part) for part in self.arguments]
        ros = [context.perform(part) for part in self.ros_arguments]
        if self.node_name is not None:
            ros += ["-r", f"__node:={context.perform(self.node_name)}"]
        inner = "" if self.node_namespace is None else context.perform(self.node_namespace)
        space = joined(context.namespace, inner)
        if space:
            ros += ["-r", f"__ns:=/{space.strip('/')}"]
        for parameters in self.parameters:
            ros += ["--params-file", self._file(parameters, context, space)]
        for before, after in self.remappings:
            ros += ["-r", f"{context.perform(before)}:={context.perform(after)}"]
        return [*found, "--ros-args", *ros] if ros else found

    def _file(self, parameters: Any, context: Context, space: str) -> str:
        """A parameter file's path; a dictionary is written to one, for the node's full name.

        Under `/**` it would lose to a block with more of the node's name in a file before it. A node whose name the
        executable chooses has no other.
        """
        if isinstance(parameters, ParameterFile):
            return context.perform(parameters.param_file)
        if not isinstance(parameters, dict):
            return context.perform(parameters)
        values = {context.perform(name): _value(value, context) for name, value in parameters.items()}
        name = "**" if self.node_name is None else context.perform(self.node_name)
        full = "/**" if name == "**" else joined(f"/{space.strip('/')}".rstrip("/"), name)
        with tempfile.NamedTemporaryFile("w", prefix="launch_params_", suffix=".yaml", delete=False) as file:
            yaml.safe_dump({full: {"ros__parameters": values}}, file)
        atexit.register(Path(file.name).unlink, missing_ok=True)
        return file.name


class LifecycleNode(Node):
    """A node with a lifecycle. Its transitions are its own affair here: use the node's `autostart` parameter."""

    def __init__(self, *, name: Any, namespace: Any, **kwargs: Any) -> None:
        super().__init__(name=name, namespace=namespace, **kwargs)


__all__ = ["LifecycleNode", "Node", "PushRosNamespace"]
