"""Prometheus metrics of a node: one table. Reads numbers it is given; decides nothing."""

import resource
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node import logs

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Everything a node counts, in a registry of its own so that two nodes in one process stay apart."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        self.height: Final = self._gauge("height", "Height of the last final block")
        self.view: Final = self._gauge("view", "Current view of consensus")
        self.peers: Final = self._gauge("peers", "Connected peers")
        self.mempool_transactions: Final = self._gauge("mempool_transactions", "Transactions waiting")
        self.mempool_bytes: Final = self._gauge("mempool_bytes", "Bytes of transactions waiting")
        self.syncing: Final = self._gauge("syncing", "1 while the node is catching up")
        self.clock_ahead: Final = self._gauge(
            "clock_ahead_seconds",
            "How far this machine's clock is ahead of its peers', by their median; 0 where too few say theirs",
        )
        self.clock_wrong: Final = self._gauge(
            "clock_wrong", "1 while that has for a minute been more than a block may be ahead of a clock"
        )
        self.base_fee: Final = self._gauge("base_fee_nano", "nanoOMNIT a unit of weight in the next block")
        self.transactions: Final = self._counter("transactions", "Transactions in final blocks", ("result",))
        self.attendance_bps: Final = self._gauge(
            "attendance_bps",
            "Share of this epoch's blocks so far that name this node's validator, in basis points; 0 where it does not vote",
        )
        self.votes: Final = self._counter("votes_cast", "Votes cast", ("kind",))
        self.charges: Final = self._counter(
            "peer_charges", "Faults that peers were charged with", ("reason",)
        )
        self.evidence: Final = self._counter("evidence", "Conflicting messages seen", ("kind",))
        self.content_fetched: Final = self._counter("content_fetched_bytes", "Content fetched from peers")
        self.judged: Final = self._counter("work_judged", "Receipts of workers looked at", ("verdict",))
        self.work_useful_bps: Final = self._gauge(
            "work_useful_bps",
            "Share of the work of this epoch so far, or of the last one with any, that was for jobs; basis points",
        )
        self.work_units: Final = self._counter("work_units", "Units that this node's worker computed")
        self.work_macs: Final = self._counter("work_macs", "Multiply-accumulates of those units")
        self.rpc_calls: Final = self._counter("rpc_calls", "JSON-RPC calls", ("method", "outcome"))
        self.finality_seconds: Final = self._histogram(
            "finality_seconds", "From a block's timestamp to its being final here"
        )
        self.commit_seconds: Final = self._histogram("commit_seconds", "Writing a final block")
        self.check_seconds: Final = self._histogram("check_seconds", "Executing a proposed block")

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"omnitensor_{name}", text, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"omnitensor_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"omnitensor_{name}", text, buckets=SECONDS, registry=self.registry)

    def add_numbers(self, prefix: str, read: Callable[[], dict[str, int]]) -> None:
        """Shows the numbers that another room counts, read when somebody asks."""
        self.registry.register(_Numbers(prefix, read))

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class _Numbers(Collector):
    def __init__(self, prefix: str, read: Callable[[], dict[str, int]]) -> None:
        self._prefix = prefix
        self._read = read

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for title, value in sorted(self._read().items()):
            # As `name{label=value,...}`, with or without the labels.
            name, _, inside = title.removesuffix("}").partition("{")
            labels = dict(part.split("=", 1) for part in inside.split(",") if part)
            name = f"omnitensor_{self._prefix}_{name.removeprefix(self._prefix + '_')}"
            if name not in families:
                families[name] = GaugeMetricFamily(name, f"Counted by {self._prefix}", labels=list(labels))
            families[name].add_metric(list(labels.values()), value)
        yield from families.values()


class ProcessNumbers(Collector):
    """Memory and processor time of this process, and what its log has lost."""

    def collect(self) -> Iterable[Metric]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Resident memory", value=resident_bytes())
        yield CounterMetricFamily(
            "process_cpu_seconds", "User and system time", value=usage.ru_utime + usage.ru_stime
        )
        yield CounterMetricFamily(
            "omnitensor_log_lines_lost", "Log lines that could not be written", value=logs.lost_lines()
        )


def resident_bytes() -> int:
    """Resident memory of this process in bytes; the peak where the system does not tell the present."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
