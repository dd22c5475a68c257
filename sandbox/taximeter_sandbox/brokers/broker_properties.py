"""The configuration of an Apache Kafka for tests and the demo, however it is run."""

from collections.abc import Mapping

#: What differs from Kafka's defaults, and why it must.
COMMON: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    # Topics are made on purpose, with the right number of partitions; a mistyped name must not make one.
    "auto.create.topics.enable": "false",
    # Few internal partitions: they are made at the first use, and each costs files.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    # Groups in tests form and notice a killed member in a second, not in ten.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "log.cleaner.dedupe.buffer.size": "2097152",
}

#: One node: it has one copy of everything, and nobody else can lead while it is away.
ONE_NODE: Mapping[str, str] = {
    "node.id": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A killed broker comes back under the same id at once.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
}

#: Three nodes or more, as in production: three copies, two in sync. How long a broker may be silent is Kafka's default, nine seconds.
CLUSTER: Mapping[str, str] = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    # On a machine with two cores.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
}
