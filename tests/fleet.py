"""A fleet on this machine: real nats-servers, control planes and PoPs, each a process of its own, as the tests and the demo
use it. PoPs stand in the regions they are told; nothing but their word makes them far apart."""

import asyncio
import contextlib
import shutil
import threading
from pathlib import Path

import gateway as support
from nats import NatsCluster, NatsServer
from pki import make_key
from transfers import Client

SETTLE_SECONDS_MAX = 60
POLICY = """version = 1
[[rule]]
name = "released models"
artifact = "models/*"
[[rule.authority]]
key = "release.pub"
[[rule]]
name = "released apps"
artifact = "apps/*"
[[rule.authority]]
key = "release.pub"
"""


class Distance:
    """A port that leads to another one, with a delay each way: what makes two processes on one machine far apart. It can be
    cut, and mended."""

    def __init__(self, port, one_way_ms=0):
        self.port_there, self.one_way, self.is_cut = port, one_way_ms / 1000, False
        self.writers = set()
        self.loop, self.server, self.port = asyncio.new_event_loop(), None, None
        ready = threading.Event()
        self.thread = threading.Thread(target=self.run, args=(ready,), daemon=True)
        self.thread.start()
        ready.wait(10)

    def run(self, ready):
        asyncio.set_event_loop(self.loop)
        self.server = self.loop.run_until_complete(asyncio.start_server(self.connect, "127.0.0.1", 0))
        self.port = self.server.sockets[0].getsockname()[1]
        ready.set()
        self.loop.run_forever()

    async def connect(self, reader, writer):
        try:
            if self.is_cut:
                raise ConnectionRefusedError
            there, to = await asyncio.open_connection("127.0.0.1", self.port_there)
        except OSError:
            writer.close()
            return
        self.writers |= {writer, to}
        await asyncio.gather(self.carry(reader, to), self.carry(there, writer))
        self.writers -= {writer, to}

    def cut(self):
        """Ends all connections, and lets no new ones through."""

        def end():
            self.is_cut = True
            for writer in self.writers:
                writer.transport.abort()

        self.loop.call_soon_threadsafe(end)

    def mend(self):
        self.is_cut = False

    async def carry(self, reader, writer):
        """What comes is sent on after the delay, in order, and does not wait for what came before to be sent."""
        queue = asyncio.Queue()

        async def send():
            while (due := await queue.get()) is not None:
                at, data = due
                await asyncio.sleep(max(0, at - self.loop.time()))
                writer.write(data)
                await writer.drain()

        sending = asyncio.create_task(send())
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                queue.put_nowait((self.loop.time() + self.one_way, data))
        queue.put_nowait(None)
        with contextlib.suppress(OSError):
            await sending
        writer.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)


class Member(support.Gateway):
    """A control plane or a PoP."""

    def __init__(self, fleet, kind, name, *arguments, data_dir=None, one_way_ms=None, nats_url=None):
        self.name, self.fleet = name, fleet
        [self.peer_port] = support.free_ports(1)
        self.distance = None if one_way_ms is None else Distance(self.peer_port, one_way_ms)
        if self.distance:
            arguments = ["--advertise", f"127.0.0.1:{self.distance.port}", *arguments]
        folder = fleet.folder / name
        super().__init__(
            folder,
            "--nats", nats_url or fleet.nats.url,
            "--identity", fleet.identities / name,
            "--peer-listen", f"127.0.0.1:{self.peer_port}",
            "--policy", fleet.folder / "policy.toml",
            *arguments,
            serves=kind,
            data_dir=data_dir,
            env=fleet.environments.get(name),
        )  # fmt: skip
        self.is_control = kind == "control"

    def is_ready(self):
        if not self.is_control:
            return super().is_ready()
        if self.process.poll() is not None:
            raise AssertionError(f"`{self.name}` ended with {self.process.returncode}; its log:\n{self.log_tail()}")
        with contextlib.suppress(OSError):
            return self.get("/v2/health/ready", port=self.admin_port).status == 200
        return False


