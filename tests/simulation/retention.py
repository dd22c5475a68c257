"""Retention deletes events, counted or not, where no aggregator ran for long."""

from tests.simulation.world import EVENTS, World


def delete_a_prefix(world: World) -> None:
    """Retention deletes some events of a partition, counted or not, from the beginning on."""
    partition = world.rng.below(world.partitions)
    kept = world.kept_from[partition]
    end = world.end_of(EVENTS, partition)
    world.kept_from[partition] = kept = world.rng.between(kept, end + 1)
    if world.tracing:
        world.note(f"events of {partition} are kept from {kept} on, of {end}; an aggregator has read up to {world.read_to[partition]}")
