"""The configuration of a one-node Apache Kafka for tests and the demo, however it is run."""

from collections.abc import Mapping

#: What differs from Kafka's defaults, and why it must.
COMMON: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    # Topics are made on purpose, with the right number of partitions; a mistyped name must not make one.
    "auto.create.topics.enable": "false",
    # One node has one replica.
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Few internal partitions: they are made at the first use, and each costs files.
    "offsets.topic.num.partitions": "4",
    # Groups in tests form and notice a killed member in a second, not in ten.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # A killed broker comes back under the same id at once.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "2097152",
}
