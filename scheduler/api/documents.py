"""The planner's documents as JSON Schema, for the OpenAPI document.

They tell people and generators what to write. What counts is what the allocator's readers accept: they also check what
no schema can say, such as whether a model offers a profile. docs/planning.md explains every field.
"""

from typing import Any

Schema = dict[str, Any]

_MOST = 1_000_000
_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 253}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return found | ({"required": list(required)} if required else {})


def _list(items: Schema, most: int, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "maxItems": most, "minItems": least}


def _whole(least: int = 0, most: int = _MOST) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _number(*, positive: bool = False, most: float = 1e9) -> Schema:
    return {"type": "number", "maximum": most} | ({"exclusiveMinimum": 0} if positive else {"minimum": 0})


def _counts(value: Schema) -> Schema:
    """A mapping of profiles to something."""
    return {"type": "object", "additionalProperties": value, "propertyNames": {"minLength": 1}}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _or_text(schema: Schema) -> Schema:
    return {"anyOf": [schema, _TEXT]}


_NODES = _object(("model", "nodes"), model=_TEXT, nodes=_whole(0, 100_000), gpus_per_node=_whole(1, 64))
_REQUESTS = _list(
    _object(("profiles",), name=_TEXT, profiles=_counts(_whole(0, 128)), count=_whole(0, 1_000)), most=1_000
)
_BUDGETS = _object(moves=_whole(0, 200), gpc=_or_null(_whole()), pods_per_service=_or_null(_whole()))
_PRIORITY = _whole(-(2**31), 2**31)

PLAN = _object(
    ("fleet",),
    fleet=_list(
        _object(
            ("model",),
            model=_TEXT,
            count={"anyOf": [_whole(), {"const": "unlimited"}]},
            price=_or_null(_number()),
            gpus_per_node=_whole(1, 64),
        ),
        most=64,
        least=1,
    ),
    demand=_counts(_whole()),
    services=_list(
        _object(
            ("name", "rate", "options"),
            name=_TEXT,
            rate=_number(positive=True),
            options=_list(
                _object(
                    ("profile", "throughput"),
                    profile=_TEXT,
                    throughput=_number(positive=True),
                    model=_or_null(_TEXT),
                ),
                most=64,
                least=1,
            ),
        ),
        most=100_000,
    ),
    models=_list(
        _object(
            ("name", "precision", "context", "replicas"),
            name=_TEXT,
            label=_TEXT,
            precision=_TEXT,
            context=_or_text(_whole(1, 2**30)),
            replicas=_whole(1),
            kv_precision=_TEXT,
            utilisation=_or_null(_number(positive=True, most=1)),
            parameters_b=_number(positive=True),
            layers=_whole(1, 100_000),
            kv_heads=_whole(1, 100_000),
            head_dim=_whole(1, 100_000),
        ),
        most=100_000,
    ),
    pinned=_list(
        _object(
            ("model", "slices"),
            model=_TEXT,
            count=_whole(),
            slices=_list(
                _object(("profile", "start"), profile=_TEXT, start=_whole(0, 64), idle={"type": "boolean"}), most=64
            ),
        ),
        most=100_000,
    ),
    goal={"enum": ["gpus", "cost"]},
    headroom=_or_text(_list(_TEXT, most=100_000)),
)

CAPACITY = _or_null(
    _object(
        fleet=_list(_NODES, most=64),
        profiles=_or_null(_or_text(_list(_TEXT, most=64))),
        add=_or_null(_NODES),
        requests=_REQUESTS,
        budgets=_BUDGETS,
        priority=_PRIORITY,
    )
)  # null is what an empty YAML document says

REPACK = _object(
    requests=_REQUESTS,
    empty=_object(gpus=_whole(), nodes=_list(_TEXT, most=100_000)),
    budgets=_BUDGETS,
    priority=_PRIORITY,
    prices=_counts(_number()),
)

SIMULATE = _object(
    mix={"anyOf": [{"enum": ["uniform", "skew-small", "skew-big", "bimodal"]}, _counts(_number())]},
    load=_number(positive=True, most=100),
    lifetime_s=_number(positive=True),
    warmup=_number(most=1e6),
    horizon=_number(positive=True, most=1e6),
    lifetime_error=_number(most=10),
    restart_s=_number(),
    model=_TEXT,
    gpus=_whole(1, 100_000),
    policy=_TEXT,
    weights=_counts(_number()),
    discipline={"enum": ["reject", "queue"]},
    moves=_whole(0, 4),
    seeds=_whole(1, 10_000),
    first_seed=_whole(0, 2**53),
)
