"""Actions that are supported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jepa_launch import LaunchError
from jepa_launch.context import FILE_DIR, Context
from jepa_launch.process import Process, say

from launch.action import Action
from launch.events import Shutdown as ShutdownEvent


class DeclareLaunchArgument(Action):
    def __init__(
        self,
        name: str,
        *,
        default_value: Any = None,
        description: str = "",
        choices: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.name, self.default_value, self.description, self.choices = name, default_value, description, choices

    def declared_arguments(self) -> list[Any]:
        return [self]

    def execute(self, context: Context) -> None:
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise LaunchError(f"argument {self.name}: required ({self.description}); give {self.name}:=…")
            context.launch_configurations[self.name] = context.perform(self.default_value)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise LaunchError(f"argument {self.name}: {value!r} is not one of {', '.join(self.choices)}")


class SetLaunchConfiguration(Action):
    def __init__(self, name: Any, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name, self.value = name, value

    def execute(self, context: Context) -> None:
        context.launch_configurations[context.perform(self.name)] = context.perform(self.value)


class SetEnvironmentVariable(Action):
    def __init__(self, name: Any, value: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name, self.value = name, value

    def execute(self, context: Context) -> None:
        context.environment[context.perform(self.name)] = context.perform(self.value)


class UnsetEnvironmentVariable(Action):
    def __init__(self, name: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.name = name

    def execute(self, context: Context) -> None:
        context.environment.pop(context.perform(self.name), None)


class LogInfo(Action):
    def __init__(self, *, msg: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.msg = msg

    def execute(self, context: Context) -> None:
        say("INFO", "launch.user", context.perform(self.msg))


class GroupAction(Action):
    def __init__(self, actions: list[Any], *, scoped: bool = True, forwarding: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not forwarding:
            raise LaunchError(
                "GroupAction(forwarding=False): not supported by the stand-in; use ROS's own `ros2 launch`"
            )
        self.actions, self.scoped = actions, scoped

    def declared_arguments(self) -> list[Any]:
        return [found for action in self.actions for found in action.declared_arguments()]

    def execute(self, context: Context) -> None:
        if self.scoped:
            with context.scope():
                context.engine.visit(self.actions)
        else:
            context.engine.visit(self.actions)


class IncludeLaunchDescription(Action):
    def __init__(self, launch_description_source: Any, *, launch_arguments: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source, self.arguments = launch_description_source, list(launch_arguments or [])

    def execute(self, context: Context) -> None:
        given = {context.perform(name): context.perform(value) for name, value in self.arguments}
        outer = context.launch_configurations[FILE_DIR]
        description = self.source.load(context)
        context.launch_configurations |= given
        context.engine.visit(description)
        context.launch_configurations[FILE_DIR] = outer


class OpaqueFunction(Action):
    def __init__(self, *, function: Callable[..., Any], args: Any = (), kwargs: Any = None, **rest: Any) -> None:
        super().__init__(**rest)
        self.function, self.args, self.kwargs = function, args, kwargs or {}

    def execute(self, context: Context) -> None:
        context.engine.visit(self.function(context, *self.args, **self.kwargs) or [])


class TimerAction(Action):
    def __init__(self, *, period: Any, actions: list[Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.period, self.actions = period, actions

    def declared_arguments(self) -> list[Any]:
        return [found for action in self.actions for found in action.declared_arguments()]

    def execute(self, context: Context) -> None:
        context.engine.after(float(context.perform(self.period)), lambda: context.engine.visit(self.actions))


class RegisterEventHandler(Action):
    def __init__(self, event_handler: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event_handler = event_handler

    def execute(self, context: Context) -> None:
        if not hasattr(self.event_handler, "kind"):
            name = type(self.event_handler).__name__
            raise LaunchError(f"event handler {name}: not supported by the stand-in; use ROS's own `ros2 launch`")
        context.engine.handlers.append(self.event_handler)


class EmitEvent(Action):
    def __init__(self, *, event: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.event = event

    def execute(self, context: Context) -> None:
        if not isinstance(self.event, ShutdownEvent):
            name = type(self.event).__name__
            raise LaunchError(f"event {name}: not supported by the stand-in; use ROS's own `ros2 launch`")
        context.engine.shutdown(self.event.reason)


class Shutdown(EmitEvent):
    def __init__(self, *, reason: str = "reason not given", **kwargs: Any) -> None:
        super().__init__(event=ShutdownEvent(reason=reason), **kwargs)


class ExecuteProcess(Action):
    def __init__(
        self,
        *,
        cmd: list[Any],
        name: str | None = None,
        cwd: Any = None,
        env: dict[str, Any] | None = None,
        additional_env: dict[str, Any] | None = None,
        output: str = "log",
        respawn: Any = False,
        respawn_delay: float | None = None,
        on_exit: Any = None,
        sigterm_timeout: Any = None,
        sigkill_timeout: Any = None,
        emulate_tty: bool = False,
        condition: Any = None,
        **unsupported: Any,
    ) -> None:
        super().__init__(condition=condition)
        if unsupported:
            given = ", ".join(sorted(unsupported))
            raise LaunchError(f"{type(self).__name__}: argument {given} is not supported by the stand-in")
        self.cmd, self.name, self.cwd, self.env, self.output = cmd, name, cwd, env, output
        self.additional_env, self.respawn, self.on_exit = additional_env or {}, respawn, on_exit
        self.respawn_delay, self.respawn_after = respawn_delay or 0.0, None

    def command(self, context: Context) -> list[str]:
        """Program and arguments."""
        return [context.perform(part) for part in self.cmd]

    def base_name(self, context: Context) -> str:
        """What its lines are prefixed with, before the number."""
        return self.name or self.command(context)[0].rsplit("/", 1)[-1]

    def execute(self, context: Context) -> None:
        engine = context.engine
        if context.perform(self.respawn).lower() in ("true", "1"):
            self.respawn_after = self.respawn_delay
        if self.on_exit is not None:
            from launch.event_handlers import OnProcessExit

            engine.handlers.append(OnProcessExit(target_action=self, on_exit=self.on_exit))
        environment = dict(context.environment) if self.env is None else {}
        for extra in (self.env or {}, self.additional_env):
            environment |= {context.perform(key): context.perform(value) for key, value in extra.items()}
        cwd = None if self.cwd is None else context.perform(self.cwd)
        name, quiet = engine.next_name(self.base_name(context)), self.output == "own_log"
        engine.add_process(Process(self, self.command(context), name, environment, cwd, quiet, engine.exited))


__all__ = [
    "DeclareLaunchArgument",
    "EmitEvent",
    "ExecuteProcess",
    "GroupAction",
    "IncludeLaunchDescription",
    "LogInfo",
    "OpaqueFunction",
    "RegisterEventHandler",
    "SetEnvironmentVariable",
    "SetLaunchConfiguration",
    "Shutdown",
    "TimerAction",
    "UnsetEnvironmentVariable",
]