class Fleet:
    """Everything, until the `with` block ends."""

    def __init__(self, folder, controls=1, nats_servers=1, environments=None):
        # What members of these names have in their environment.
        self.environments = environments or {}
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.identities = self.folder / "identities"
        make_key(self.folder, "release")
        (self.folder / "policy.toml").write_text(POLICY)
        nats = self.folder / "nats"
        self.nats = NatsServer(nats) if nats_servers == 1 else NatsCluster(nats, nats_servers)
        self.nats_servers = nats_servers
        self.control_names = [f"control-{letter}" for letter in "abc"[:controls]]
        self.controls, self.pops = {}, {}
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.nats)
            first, *others = self.control_names
            support.run("control", "init", "--dir", self.identities, "--name", first)
            for name in others:
                self.issue(name, "--control")
            self.stack = stack.pop_all()
            try:
                for name in self.control_names:
                    self.start_control(name)
            except BaseException:
                self.__exit__(None)
                raise
        return self

    def __exit__(self, kind, *_):
        for member in [*self.pops.values(), *self.controls.values()]:
            if member.process.poll() is None:
                member.stop()
        self.stack.close()

    def issue(self, name, *arguments):
        support.run("control", "issue", name, *arguments, "--authority", self.identities, "--out", self.identities / name)

    def start_control(self, name):
        """Starts a control plane, again with what it had if it ran before."""
        replicas = 3 if self.nats_servers >= 3 else 1
        control = Member(self, "control", name, "--nats-replicas", replicas, "--authority", self.identities)
        self.controls[name] = control
        support.eventually(f"{name} is ready", control.is_ready, support.START_SECONDS_MAX)
        return control

    def start_pop(self, name, region, *arguments, **more):
        """Starts a PoP, again with what it had if it ran before. Others reach it over a [`Distance`], where a delay is given."""
        if not (self.identities / name).exists():
            self.issue(name)
        pop = Member(self, "pop", name, "--pop", name, "--region", region, *arguments, **more)
        self.pops[name] = pop
        support.eventually(f"{name} is ready", pop.is_ready, support.START_SECONDS_MAX)
        return pop

    def client(self, control=None):
        """The `headland` command, asking a control plane."""
        control = control or next(each for each in self.controls.values() if each.process.poll() is None)
        return Client(self.folder / "home", control)

    def leaders(self):
        """The control planes that say that they lead, with the epochs they lead in."""
        alive = [each for each in self.controls.values() if each.process.poll() is None]
        said = {each.name: self.client(each).json("pop", "list") for each in alive}
        return {name: each["epoch"] for name, each in said.items() if each["role"] == "leader"}

    def sign(self, folder):
        support.run("model", "sign", folder, "--key", self.folder / "release.pem")

    def push_model(self, source, name, version="1", manifest=None):
        """Signs a copy of a model folder and pushes it to a control plane. `manifest` is the text of its headland.model.toml."""
        folder = self.folder / f"{name}-{version}"
        shutil.copytree(source, folder)
        if manifest is not None:
            (folder / "headland.model.toml").write_text(manifest)
        (folder / "NOTE.md").write_text(f"{name} {version}")
        self.sign(folder)
        self.client().run("model", "push", folder, "--name", name, "--version", version)

    def deploy_app(self, manifest, name, version="1"):
        client, signature = self.client(), self.folder / f"{name}-{version}.sig"
        key = self.folder / "release.pem"
        support.run("app", "sign", manifest, "--version", version, "--key", key, "--signature", signature)
        client.run("app", "push", manifest, "--version", version, "--signature", signature)
        client.run("app", "deploy", f"{name}:{version}")

    def placement(self, model):
        """The PoPs where `name:version` answers."""
        models = self.client().json("placement", "show")["models"]
        [found] = [each for each in models if each["model"] == model] or [{"replicas": []}]
        return sorted(replica["pop"] for replica in found["replicas"] if replica["standing"] == "ready")

    def until_placed(self, model, count=1, seconds=SETTLE_SECONDS_MAX):
        """Waits until `model` answers at `count` PoPs; which."""
        def placed():
            pops = self.placement(model)
            return pops if len(pops) == count else None

        def late():
            return f"{model} answers at {count} PoP(s); it does at {self.placement(model)}\n{self.log_tails()}"

        return support.eventually(late, placed, seconds)

    def log_tails(self):
        members = [*self.controls.values(), *self.pops.values()]
        return "\n".join(f"--- {member.name}\n{member.log_tail(12)}" for member in members)
