#!/usr/bin/env python3
"""Servers, upstreams and listeners that come and go by the hundred: what is known of those that are
gone is forgotten, and nobody is taken for another."""

import collections
import os
import signal

from lib import net, procfs, story
from lib.admin import Admin
from lib.daemon import PATIENCE, Parkway
from lib.greeter import Connection, Greeter
from lib.process import until

WORKERS = (1, 4)
BATCHES = 6
STEADY = 4  # batches in which no slot is added, at the end; in the first what is new is touched
MOST_BATCHES = 24
CHANGES = 40
MEMBERS = 10
RING_PLACE = 512
CHUNK = 256 * 1024


def address(number):
    return f"127.{1 + number // 62500}.{number // 250 % 250}.{1 + number % 250}"


# Of the story of listeners and upstreams.
PORTS = 6
RELOADS = 6


class Renamed:
    """A daemon whose listeners and upstreams all have new names after each reload."""

    def __init__(self, test, threads, server_port):
        self.test = test
        self.server_port = server_port
        self.work = test.folder()
        self.path = os.path.join(self.work, "flags")
        # Half of the listeners stay where they are under another name, half move.
        self.ports = [net.free_port() for _ in range(PORTS + PORTS // 2)]
        self.number = 0
        self.met = set()
        self.total = collections.Counter()
        # One that stays, whatever comes.
        self.write()
        socket_path = os.path.join(self.work, "admin")
        self.parkway = test.started(Parkway.from_flags(
            [f"--flagfile={self.path}", f"--threads={threads}", f"--admin_socket={socket_path}"],
            f"127.0.0.1:{self.listening()[0]}"))
        self.admin = Admin(socket_path)
        self.stays = self.meet(0)
        self.first = self.number

    def listening(self):
        half = PORTS // 2
        odd = self.number // PORTS % 2
        return self.ports[:half] + self.ports[half * (1 + odd):half * (2 + odd)]

    def write(self):
        lines = []
        for i, port in enumerate(self.listening()):
            n = self.number + i
            lines += [f"--listen=name=l{n} addr=127.0.0.1:{port} upstream=u{n}",
                      f"--upstream=name=u{n}",
                      f"--server=upstream=u{n} name=s{n} addr={address(n)}:{self.server_port}"]
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))
        os.rename(self.path + ".new", self.path)

    def meet(self, i):
        """A client of the i-th listener reaches its server, and no other."""
        n = self.number + i
        connection = Connection(f"127.0.0.1:{self.listening()[i]}")
        self.test.assertEqual(address(n), connection.server)
        self.met.add((connection.name(), f"l{n}", f"u{n}", f"{address(n)}:{self.server_port}"))
        self.total[n] += 1
        return connection

    def reload(self):
        self.number += PORTS
        self.write()
        said = len(self.parkway.lines)
        self.parkway.signal(signal.SIGHUP)
        line = self.parkway.wait_line(lambda l: "reload: " in l and ("ERROR" in l or
                                                                     "unchanged" in l),
                                      PATIENCE, "what became of the reload", since=said)
        self.test.assertNotIn("ERROR", line)
        for i in range(PORTS):
            self.meet(i).close()

    def slots(self, what=""):
        info = self.admin.json("show info")
        return [info[f"{kind}_slots{what}"] for kind in ("listener", "upstream", "server")]

    def wait_forgotten(self):
        # Those that are there, and those of the client that stays.
        # Servers, listeners and upstreams in rounds, a second apart, that go to all threads and back.
        until(lambda: self.slots("_used") == [PORTS + 1] * 3, 4 * PATIENCE,
              lambda: f"the others are forgotten: {self.slots('_used')}")

    def check(self):
        """The numbers of each are its own, and the log calls each by its name."""
        shown = {one["name"]: one["total"] for one in self.admin.json("show listeners")}
        expected = {f"l{self.number + i}": self.total[self.number + i] for i in range(PORTS)}
        expected["l0"] = self.total[0]
        self.test.assertEqual(expected, shown)
        for upstream in self.admin.json("show servers"):
            for server in upstream["servers"]:
                self.test.assertEqual(upstream["name"][1:], server["name"][1:])
                self.test.assertEqual(self.total[int(server["name"][1:])], server["total"],
                                      server["name"])
        self.test.assertTrue(self.stays.lives())
        row = self.admin.json("show conns")[0]
        self.test.assertEqual(("l0", "u0", "s0"), (row["listener"], row["upstream"],
                                                   row["server"]))
        self.stays.close()
        self.test.assertEqual(0, self.parkway.stop())
        told = {tuple(line[key] for key in ("client", "listener", "upstream", "server"))
                for line in self.parkway.closing_lines()}
        self.test.assertEqual(self.met, told)


