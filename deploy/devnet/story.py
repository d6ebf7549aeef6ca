"""What a devnet shows, step by step: data goes in, is judged by drawn validators, and is paid; balances before and after."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.devnet import calls, cast, samples, workers
from deploy.devnet.campaigns import IMAGES, TEXTS
from deploy.devnet.net import Net, Node, Plan
from deploy.devnet.people import Person, Show
from deploy.devnet.process import DevnetError, Program
from deploy.devnet.teller import Teller
from deploy.devnet.watch import SETTLED, Watch, WatchThread
from omnitensor.protocol.amounts import format_omnit
from omnitensor.protocol.content import content_id_of
from omnitensor.protocol.types import NANO, SUPPLY_MAX

CHAIN_ID: Final = "omnitensor-devnet"
BALANCES: Final = {
    "sponsor": 10_000 * NANO,
    "contributor": 100 * NANO,
    "worker": workers.WORKER_BALANCE_OMNIT * NANO,
}
PAID_SECONDS_MAX: Final = 900.0
WORK_SECONDS_MAX: Final = 600.0
WINDOWS: Final = {"seat_accept_blocks": 240, "report_commit_blocks": 1_200, "report_reveal_blocks": 1_200}
"""A window ends as soon as all four have done their part: a long one costs nothing, and a slow machine misses none."""


@dataclass
class Story:
    """One telling. ``run`` goes from nothing to paid and leaves the net running; ``stop`` ends everything that was started."""

    folder: Path
    teller: Teller
    first_port: int | None
    reviewers: list[Program] = field(default_factory=list)
    net: Net | None = None
    worker: Node | None = None
    campaigns: list[int] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    expected: int = 0

    def run(self) -> None:
        """Raises DevnetError, or another ProtocolError, where the story can't go on."""
        net = self._make_net()
        self._start(net)
        self._start_reviewers(net)
        self._start_worker(net)
        before = self._balances(net)
        self._open_campaigns(net)
        watch = WatchThread(Watch(net.nodes[0], net.nodes, self.campaigns, self.names, self.teller))
        with watch:
            contributor = self._contribute(net)
            items = self._wait_until_settled(contributor, watch)
        self._show_rewards(net, contributor)
        self._show_work(net)
        self._show_balances(net, before)
        self._check(net, items)
        self._show_useful(net)
        self._show_addresses(net)

    def stop(self) -> None:
        """Ends reviewers and nodes in good order."""
        for program in (*self.reviewers, *([self.worker] if self.worker is not None else [])):
            program.stop()
        if self.net is not None:
            self.net.stop()

    def check(self) -> None:
        """Raises DevnetError with the end of a log where a process has ended by itself."""
        if self.net is not None:
            self.net.check()
        cast.check_reviewers(self.reviewers)
        if self.worker is not None and self.worker.exit_code is not None:
            raise DevnetError(
                f"the worker ended with code {self.worker.exit_code}; the end of {self.worker.log}:\n{self.worker.tail()}"
            )

    # -- the steps

    def _make_net(self) -> Net:
        self.teller.chapter("Keys and genesis")
        plan = Plan(
            chain_id=CHAIN_ID,
            balances=BALANCES,
            params=WINDOWS,
            first_port=self.first_port,
            settings=workers.JUDGING,
        )
        with self.teller.work(
            "four validators made their keys: omnitensor-node keys create, omnitensor-node init"
        ):
            self.net = Net.create(self.folder, plan)
        self.teller.say(f"genesis of {CHAIN_ID}: {self.net.folder / 'genesis.json'}")
        self.names |= {self.net.address(name): name for name in self.net.accounts}
        return self.net

    def _start(self, net: Net) -> None:
        self.teller.chapter("Four validators, four processes")
        net.start()
        with self.teller.work("they agree on blocks"):
            net.wait_ready()
        status = net.nodes[0].call("chain.status")
        self.teller.say(
            f"chain {status['chain_id']}, genesis {status['genesis_hash']}, height {status['height']}"
        )
        rows = [
            (
                node.name,
                node.endpoint,
                str(node.p2p_port),
                str(node.pid),
                format_omnit(self._stake(net, node.address)),
            )
            for node in net.nodes
        ]
        self.teller.table(("validator", "JSON-RPC", "p2p port", "process", "stake"), rows)

    def _stake(self, net: Net, address: str) -> int:
        return int(net.nodes[0].call("stake.validator", address=address)["stake"])

    def _start_reviewers(self, net: Net) -> None:
        self.teller.chapter("Reviewers")
        with (
            self.teller.work(
                "each validator gave its reviewer an API key, which can review and nothing else"
            ),
            ThreadPoolExecutor(len(net.nodes)) as threads,
        ):
            keys = list(
                threads.map(lambda node: cast.make_api_key(net, node, self._typed_for(node)), net.nodes)
            )
            list(
                threads.map(lambda node: workers.make_judge_key(net, node, self._typed_for(node)), net.nodes)
            )
        for seed, (node, key) in enumerate(zip(net.nodes, keys, strict=True)):
            self.reviewers.append(cast.start_reviewer(net, node, key, seed))
        self.teller.say(
            "four reviewers run, each with its own judgement, learned from data that is not submitted"
        )

    def _start_worker(self, net: Net) -> None:
        self.teller.chapter("A worker joins, without stake")
        port = None if self.first_port is None else self.first_port + 2 * len(net.nodes)
        self.worker = workers.join_worker(net, "worker", port, self.teller.typed)
        self.teller.say(
            "it registers with a bond, computes what the chain has to do, and proves it; validators judge that"
        )

    def _show_work(self, net: Net) -> None:
        """What the worker did until now; waits for the first receipt that validators found good."""
        self.teller.chapter("Work")

        def good() -> bool:
            try:
                return int(net.nodes[0].call("work.worker", worker=net.address("worker"))["good"]) > 0
            except calls.CallError:
                return False  # it has not registered yet

        with self.teller.work("validators found work of the worker good"):
            calls.until("a receipt of the worker is good", good, WORK_SECONDS_MAX, on_wait=self.check)
        worker = cast.log_in(net, "worker", net.nodes[0], self.teller.typed)
        self.teller.block(worker.cli("worker", "show"))
        self.teller.block(worker.cli("compute", "status"))

    def _typed_for(self, node: Node) -> Show:
        return lambda line: self.teller.typed(f"{line}   # as {node.name}")

    def _open_campaigns(self, net: Net) -> None:
        self.teller.chapter("The sponsor opens two campaigns")
        sponsor = cast.log_in(net, "sponsor", net.nodes[0], self.teller.typed)
        for wish, name in ((TEXTS, "texts"), (IMAGES, "images")):
            number = cast.open_campaign(sponsor, wish, self.folder / "campaigns" / f"{name}.toml")
            self.campaigns.append(number)
            self.teller.good(
                f'campaign {number}, "{wish.title}": {wish.unit_price} OMNIT an item, {wish.review_fee} a review,'
                f" {wish.budget} in escrow"
            )

    def _contribute(self, net: Net) -> Person:
        self.teller.chapter("A contributor submits files; validators are drawn, judge, commit and reveal")
        contributor = cast.log_in(net, "contributor", net.nodes[0], self.teller.typed)
        texts = samples.write_texts(self.folder / "samples" / "texts", 5)
        images = samples.write_images(self.folder / "samples" / "images", 6)
        self.names |= {chunk_root_of(sample.path): sample.path.name for sample in (*texts, *images)}
        for campaign, found in zip(self.campaigns, (texts, images), strict=True):
            for sample in found:
                self.teller.say(f"{sample.path.name}: {sample.what}")
            self._upload(contributor, campaign, found[0].path.parent)
        copy = samples.write_copy(texts[0])
        moved = copy.path.rename(self.folder / "samples" / copy.path.name)
        self.teller.say(f"{moved.name}: {copy.what}")
        self._upload(contributor, self.campaigns[0], moved)
        self.teller.block(contributor.cli("check-status", "--task-id", str(self.campaigns[0])))
        self.expected = len(texts) + len(images) + 1
        return contributor

    def _upload(self, contributor: Person, campaign: int, path: Path) -> None:
        self.teller.block(contributor.cli("upload-data", "--task-id", str(campaign), "--file", str(path)))

    def _wait_until_settled(self, contributor: Person, watch: WatchThread) -> list[dict[str, Any]]:
        def settled() -> bool:
            items = watch.items
            return len(items) >= self.expected and all(item["status"] in SETTLED for item in items)

        with self.teller.console.status("blocks go on"):
            calls.until("every item is paid or rejected", settled, PAID_SECONDS_MAX, on_wait=self.check)
        watch.stop()
        for campaign in self.campaigns:
            self.teller.block(contributor.cli("check-status", "--task-id", str(campaign)))
        return watch.items

    def _show_rewards(self, net: Net, contributor: Person) -> None:
        self.teller.chapter("Rewards")
        self.teller.block(contributor.cli("check-rewards", "--wallet", net.address("contributor")))
        net.check()

    def _balances(self, net: Net) -> dict[str, int]:
        found = {
            name: int(net.nodes[0].call("account.get", address=net.address(name))["balance"])
            for name in net.accounts
        }
        return found | {"burned": int(net.nodes[0].call("chain.supply")["burned"])}

    def _show_balances(self, net: Net, before: dict[str, int]) -> None:
        self.teller.chapter("Balances")
        after = self._balances(net)
        rows = [
            (
                name,
                format_omnit(before[name]),
                format_omnit(after[name]),
                format_omnit(after[name] - before[name]),
            )
            for name in after
        ]
        self.teller.table(("account", "before", "after", "difference"), rows)

    def _check(self, net: Net, items: list[dict[str, Any]]) -> None:
        supply = net.nodes[0].call("chain.supply")
        parts = [
            int(supply["accounts"]),
            *(int(each) for each in supply["modules"].values()),
            int(supply["burned"]),
        ]
        if sum(parts) != SUPPLY_MAX:
            raise DevnetError("the supply is not conserved", value=sum(parts), remedy=str(supply))
        self.teller.good(
            f"supply: {format_omnit(parts[0])} in accounts + {format_omnit(sum(parts[1:-1]))} in stakes, escrow and"
            f" reserve + {format_omnit(parts[-1])} burned = {format_omnit(sum(parts))}, to the unit"
        )
        paid = dict.fromkeys(self.campaigns, 0)
        for item in items:
            paid[int(item["campaign"])] += item["status"] == "paid"
        if not all(paid.values()):
            raise DevnetError("a campaign has no paid item", value=paid)

    def _show_useful(self, net: Net) -> None:
        """The share of all validated work that was for the data here, and where to look for it."""
        sums = net.nodes[0].call("work.status")["sums"]
        self.teller.good(
            f"useful share of the work: {sums['useful_bps'] / 100:.3g} %, {int(sums['useful']):,} of"
            f" {int(sums['macs']):,} multiply-accumulates in {sums['receipts']} receipts; the rest is synthetic, and"
            " counts a quarter"
        )
        self.teller.say(
            f"the same as it changes: omnitensor_work_useful_bps at {net.nodes[0].endpoint}/metrics"
        )

    def _show_addresses(self, net: Net) -> None:
        self.teller.chapter("Look around")
        for node in net.nodes:
            self.teller.say(
                f"{node.name}: JSON-RPC and uploads at {node.endpoint}, metrics at {node.endpoint}/metrics"
            )
        self.teller.say(
            f"data of each in {net.folder}/<validator>/, its log in {net.nodes[0].log.parent}/<validator>.log"
        )
        contributor = net.folder / "people" / "contributor"
        self.teller.say("as the contributor, in another terminal:")
        self.teller.typed(f"export OMNITENSOR_HOME={contributor} OMNITENSOR_RPC={net.nodes[0].endpoint}")
        self.teller.typed(f"otensor-cli check-status --task-id {self.campaigns[0]}")


def chunk_root_of(path: Path) -> str:
    """A file's content address, as hexadecimal text."""
    return content_id_of(path.read_bytes()).chunk_root.hex()
