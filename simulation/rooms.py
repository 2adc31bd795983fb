"""Furnished rooms, each drawn from a seed: what stands where, what is free, and how it goes into a MuJoCo model.

Room 0 is the room that the default bundle was trained in. World frame: origin in the middle of the floor, z up.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

HALF_SIDE_M = 3.0
WALL_HEIGHT_M = 2.4
ROBOT_RADIUS_M = 0.35
_ALONG_WALLS = 10
_IN_THE_ROOM = 4


@dataclass(frozen=True)
class Furniture:
    """An upright box or cylinder on the floor. Lengths in m; `half` is half its extent in x, y, z; yaw in rad."""

    shape: str
    x: float
    y: float
    half: tuple[float, float, float]
    yaw: float
    rgb: tuple[float, float, float]

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Horizontal distance in m from points `[N, 2]` to the outside of this piece, zero within it."""
        offset = points - np.array([self.x, self.y])
        if self.shape == "cylinder":
            return np.maximum(np.hypot(offset[:, 0], offset[:, 1]) - self.half[0], 0.0)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        local = np.abs(np.stack([cos * offset[:, 0] + sin * offset[:, 1], cos * offset[:, 1] - sin * offset[:, 0]], 1))
        return np.hypot(*np.maximum(local - np.array(self.half[:2]), 0.0).T)


class Room:
    """A square room of 6 × 6 m with 14 pieces of furniture and four walls of different colours, each with two pictures.

    Args:
        seed: the room; the same seed is the same room.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        rng = np.random.default_rng([seed, 6])
        self._hue = rng.uniform()
        self.furniture = self._place(rng)

    def _place(self, rng: np.random.Generator) -> list[Furniture]:
        """Ten pieces along the walls and four inside, no two closer than the robot is wide."""
        placed: list[Furniture] = []
        count = _ALONG_WALLS + _IN_THE_ROOM
        hues = (self._hue + rng.permutation(count) / count) % 1.0
        while len(placed) < count:
            inside = len(placed) >= _ALONG_WALLS
            size = rng.uniform(0.08, 0.16) if inside else rng.uniform(0.12, 0.3)
            half = (size, size * rng.uniform(0.6, 1.0), rng.uniform(0.15, 0.55))
            if inside:
                x, y = rng.uniform(-1.9, 1.9, 2)
            else:
                side, along = len(placed) % 4, rng.uniform(-2.5, 2.5)
                away = HALF_SIDE_M - size - 0.08
                x, y = [(away, along), (along, away), (-away, along), (along, -away)][side]
            piece = Furniture(
                shape="cylinder" if rng.uniform() < 0.4 else "box",
                x=float(x),
                y=float(y),
                half=half,
                yaw=float(rng.uniform(-0.4, 0.4)),
                rgb=colorsys.hsv_to_rgb(float(hues[len(placed)]), rng.uniform(0.7, 1.0), rng.uniform(0.55, 1.0)),
            )
            gap = 2 * ROBOT_RADIUS_M + 0.2 if inside else 0.25
            if all(np.hypot(x - o.x, y - o.y) > gap + max(piece.half[:2]) + max(o.half[:2]) for o in placed):
                placed.append(piece)
        return placed

    def clearance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance in m from points `[N, 2]` to the nearest wall or piece of furniture; negative outside the room."""
        points = np.atleast_2d(np.asarray(points, dtype=np.float64))
        to_wall = HALF_SIDE_M - np.abs(points).max(axis=1)
        return np.minimum.reduce([to_wall, *(piece.distance(points) for piece in self.furniture)])

    def free(self, x: float, y: float, radius: float = ROBOT_RADIUS_M) -> bool:
        """Whether a disc of `radius` m at (x, y) touches nothing."""
        return bool(self.clearance(np.array([[x, y]]))[0] > radius)

    def clear(self, start: tuple[float, float], goal: tuple[float, float], radius: float = ROBOT_RADIUS_M) -> bool:
        """Whether a disc of `radius` m can move straight from start to goal."""
        steps = max(int(np.hypot(goal[0] - start[0], goal[1] - start[1]) / 0.02), 1)
        line = np.linspace(start, goal, steps + 1)
        return bool((self.clearance(line) > radius).all())

    def sample_pose(self, rng: np.random.Generator, radius: float = ROBOT_RADIUS_M) -> tuple[float, float, float]:
        """A free pose (x m, y m, yaw rad), uniform over the free floor and all headings."""
        while True:
            x, y = rng.uniform(-HALF_SIDE_M, HALF_SIDE_M, 2)
            if self.free(x, y, radius):
                return float(x), float(y), float(rng.uniform(-np.pi, np.pi))

    def _hang_pictures(self, body: mujoco.MjsBody, side: int, x: int, y: int) -> None:
        """Two plain pictures on a wall whose outward direction is (x, y): marks that are seen above the furniture."""
        rng = np.random.default_rng([self.seed, 60 + side])
        for number, along in enumerate([rng.uniform(-2.4, -0.8), rng.uniform(0.8, 2.4)]):
            wide, high = rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.4)
            at = HALF_SIDE_M - 0.01
            body.add_geom(
                name=f"picture_{side}_{number}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[x * at + abs(y) * along, y * at + abs(x) * along, rng.uniform(0.9, 1.5)],
                size=[0.02 if x else wide, 0.02 if y else wide, high],
                rgba=[*colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.9)), 1.0],
            )

    def add_to(self, spec: mujoco.MjSpec) -> None:
        """Add floor, walls, furniture and lights to a MuJoCo model that is being built."""
        body = spec.worldbody
        texture = spec.add_texture(
            name="floor",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
            rgb1=[0.60, 0.57, 0.52],
            rgb2=[0.50, 0.47, 0.43],
            width=128,
            height=128,
        )
        material = spec.add_material(name="floor", texrepeat=[6, 6], reflectance=0.0)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
        body.add_geom(
            name="floor",
            type=mujoco.mjtGeom.mjGEOM_PLANE,
            size=[HALF_SIDE_M, HALF_SIDE_M, 0.1],
            material="floor",
            friction=[0.8, 0.02, 0.01],
            condim=3,
        )
        for side, (x, y) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
            rgb = colorsys.hsv_to_rgb((self._hue + side / 4) % 1.0, 0.45, 0.7)
            thin, wide = 0.05, HALF_SIDE_M + 0.1
            body.add_geom(
                name=f"wall_{side}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[x * (HALF_SIDE_M + thin), y * (HALF_SIDE_M + thin), WALL_HEIGHT_M / 2],
                size=[thin if x else wide, thin if y else wide, WALL_HEIGHT_M / 2],
                rgba=[*rgb, 1.0],
            )
            self._hang_pictures(body, side, x, y)
        for number, piece in enumerate(self.furniture):
            box = piece.shape == "box"
            body.add_geom(
                name=f"furniture_{number}",
                type=mujoco.mjtGeom.mjGEOM_BOX if box else mujoco.mjtGeom.mjGEOM_CYLINDER,
                pos=[piece.x, piece.y, piece.half[2]],
                size=list(piece.half) if box else [piece.half[0], piece.half[2], 0.0],
                quat=[np.cos(piece.yaw / 2), 0.0, 0.0, np.sin(piece.yaw / 2)],
                rgba=[*piece.rgb, 1.0],
            )
        for x, y in [(-1.5, -1.5), (1.5, 1.5)]:
            body.add_light(
                pos=[x, y, 2.8],
                dir=[0.0, 0.0, -1.0],
                diffuse=[0.3] * 3,
                specular=[0.0] * 3,
                castshadow=False,
                cutoff=120.0,
            )