class Slots(story.Story):

    def test_slots_of_listeners_and_upstreams_are_used_again(self):
        port = net.free_port()
        self.started(Greeter("0.0.0.0", port))
        daemons = [Renamed(self, threads, port) for threads in WORKERS]
        most = []
        for _ in range(2):
            for daemon in daemons:
                for _ in range(RELOADS):
                    daemon.reload()
            for daemon in daemons:
                daemon.wait_forgotten()
            most.append([daemon.slots() for daemon in daemons])
        print(f"{daemons[0].number + PORTS} listeners and upstreams, slots {most}")
        # Used again: half of all that there were, and none before the first were forgotten.
        for slots in sum(sum(most, []), []):
            self.assertLessEqual(slots, (RELOADS + 2) * PORTS)
        for daemon in daemons:
            daemon.check()

    def write(self, numbers):
        path = os.path.join(self.work, "servers")
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write("".join(f"--server=name=s{n} addr={address(n)}:{self.port}\n"
                               for n in numbers))
        os.rename(path + ".new", path)
        return path

    def meet(self, parkway, allowed, wanted):
        """Connects until one of `wanted` answers; nobody but `allowed` does."""
        def met():
            connection = Connection(self.listen)
            self.met[connection.name()] = f"{connection.server}:{self.port}"
            self.total[self.names[connection.server]] += 1
            connection.close()
            self.assertIn(connection.server, allowed)
            return connection.server in wanted

        until(met, PATIENCE, f"a client is answered by one of {wanted}")
        # One worker may have heard of them long before another.
        until(lambda: procfs.at_rest(parkway.pid), PATIENCE, "all workers know them")

    def test_slots_are_used_again_and_memory_stays_as_it_is(self):
        for threads in WORKERS:
            with self.subTest(threads=threads):
                self.come_and_go(threads)
                self.doCleanups()

    def come_and_go(self, threads):
        self.port = net.free_port()
        self.work = self.folder()
        self.met = {}
        self.total = collections.Counter()
        self.started(Greeter("0.0.0.0", self.port))
        total = 1 + MOST_BATCHES * CHANGES * MEMBERS
        self.names = {address(n): f"s{n}" for n in range(total)}
        self.listen = f"127.0.0.1:{net.free_port()}"
        socket_path = os.path.join(self.work, "admin")
        parkway = self.started(Parkway.from_flags(
            [f"--listen={self.listen}", f"--threads={threads}", f"--admin_socket={socket_path}",
             f"--upstream=name=app servers_file={self.write([0])} on_remove=keep"], self.listen))
        admin = Admin(socket_path)
        stays = self.started(Connection(self.listen))
        self.assertEqual(address(0), stays.server)

        before = {address(0)}
        number = 1
        slots = []
        memory = []
        clients = []
        # How many are gone and not forgotten yet, at most, is luck until a batch has had the most.
        while len(slots) < BATCHES or slots[-1] > slots[-1 - STEADY]:
            self.assertLess(len(slots), MOST_BATCHES, f"there are ever more slots: {slots}")
            for _ in range(CHANGES):
                members = range(number, number + MEMBERS)
                number += MEMBERS
                now = {address(n) for n in members}
                self.write(members)
                self.meet(parkway, before | now, now)
                before = now
            # Those that are there, and the one that is gone and has a client.
            until(lambda: admin.json("show info")["server_slots_used"] == MEMBERS + 1, 4 * PATIENCE,
                  lambda: f"the others are forgotten: {admin.json('show info')['server_slots_used']}")
            slots.append(admin.json("show info")["server_slots"])
            memory.append(procfs.private_bytes(parkway.pid))
            clients.append(self.total.total())
        print(f"{threads} workers: {number} servers, {clients} clients, {slots} slots, "
              f"memory {[bytes // 1024 for bytes in memory]} KiB")
        self.assertLessEqual(slots[-1], (CHANGES + 2) * MEMBERS)
        # A line of the log has a place in its worker's ring, which was not touched before the ring
        # has gone round once. Slots are made by chunks, which a worker may come to late.
        room = 128 * 1024 + threads * CHUNK
        self.assertLess(memory[-1] - memory[-STEADY],
                        (clients[-1] - clients[-STEADY]) * RING_PLACE + room)

        # The numbers of a server are its own.
        for server in admin.json("show servers")[0]["servers"]:
            if server["name"] != "s0":
                self.assertEqual(self.total[server["name"]], server["total"], server["name"])
        self.assertTrue(stays.lives())
        self.assertEqual("s0", admin.json("show conns")[0]["server"])
        self.met[stays.name()] = f"{stays.server}:{self.port}"
        stays.close()
        self.assertEqual(0, parkway.stop())
        told = {line["client"]: line["server"] for line in parkway.closing_lines()}
        wrong = {client: (told.get(client), name) for client, name in self.met.items()
                 if told.get(client) != name}
        self.assertEqual({}, wrong, "the log calls each server by its name")


if __name__ == "__main__":
    story.main()
