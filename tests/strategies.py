"""Hypothesis strategies for the core's values, small enough that failures shrink to something readable."""

from collections.abc import Sequence

from hypothesis import strategies as st

from allocator.claims.placement_annotation import Promise
from allocator.claims.report import GpuReport, Illness, MigMode, NodeReport, Owner, Slice, SliceState
from allocator.mig import geometry, gpu_models
from allocator.mig.catalogue import Catalogue
from allocator.mig.geometry import Geometry
from allocator.mig.profile import Engines, Placement, Profile
from allocator.placement import fitting
from allocator.request import Request, SliceRequest

A100, A100_80, A30, H100, RTX = "a100-40gb", "a100-80gb", "a30-24gb", "h100-80gb", "rtx-pro-6000-blackwell-96gb"
MODELS = (A100, A100_80, A30, H100, RTX)  # 1g.10gb and 2g.20gb mean different sizes on the first two

models = st.sampled_from(MODELS)
known_catalogues = models.map(gpu_models.find)
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@st.composite
def engines(draw: st.DrawFn) -> Engines:
    """Few media engines, so that they run out."""
    return Engines(*(draw(st.integers(0, 2)) for _ in range(4)))


@st.composite
def profiles(draw: st.DrawFn, number: int, memory_slices: int, compute_slices: int, *, media: bool) -> Profile:
    """A profile of a made-up model."""
    size = draw(st.integers(1, memory_slices))
    starts = draw(st.lists(st.integers(0, memory_slices - size), unique=True, min_size=1, max_size=memory_slices))
    return Profile(
        name=f"{number + 1}g.{size}gb" + draw(st.sampled_from(["", "", "+me", "-me", "+me.all"])),
        profile_id=number,
        enum_index=number,
        compute_slices=draw(st.integers(1, compute_slices)),
        memory_slices=size,
        max_instances=draw(st.integers(1, 4)),
        starts=tuple(starts),
        engines=draw(engines()) if media else None,
    )


@st.composite
def made_up_catalogues(draw: st.DrawFn) -> Catalogue:
    """A small GPU that nobody sells, on which any of the four rules may bind."""
    memory_slices = draw(st.integers(1, 6))
    compute_slices = draw(st.integers(1, 6))
    media = draw(st.booleans())
    return Catalogue(
        model="made-up",
        memory_slices=memory_slices,
        compute_slices=compute_slices,
        profiles=tuple(
            draw(profiles(i, memory_slices, compute_slices, media=media or draw(st.booleans())))
            for i in range(draw(st.integers(1, 3)))
        ),
        engine_totals=draw(st.none() | engines()),
    )


@st.composite
def sliced(
    draw: st.DrawFn, of: st.SearchStrategy[Catalogue] = known_catalogues
) -> tuple[Geometry, tuple[Placement, ...]]:
    """A GPU and the slices on it, cut one after another as long as something fits."""
    known = geometry.compiled(draw(of))
    state, chosen = Geometry.EMPTY, []
    for wish in draw(st.lists(st.integers(0, 63), max_size=9)):
        legal = [i for i, after in enumerate(known.step[state]) if after >= 0]
        if not legal:
            break
        index = legal[wish % len(legal)]
        chosen.append(known.placements[index])
        state = int(known.step[state, index])
    return known, tuple(chosen)


@st.composite
def gpu_states(draw: st.DrawFn, of: st.SearchStrategy[Catalogue] = known_catalogues) -> fitting.GpuState:
    """A GPU in any state it can be in."""
    known, chosen = draw(sliced(of))
    return known, known.state_of(chosen)


@st.composite
def wishes(draw: st.DrawFn, offered: Sequence[str], max_size: int = 4) -> tuple[str, ...]:
    """Profiles to ask for, among those offered."""
    return tuple(draw(st.lists(st.sampled_from(sorted(offered)), min_size=1, max_size=max_size)))


@st.composite
def requests(draw: st.DrawFn, model: str = A100, max_size: int = 3) -> Request:
    """A request for slices of one model, by one or two containers."""
    offered = [p.name for p in gpu_models.find(model).profiles]
    asked = draw(wishes(offered, max_size))
    return Request(tuple(SliceRequest(draw(st.sampled_from(["main", "helper"])), name) for name in asked))


@st.composite
def shared_out(draw: st.DrawFn, profiles: Sequence[str], containers: int = 3) -> Request:
    """A request for these slices, by up to so many containers, packed or not."""
    slots = tuple(SliceRequest(str(draw(st.integers(1, containers))), name) for name in profiles)
    return Request(slots, packed=draw(st.sampled_from([False, False, False, True])))


@st.composite
def promises(draw: st.DrawFn) -> Promise:
    """One slice of a placement annotation, in any wording."""
    return Promise(draw(names), draw(names), draw(names), draw(st.integers(0, 4096)))


owners = st.builds(Owner, namespace=names, pod=names, uid=names, container=names)


illnesses = st.none() | st.builds(Illness, st.just("2026-11-23T12:00:00Z"), st.text(max_size=20))


@st.composite
def gpu_reports(draw: st.DrawFn, index: int) -> GpuReport:
    """A GPU as a sane agent reports it."""
    mode = draw(st.sampled_from(MigMode))
    known, chosen = draw(sliced())
    unread = draw(st.booleans()) and not chosen  # its agent could not read a catalogue
    return GpuReport(
        uuid=f"GPU-{index}-{draw(names)}",
        index=index,
        product=draw(st.text(max_size=20)),
        mig_mode=mode,
        catalogue=None if unread else known.catalogue,
        slices=tuple(draw(slices_at(one)) for one in chosen),
        healthy=draw(st.booleans()),
        message=draw(st.text(max_size=20)),
        illness=draw(illnesses),
    )


@st.composite
def slices_at(draw: st.DrawFn, placement: Placement) -> Slice:
    """A slice at a placement, whoever has it."""
    state = draw(st.sampled_from(SliceState))
    return Slice(
        placement,
        state,
        owner=draw(owners) if state is SliceState.ALLOCATED else None,
        mig_uuid=draw(st.sampled_from(["", "MIG-5f0bd1e9-0000-5000-8000-000000000000"])),
        gpu_instance_id=draw(st.none() | st.integers(0, 14)),
        compute_instance_id=draw(st.none() | st.integers(0, 7)),
        illness=draw(illnesses),
    )


@st.composite
def node_reports(draw: st.DrawFn, node: str = "n1") -> NodeReport:
    """A node as a sane agent reports it."""
    return NodeReport(node, tuple(draw(gpu_reports(i)) for i in range(draw(st.integers(0, 4)))))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


def offered_by(gpus: Sequence[fitting.GpuState]) -> tuple[str, ...]:
    """Every profile that one of these GPUs offers, in name order."""
    return tuple(sorted({name for known, _ in gpus for name in known.profiles}))
